//! Any text as the table of kernels: an error, or rows of which each becomes an entry of the Rust table and C.
#![no_main]

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use build::isa::Isa;
use libfuzzer_sys::fuzz_target;

#[allow(dead_code)] // Cargo alone runs all of it.
#[path = "../../build/mod.rs"]
mod build;

/// Rows that are expanded: each takes a moment.
const MOST_ROWS: usize = 3;

fn kernels() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernels")
}

static ISAS: LazyLock<Vec<Isa>> =
    LazyLock::new(|| build::isa::read_all(&kernels().join("isa")).expect("the files of the package"));

fuzz_target!(|text: &str| {
    let rows = match build::rows::parse("rows", text, &ISAS) {
        Ok(rows) => rows,
        Err(error) => return assert!(error.starts_with("rows:"), "{error}"),
    };
    // A fact that a record has no field for is an error.
    let isas: Vec<&Isa> = ISAS.iter().collect();
    if let Ok(table) = build::table::rust(&isas, &rows) {
        assert!(rows.iter().all(|row| table.contains(&row.symbol())));
    }
    let templates = build::expand::templates(&kernels()).expect("the files of the package");
    for row in rows.iter().take(MOST_ROWS) {
        if let Ok(c) = build::expand::kernel(&templates, row) {
            assert!(c.contains(&row.symbol()), "{c}");
        }
    }
});
