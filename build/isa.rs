//! The instruction sets that kernels can be written for: what a template needs to know of each, and its compiler flags.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// One file `kernels/isa/*.toml`; avx2.toml says what each field is.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Isa {
    /// The name of the file.
    #[serde(skip_deserializing)]
    pub name: String,
    pub arch: String,
    pub variant: String,
    pub lanes: usize,
    pub registers: usize,
    pub fma_lane: bool,
    pub unroll: usize,
    pub overlap: bool,
    pub narrow_mr: usize,
    pub includes: Vec<String>,
    pub flags: Vec<String>,
    pub msvc_flags: Vec<String>,
}

/// Every ISA of `directory`, by name.
pub fn read_all(directory: &Path) -> Result<Vec<Isa>, String> {
    let mut isas = Vec::new();
    for name in super::names(directory, ".toml")? {
        let path = directory.join(format!("{name}.toml"));
        let isa: Isa = toml::from_str(&super::read(&path)?).map_err(|error| format!("{}: {error}", path.display()))?;
        isas.push(Isa { name, ..isa });
    }
    Ok(isas)
}

/// The ISA of that name.
pub fn find<'a>(isas: &'a [Isa], name: &str) -> Result<&'a Isa, String> {
    isas.iter().find(|isa| isa.name == name).ok_or_else(|| {
        let known: Vec<_> = isas.iter().map(|isa| &isa.name).collect();
        format!("unknown isa {name:?}, expected one of {known:?}")
    })
}

impl Isa {
    /// The pixels of a tile in a panel of `vectors` vectors, where the row's panel has more: as many as the registers hold,
    /// at most [`narrow_mr`](Self::narrow_mr).
    pub fn mr(&self, vectors: usize) -> usize {
        let room = if self.fma_lane {
            (self.registers - vectors) / (vectors + 1)
        } else {
            (self.registers - vectors - 1) / vectors
        };
        room.min(self.narrow_mr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_isa_has_its_vocabulary() {
        let directory = super::super::kernels().join("isa");
        let isas = read_all(&directory).unwrap();
        assert_eq!(isas.iter().map(|isa| &isa.name[..]).collect::<Vec<_>>(), ["avx2", "avx512", "neon"]);
        for isa in &isas {
            let header = super::super::read(&directory.join(format!("{}.h", isa.name))).unwrap();
            assert!(header.contains(&format!("#define LANES {}\n", isa.lanes)), "{}", isa.name);
            assert!(isa.includes.iter().all(|name| find(&isas, name).is_ok()), "{}", isa.name);
        }
    }

    #[test]
    fn narrow_panels_fill_the_registers_up_to_a_bound() {
        let isas = read_all(&super::super::kernels().join("isa")).unwrap();
        let of = |name| (1..=2).map(|vectors| find(&isas, name).unwrap().mr(vectors)).collect::<Vec<_>>();
        assert_eq!(of("avx2"), [10, 6]);
        assert_eq!(of("avx512"), [8, 8]);
        assert_eq!(of("neon"), [12, 10]);
    }
}
