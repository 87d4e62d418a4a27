//! Every `unsafe` of the sources, and what makes it sound: `docs/unsafe.md`, which is made of their `SAFETY` comments.
//!
//! `SEPCONV_WRITE_UNSAFE=1 cargo test --test unsafe_inventory` writes it anew.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

const HEAD: &str = "# Where the sources are unsafe, and why it is sound

Each file of `src/` that has `unsafe` blocks or implementations, with the clauses that they cite and how many cite each. *Own
contract* is the section *Safety* of the function around, which its callers cite in turn; the kernels' contract is in
[`kernels/README.md`](../kernels/README.md). Clippy holds that every block has its comment, and
`tests/unsafe_inventory.rs` that this page is what the comments say: it is made by
`SEPCONV_WRITE_UNSAFE=1 cargo test --test unsafe_inventory`.

";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The comment that begins in line `at`, as one line without what introduces it.
fn comment(lines: &[&str], at: usize) -> String {
    let comments = lines[at..].iter().map_while(|line| line.trim_start().strip_prefix("//"));
    comments.map(str::trim).collect::<Vec<_>>().join(" ").trim_start_matches("SAFETY:").trim().to_string()
}

/// Each `unsafe` block and implementation in `text`: its line, and the clause that it cites. One comment stands for all
/// blocks of its statement.
fn cited(text: &str) -> Vec<(usize, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let (mut found, mut clause) = (Vec::new(), String::new());
    for (at, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        if code.starts_with("// SAFETY:") {
            let said = comment(&lines, at);
            // `As above` goes on with the clause before.
            if !said.starts_with("as above") {
                clause = said;
            }
        }
        let sites = code.matches("unsafe {").count() + code.matches("unsafe impl ").count();
        if !code.starts_with("//") {
            found.extend((0..sites).map(|_| (at + 1, clause.clone())));
        }
    }
    found
}

/// The page for files of these names and texts.
fn page(files: &[(String, String)]) -> String {
    let mut page = String::from(HEAD);
    let mut total = 0;
    let mut rows = String::new();
    for (name, text) in files {
        let mut clauses: BTreeMap<String, usize> = BTreeMap::new();
        for (line, clause) in cited(text) {
            assert!(!clause.is_empty(), "{name}:{line}: unsafe without a clause");
            *clauses.entry(clause).or_default() += 1;
        }
        for (clause, count) in clauses {
            total += count;
            let clause = clause
                .strip_prefix("by this function's own contract")
                .map_or(clause.clone(), |rest| format!("*own contract*{rest}"));
            let _ = writeln!(rows, "| `{name}` | {count} | {} |", clause.replace('|', "\\|"));
        }
    }
    let _ = writeln!(page, "{total} in all.\n\n| file | unsafe | clause |\n|---|---|---|\n{}", rows.trim_end());
    page
}

#[test]
fn the_inventory_is_what_the_sources_say() {
    let mut paths = Vec::new();
    sources(&root().join("src"), &mut paths);
    paths.sort();
    let name = |path: &PathBuf| path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
    let files: Vec<_> = paths.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect();
    let (page, place) = (page(&files), root().join("docs/unsafe.md"));
    if std::env::var_os("SEPCONV_WRITE_UNSAFE").is_some() {
        fs::write(&place, &page).unwrap();
    }
    let written = fs::read_to_string(&place).unwrap();
    let differ = page.lines().zip(written.lines()).find(|(now, written)| now != written);
    assert!(page == written, "docs/unsafe.md says otherwise, write it anew with SEPCONV_WRITE_UNSAFE=1: {differ:?}");
}

/// Folders that hold to a promise of having none.
#[test]
fn what_forbids_unsafe_says_so() {
    for file in ["models/mod.rs", "reference/mod.rs"] {
        let text = fs::read_to_string(root().join("src").join(file)).unwrap();
        assert!(text.contains("#![forbid(unsafe_code)]"), "{file}");
    }
}

#[test]
fn blocks_are_found_with_their_clauses() {
    let text = "\
        // SAFETY: checked\n\
        // above.\n\
        unsafe { read() };\n\
        /// // SAFETY: in an example\n\
        /// unsafe { read() };\n\
        // SAFETY: as above.\n\
        unsafe impl Send for X {}\n\
        // SAFETY: borrowed.\n\
        let pair = (unsafe { a() }, unsafe { b() });\n";
    let clause = |line, text: &str| (line, text.to_string());
    assert_eq!(
        cited(text),
        [clause(3, "checked above."), clause(7, "checked above."), clause(9, "borrowed."), clause(9, "borrowed.")]
    );
}
