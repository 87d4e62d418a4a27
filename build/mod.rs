//! Expands `kernels/` into C, compiles it with each ISA's own flags and writes the Rust table of kernels.
//!
//! Knows no op and no kernel by name: what exists is what `kernels/` lists.

mod arguments;
mod compile;
pub mod expand;
pub mod isa;
pub mod rows;
pub mod table;
mod tile;

use std::path::{Path, PathBuf};
use std::{env, fs};

use isa::Isa;

/// Makes the kernels of the target that cargo names.
pub fn run() -> Result<(), String> {
    println!("cargo::rerun-if-env-changed=SEPCONV_EMIT_DIR");
    let kernels = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("kernels");
    let out = PathBuf::from(variable("OUT_DIR")?);
    for directory in [kernels.clone(), kernels.join("isa")] {
        println!("cargo::rerun-if-changed={}", directory.display());
    }
    let known = isa::read_all(&kernels.join("isa"))?;
    let mut rows = rows::read(&kernels.join("kernels.toml"), &known)?;
    let arch = variable("CARGO_CFG_TARGET_ARCH")?;
    let little_endian = variable("CARGO_CFG_TARGET_ENDIAN")? == "little";
    let isas: Vec<&Isa> = known.iter().filter(|isa| isa.arch == arch && little_endian).collect();
    if isas.is_empty() {
        return Ok(());
    }
    let trial = env::var_os("CARGO_FEATURE_TRIAL").is_some();
    rows.retain(|kernel| kernel.isa.arch == arch && (trial || !kernel.trial));

    let mut written = vec![out.join("arguments.h"), out.join("kernels.rs")];
    write(&written[0], &arguments::header())?;
    write(&written[1], &table::rust(&isas, &rows)?)?;
    let templates = expand::templates(&kernels)?;
    for isa in isas {
        let mut sources = Vec::new();
        for kernel in rows.iter().filter(|kernel| kernel.isa.name == isa.name) {
            let path = out.join(format!("{}.c", kernel.name));
            write(&path, &expand::kernel(&templates, kernel)?)?;
            sources.push(path);
        }
        compile::library(isa, &kernels, &out, &sources)?;
        written.append(&mut sources);
    }
    if let Some(directory) = env::var_os("SEPCONV_EMIT_DIR").map(PathBuf::from) {
        fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        for path in &written {
            let Some(name) = path.file_name() else { continue };
            write(&directory.join(name), &read(path)?)?;
        }
    }
    println!("cargo::rustc-cfg=sepconv_kernels");
    println!("cargo::rustc-env=SEPCONV_KERNELS_DIR={}", out.display());
    Ok(())
}

/// Two versions of the crate can share a program: no two of their symbols are equal.
fn symbol_prefix() -> String {
    format!("sepconv_{}_", env!("CARGO_PKG_VERSION").replace(['.', '-', '+'], "_"))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("{name}: {error}; build.rs is run by cargo"))
}

/// The names of the files of `directory` that end in `ending`, sorted, without it.
fn names(directory: &Path, ending: &str) -> Result<Vec<String>, String> {
    let entries = fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let name = |entry: fs::DirEntry| Some(entry.file_name().to_str()?.strip_suffix(ending)?.to_string());
    let mut names: Vec<String> = entries.flatten().filter_map(name).collect();
    names.sort();
    Ok(names)
}

/// `kernels/` of this package, for tests.
#[cfg(test)]
fn kernels() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels")
}
