//! The structure of the sources, read from their `use` lines: no circle of files, and what may know what.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A file by its path from `src`, such as `plan/run.rs`.
type File = String;

/// Every source file, with its text before its tests.
fn files(folder: &Path, root: &Path, found: &mut BTreeMap<File, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, root, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests").next().unwrap().to_string();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            found.insert(name, text);
        }
    }
}

/// The module path of a file: `plan/run.rs` is `plan::run`, `plan/mod.rs` is `plan`.
fn module(file: &str) -> Vec<String> {
    let name = file.trim_end_matches(".rs");
    let parts = name.split('/').filter(|part| !["mod", "lib"].contains(part));
    parts.map(str::to_string).collect()
}

/// The paths of one `use` tree, written out: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn spread(tree: &str) -> Vec<String> {
    let Some((prefix, rest)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap().trim().to_string()];
    };
    let inner = rest.rsplit_once('}').unwrap().0;
    let (mut depth, mut parts, mut start) = (0, Vec::new(), 0);
    for (at, character) in inner.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inner[start..]);
    let full = |part: &str| spread(&format!("{}{}", prefix.trim(), part.trim()));
    parts.into_iter().filter(|part| !part.trim().is_empty()).flat_map(full).collect()
}

/// The `use` lines of `text`: whether they hand names on (`pub use`), and the paths.
fn uses(text: &str) -> Vec<(bool, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("use ") {
        let line = rest[..at].rsplit('\n').next().unwrap();
        let is_use = line.trim().is_empty() || line.trim().starts_with("pub");
        let Some(end) = rest[at..].find(';') else { break };
        if is_use {
            let tree = rest[at + 4..at + end].split_whitespace().collect::<Vec<_>>().join(" ");
            found.extend(spread(&tree).into_iter().map(|path| (line.contains("pub"), path.replace(' ', ""))));
        }
        rest = &rest[at + 4..];
    }
    found
}

struct House {
    files: BTreeMap<File, String>,
    /// By module path.
    modules: BTreeMap<Vec<String>, File>,
}

impl House {
    fn read() -> House {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut found = BTreeMap::new();
        files(&root, &root, &mut found);
        // The tests among the sources may use everything.
        found.retain(|file, _| !file.ends_with("random_graphs.rs"));
        let modules = found.keys().map(|file| (module(file), file.clone())).collect();
        House { files: found, modules }
    }

    /// The file that defines what `path` names, seen from module `from`; through whatever hands it on. `None` outside the
    /// crate.
    fn target(&self, from: &[String], path: &str, depth: usize) -> Option<File> {
        assert!(depth < 10, "{path} goes round");
        let mut parts: Vec<&str> = path.split("::").collect();
        let mut at: Vec<String> = match parts[0] {
            "crate" => Vec::new(),
            "self" => from.to_vec(),
            // Inside a module of the same file, its parent is the file itself.
            "super" if from.len() == 1 => return None,
            "super" => from[..from.len() - 1].to_vec(),
            // A sibling, or a name of another crate.
            first if self.modules.contains_key(&[from, &[first.to_string()]].concat()) => {
                parts.insert(0, "self");
                from.to_vec()
            }
            _ => return None,
        };
        parts.remove(0);
        while parts.first() == Some(&"super") {
            at.pop();
            parts.remove(0);
        }
        while let Some(part) = parts.first() {
            let next = [&at[..], &[part.to_string()]].concat();
            if !self.modules.contains_key(&next) {
                break;
            }
            at = next;
            parts.remove(0);
        }
        let file = self.modules.get(&at)?.clone();
        let Some(name) = parts.first() else { return Some(file) };
        for (handed_on, other) in uses(&self.files[&file]) {
            if handed_on && other.rsplit("::").next() == Some(name) {
                return self.target(&at, &other, depth + 1);
            }
        }
        Some(file)
    }

    /// What each file takes names from. What only hands names on takes none.
    fn arrows(&self) -> BTreeMap<&File, BTreeSet<File>> {
        let of = |(file, text): (&'_ File, &String)| -> BTreeSet<File> {
            let from = module(file);
            let mut taken: BTreeSet<File> = uses(text)
                .into_iter()
                .filter(|(handed_on, _)| !handed_on)
                .filter_map(|(_, path)| self.target(&from, &path, 0))
                .collect();
            // Paths that stand in the code.
            for piece in text.split("crate::").skip(1) {
                let path: String = piece.chars().take_while(|&c| c.is_alphanumeric() || c == '_' || c == ':').collect();
                let before = format!("crate::{}", path.trim_end_matches(':'));
                let in_code = !text.lines().any(|line| line.contains(&before) && line.trim_start().starts_with("//"));
                if in_code && !text.contains(&format!("use {before}")) {
                    taken.extend(self.target(&from, &before, 0));
                }
            }
            taken.remove(file);
            taken
        };
        self.files.iter().map(|entry| (entry.0, of(entry))).collect()
    }
}

