//! The tests that `docs/errors.md` names are there.

use std::fs;
use std::path::Path;

/// Each file of tests that a row names, with the functions that follow it.
fn named(row: &str) -> Vec<(&str, Vec<&str>)> {
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    for code in row.split('`').skip(1).step_by(2) {
        if code.starts_with("tests/") {
            found.push((code, Vec::new()));
        } else if let Some((_, functions)) = found.last_mut() {
            functions.push(code);
        }
    }
    found
}

#[test]
fn each_row_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/errors.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| function"));
    let mut count = 0;
    for row in rows {
        let files = named(row);
        assert!(!files.is_empty(), "a row without a test: {row}");
        for (file, functions) in files {
            let text = fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(!functions.is_empty(), "{file} is named without a test: {row}");
            for function in functions {
                assert!(text.contains(&format!("fn {function}() {{")), "{file}: no test {function}");
            }
        }
        count += 1;
    }
    assert!(count > 30, "{count} rows, expected more: the page was not read");
}
