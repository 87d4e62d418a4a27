//! The C compiler.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::isa::Isa;

/// Compiles the expanded sources of one ISA into one static library.
pub fn library(isa: &Isa, kernels: &Path, out: &Path, sources: &[PathBuf]) -> Result<(), String> {
    let mut build = cc::Build::new();
    build.files(sources).include(kernels).include(out).opt_level(3).debug(false).warnings(true).cargo_warnings(false);
    build.force_frame_pointer(false).cargo_metadata(true);
    let compiler = build.try_get_compiler().map_err(|error| absent(&error.to_string()))?;
    if compiler.is_like_msvc() {
        build.std("c11");
        build.flags(&isa.msvc_flags);
    } else {
        build.std("gnu11").flag("-ffp-contract=off").flag("-fno-math-errno");
        build.flags(&isa.flags);
        // The templates say what is a vector: left to itself, clang makes some of pixel pointers too, and spills.
        build.flags(["-fno-tree-vectorize", "-fno-tree-slp-vectorize"]);
        // gcc's choice of induction variables gives each pixel of a window a register of its own; then it spills.
        build.flag_if_supported("-fno-ivopts");
    }
    // An absent compiler and a compiler that finds an error are told apart by starting it once.
    let mut probe = Command::new(compiler.path());
    probe.args(if compiler.is_like_msvc() { &["/?"] } else { &["--version"] });
    if let Err(error) = probe.stdin(Stdio::null()).output() {
        return Err(absent(&format!("{}: {error}", compiler.path().display())));
    }
    build.try_compile(&format!("{}{}", super::symbol_prefix(), isa.name)).map_err(|error| {
        format!("the C compiler {} did not accept the expanded kernels:\n{error}", compiler.path().display())
    })
}

fn absent(why: &str) -> String {
    format!(
        "sepconv compiles its kernels with a C compiler, and none was found ({why})\n\
         install one or name it in CC; or build with --no-default-features --features std,rayon for the portable tier in pure Rust"
    )
}