/// A circle that begins with `file`, if there is one.
fn circle(
    arrows: &BTreeMap<&File, BTreeSet<File>>,
    path: &mut Vec<File>,
    done: &mut BTreeSet<File>,
) -> Option<Vec<File>> {
    let file = path.last()?.clone();
    for next in arrows.get(&file).into_iter().flatten() {
        if let Some(at) = path.iter().position(|file| file == next) {
            return Some(path[at..].to_vec());
        }
        if !done.contains(next) {
            path.push(next.clone());
            if let Some(found) = circle(arrows, path, done) {
                return Some(found);
            }
            path.pop();
        }
    }
    done.insert(file);
    None
}

#[test]
fn no_circle_of_files() {
    let house = House::read();
    let arrows = house.arrows();
    assert!(arrows.len() > 40 && arrows.values().map(BTreeSet::len).sum::<usize>() > 100, "the sources were not read");
    let mut done = BTreeSet::new();
    for file in arrows.keys() {
        let found = circle(&arrows, &mut vec![file.to_string()], &mut done);
        assert_eq!(found, None, "files that take names from each other in a circle");
    }
}

/// What each folder may take names from: the order of ARCHITECTURE.md, from the ground up.
const FLOORS: [(&str, &[&str]); 16] = [
    ("error.rs", &[]),
    ("math.rs", &[]),
    ("isa.rs", &[]),
    ("machine.rs", &["isa.rs"]),
    ("tensor", &["error.rs"]),
    ("blob.rs", &["error.rs", "tensor"]),
    ("portable", &["tensor", "kernel/arguments.rs"]),
    ("reference", &["math.rs", "tensor"]),
    ("kernel", &["error.rs", "isa.rs", "machine.rs", "tensor", "portable"]),
    ("ops", &["math.rs", "error.rs", "machine.rs", "tensor", "blob.rs", "kernel", "reference"]),
    ("graph", &["error.rs", "tensor", "blob.rs", "ops"]),
    ("weights", &["math.rs", "error.rs", "tensor", "graph"]),
    ("parallel", &[]),
    (
        "plan",
        &[
            "math.rs",
            "error.rs",
            "isa.rs",
            "machine.rs",
            "tensor",
            "blob.rs",
            "kernel",
            "ops",
            "graph",
            "weights",
            "parallel",
        ],
    ),
    ("models", &["math.rs", "error.rs", "tensor", "graph", "weights", "parallel", "plan"]),
    ("capi", &["error.rs", "isa.rs", "tensor", "kernel", "ops", "graph", "weights", "parallel", "plan", "models"]),
];

#[test]
fn each_folder_knows_only_what_lies_below_it() {
    let house = House::read();
    for (file, taken) in house.arrows() {
        let inside = |folder: &str, file: &str| file == folder || file.starts_with(&format!("{folder}/"));
        let Some((own, below)) = FLOORS.iter().find(|(folder, _)| inside(folder, file)) else {
            assert_eq!(file, "lib.rs", "{file} has no floor");
            continue;
        };
        for other in taken {
            let allowed = inside(own, &other) || below.iter().any(|folder| inside(folder, &other));
            assert!(allowed, "{file} takes names from {other}, which {own} may not know");
        }
    }
}

/// The one arithmetic of windows, and the facts of machines, stand in one place each.
#[test]
fn what_stands_in_one_place() {
    let house = House::read();
    for (file, text) in &house.files {
        let code = || text.lines().filter(|line| !line.trim_start().starts_with("//"));
        // The last has the only vector instructions of the library's own that are not C.
        let machine =
            ["machine.rs", "lib.rs", "tensor/transpose.rs"].contains(&&file[..]) || file.starts_with("kernel/");
        assert!(machine || !code().any(|line| line.contains("target_arch")), "{file} asks for the architecture");
    }
    // An operator is known to its own file, to the list beside it, to the reference and to the builder.
    for operator in ["Channelwise", "Mixing", "Dense", "MaxPool", "AveragePool", "GlobalAveragePool", "Clamping"] {
        for (file, text) in house.files.iter().filter(|(_, text)| text.contains(operator)) {
            let own = file.starts_with("ops/") || file.starts_with("graph/builder") || file.starts_with("reference/");
            let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
            assert!(own || words.into_iter().all(|word| word != operator), "{file} knows {operator}");
        }
    }
}
