//! The Rust table: the kernel records of each ISA of the target.

use std::fmt::Write as _;

use super::isa::Isa;
use super::rows::Kernel;

/// A record of `kernels/records.rs`.
pub struct Record {
    /// The list of `Kernels` that holds it.
    pub list: &'static str,
    pub name: &'static str,
    /// The argument struct of its function.
    pub arguments: &'static str,
    pub fields: &'static [&'static str],
}

macro_rules! records {
    ($($(#[$_doc:meta])* $list:ident $name:ident($arguments:ident) {
        $($(#[$_field_doc:meta])* $field:ident: $_type:ty,)*
    })*) => {
        /// Every record.
        pub const RECORDS: &[Record] = &[$(Record {
            list: stringify!($list),
            name: stringify!($name),
            arguments: stringify!($arguments),
            fields: &[$(stringify!($field)),*],
        }),*];
    };
}
include!("../kernels/records.rs");

/// The source that the crate includes.
pub fn rust(isas: &[&Isa], kernels: &[Kernel<'_>]) -> Result<String, String> {
    let mut rust = String::from("// Written by build.rs from kernels/kernels.toml.\nunsafe extern \"C\" {\n");
    for kernel in kernels {
        let _ = writeln!(rust, "    fn {}(arguments: *const arguments::{});", kernel.symbol(), kernel.record.arguments);
    }
    rust.push_str("}\npub(super) static KERNELS: &[Kernels] = &[\n");
    for isa in isas {
        let _ = writeln!(rust, "    Kernels {{\n        isa: Isa::{},", isa.variant);
        let of_isa = |kernel: &&Kernel<'_>| [kernel.isa].iter().chain(&kernel.also).any(|other| other.name == isa.name);
        for Record { list, .. } in RECORDS {
            let _ = writeln!(rust, "        {list}: &[");
            for kernel in kernels.iter().filter(of_isa).filter(|kernel| kernel.record.list == *list) {
                let _ = writeln!(rust, "            {},", record(kernel)?);
            }
            let _ = writeln!(rust, "        ],");
        }
        let _ = writeln!(rust, "    }},");
    }
    rust.push_str("];\n");
    Ok(rust)
}

/// The record of one kernel.
fn record(kernel: &Kernel<'_>) -> Result<String, String> {
    let Kernel { name, isa, trial, reason, record, facts, .. } = kernel;
    let mut fields = String::new();
    for field in record.fields {
        let fact = facts.get(*field).ok_or_else(|| {
            format!(
                "{name}: nothing says {field:?} of {}, expected it of the tile or of [op.{}]",
                record.name, kernel.op
            )
        })?;
        let _ = write!(fields, "{field}: {}, ", fact.rust());
    }
    Ok(format!(
        "{} {{ name: {name:?}, isa: Isa::{}, {fields}trial: {trial}, reason: {reason:?}, run: {} }}",
        record.name,
        isa.variant,
        kernel.symbol()
    ))
}

#[cfg(test)]
mod tests {
    use super::super::{isa, kernels, rows};
    use super::*;

    #[test]
    fn records_hold_what_their_rows_say() {
        let isas = isa::read_all(&kernels().join("isa")).unwrap();
        let mut table = rows::read(&kernels().join("kernels.toml"), &isas).unwrap();
        let rust = rust(&isas.iter().collect::<Vec<_>>(), &table).unwrap();
        for part in [
            "name: \"pw_f32_4x24_avx2\", isa: Isa::Avx2, mr: 4, nr: 24, lanes: 8, mr_by_vectors: &[10, 6, 4], trial: false",
            "name: \"dw3x3s2_f32_2x4x8_avx2\", isa: Isa::Avx2, window: (3, 3), stride: 2, dilation: 1, rows: 2, columns: 4",
            "name: \"stem_f32_8x8_neon\", isa: Isa::Neon, mr: 8, nr: 8, lanes: 4, stem: true",
        ] {
            assert!(rust.contains(part), "{part}\n{rust}");
        }
        // A kernel stands in the list of its own ISA, and in those of `also`.
        assert_eq!(rust.matches("name: \"conv_f32_6x16_avx2\"").count(), 2);

        table[0].facts.remove("nr");
        let error = super::rust(&isas.iter().collect::<Vec<_>>(), &table).unwrap_err();
        assert!(error.contains("nothing says \"nr\" of PointwiseKernel"), "{error}");
    }
}
