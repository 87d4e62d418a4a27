//! `include/sepconv.h`: made from `src/capi`, and C99 and C++17.

use std::ffi::CStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sepconv::capi::library::sepconv_abi_version;
use sepconv::capi::status::sepconv_status_name;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The header as cbindgen makes it, by the same settings as cargo-c does.
fn made() -> String {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap();
    let builder = cbindgen::Builder::new().with_config(config).with_src(root().join("src/capi/mod.rs"));
    let mut text = Vec::new();
    builder.generate().unwrap().write(&mut text);
    String::from_utf8(text).unwrap()
}

/// `SEPCONV_WRITE_HEADER=1 cargo test --features capi --test capi header` writes it anew.
#[test]
fn the_header_is_that_of_the_code() {
    let (path, made) = (root().join("include/sepconv.h"), made());
    if std::env::var_os("SEPCONV_WRITE_HEADER").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap().replace("\r\n", "\n");
    let same = kept.lines().zip(made.lines()).take_while(|(kept, made)| kept == made).count();
    let line = |text: &str| text.lines().nth(same).map(str::to_string);
    assert!(kept == made, "line {}: {:?}, made of the code: {:?}", same + 1, line(&kept), line(&made));
    // Every function, and the constants that cbindgen.toml has.
    let prototypes: String = made.lines().filter(|line| line.starts_with(|c: char| c.is_alphabetic())).collect();
    for file in fs::read_dir(root().join("src/capi")).unwrap() {
        let code = fs::read_to_string(file.unwrap().path()).unwrap();
        for exported in code.split("#[unsafe(no_mangle)]").skip(1) {
            let name = exported.split_once("fn ").unwrap().1.split('(').next().unwrap();
            assert_eq!(prototypes.matches(&format!("{name}(")).count(), 1, "{name}");
        }
    }
    let name = |status| {
        // SAFETY: the text lives for ever.
        unsafe { CStr::from_ptr(sepconv_status_name(status)) }.to_str().unwrap()
    };
    let names: Vec<_> = (0..).map(name).take_while(|name| *name != "unknown").collect();
    for (status, name) in names.iter().enumerate() {
        assert!(made.contains(&format!("  {name} = {status},\n")), "{name}");
    }
    assert_eq!(made.matches("\n  SEPCONV_STATUS_").count(), names.len());
    assert!(made.contains(&format!("#define SEPCONV_ABI_VERSION {}\n", sepconv_abi_version())));
}

/// The C and the C++ compiler take a file that uses the header.
#[test]
fn the_header_is_c99_and_cpp17() {
    let source =
        "#include \"sepconv.h\"\nint main(void) { return sepconv_abi_version() == SEPCONV_ABI_VERSION ? 0 : 1; }\n";
    for (compiler, language, standard) in [("cc", "c", "c99"), ("c++", "c++", "c++17")] {
        let mut check = Command::new(compiler);
        check.args(["-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-pedantic", "-x", language, "-I"]);
        check.arg(root().join("include")).arg(format!("-std={standard}")).arg("-").current_dir(Path::new("/"));
        let mut child = check.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect(compiler);
        child.stdin.take().unwrap().write_all(source.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{standard}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
