//! Makes the kernels of this target from `kernels/`; `build/` says how. `SEPCONV_EMIT_DIR=DIR` copies the expanded sources
//! to `DIR` to be read.

#[cfg(feature = "generated")]
#[path = "build/mod.rs"]
mod build;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(sepconv_kernels)");
    #[cfg(feature = "generated")]
    if let Err(message) = build::run() {
        for line in message.lines() {
            println!("cargo::error={line}");
        }
        std::process::exit(1);
    }
}
