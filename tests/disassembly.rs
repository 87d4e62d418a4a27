//! What the compiler made of the kernels: no vector is spilled in a loop, the inner loops hold the fused multiply-adds
//! that they should, and the code stays small. Needs `objdump` (or the one that `OBJDUMP` names) and says so where
//! there is none; `SEPCONV_REQUIRE_OBJDUMP` makes that a failure.
#![cfg(feature = "generated")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One instruction: address, mnemonic, operands.
struct Instruction {
    address: u64,
    mnemonic: String,
    operands: String,
}

struct Function {
    name: String,
    instructions: Vec<Instruction>,
}

impl Function {
    /// The address that a jump within the function goes to.
    fn target(&self, instruction: &Instruction) -> Option<u64> {
        let branch = instruction.mnemonic.starts_with('j')
            || instruction.mnemonic.starts_with("b.")
            || ["b", "cbz", "cbnz", "tbz", "tbnz"].contains(&instruction.mnemonic.as_str());
        let (before, _) = instruction.operands.split_once(" <").filter(|_| branch)?;
        u64::from_str_radix(before.rsplit([' ', ',']).next()?.trim_start_matches("0x"), 16).ok()
    }

    /// Address ranges of the loops: from the target of each backward jump to the jump.
    fn loops(&self) -> Vec<std::ops::RangeInclusive<u64>> {
        let jump = |i: &Instruction| self.target(i).filter(|&to| to <= i.address).map(|to| to..=i.address);
        self.instructions.iter().filter_map(jump).collect()
    }

    /// Vector loads and stores relative to the stack pointer inside loops.
    fn spills(&self) -> Vec<String> {
        let loops = self.loops();
        let framed = self.instructions.iter().any(|i| i.mnemonic == "mov" && i.operands == "%rsp,%rbp");
        let vector = |i: &Instruction| {
            let x86 = ["%ymm", "%zmm"].iter().any(|register| i.operands.contains(register))
                && (i.operands.contains("(%rsp") || (framed && i.operands.contains("(%rbp")));
            let arm = i.operands.contains("[sp") && i.operands.starts_with('q');
            x86 || arm
        };
        self.instructions
            .iter()
            .filter(|i| vector(i) && loops.iter().any(|range| range.contains(&i.address)))
            .map(|i| format!("{}: {:x} {} {}", self.name, i.address, i.mnemonic, i.operands))
            .collect()
    }

    /// The most fused multiply-adds in one loop that holds no other.
    fn fused(&self) -> usize {
        let loops = self.loops();
        let innermost = loops.iter().filter(|range| {
            !loops.iter().any(|other| other != *range && range.contains(other.start()) && range.contains(other.end()))
        });
        let fused = |i: &&Instruction| i.mnemonic.starts_with("vfmadd") || i.mnemonic == "fmla";
        let count = |range: &std::ops::RangeInclusive<u64>| {
            self.instructions.iter().filter(|i| range.contains(&i.address)).filter(fused).count()
        };
        innermost.map(count).max().unwrap_or(0)
    }
}

/// Disassembles every object of the kernel library; `None` where there is no `objdump`.
fn functions() -> Option<Vec<Function>> {
    let directory = PathBuf::from(option_env!("SEPCONV_KERNELS_DIR")?);
    let paths = fs::read_dir(&directory).ok()?.flatten().map(|entry| entry.path());
    let libraries: Vec<_> = paths.filter(|path| path.extension().is_some_and(|extension| extension == "a")).collect();
    let given = std::env::var("OBJDUMP").ok();
    let native = format!("{}-linux-gnu-objdump", std::env::consts::ARCH);
    for objdump in given.iter().map(String::as_str).chain([native.as_str(), "objdump"]) {
        let output = Command::new(objdump).args(["-d", "--no-show-raw-insn"]).args(&libraries).output();
        let Some(output) = output.ok().filter(|output| output.status.success()) else { continue };
        return Some(parse(&String::from_utf8_lossy(&output.stdout)));
    }
    assert!(
        std::env::var_os("SEPCONV_REQUIRE_OBJDUMP").is_none(),
        "SEPCONV_REQUIRE_OBJDUMP is set and no objdump works"
    );
    eprintln!("skipped: no objdump disassembles {libraries:?}");
    None
}

fn parse(text: &str) -> Vec<Function> {
    let (mut functions, mut object): (Vec<Function>, String) = (Vec::new(), String::new());
    for line in text.lines() {
        if let Some((file, _)) = line.split_once(".o:") {
            object = file.rsplit('-').next().unwrap_or(file).into();
        } else if let Some(name) = line.strip_suffix(">:").and_then(|line| line.split_once('<')) {
            functions.push(Function { name: format!("{object}/{}", name.1), instructions: Vec::new() });
        } else if let Some((address, code)) = line.split_once(":\t") {
            let (Ok(address), Some(function)) = (u64::from_str_radix(address.trim(), 16), functions.last_mut()) else {
                continue;
            };
            let (mnemonic, operands) = code.split_once(|c: char| c.is_whitespace()).unwrap_or((code, ""));
            let (mnemonic, operands) = (mnemonic.into(), operands.trim().into());
            function.instructions.push(Instruction { address, mnemonic, operands });
        }
    }
    functions
}

#[test]
fn no_loop_spills_a_vector() {
    let Some(functions) = functions() else { return };
    assert!(functions.len() > 100, "{} functions", functions.len());
    let spills: Vec<_> = functions.iter().flat_map(Function::spills).collect();
    assert!(spills.is_empty(), "{} spills:\n{}", spills.len(), spills.join("\n"));
}

/// A kernel of the table that the build wrote, by what its name says.
struct Row {
    name: String,
    trial: bool,
}

/// The rows of every ISA of the target, whether or not this machine runs it.
fn rows() -> Vec<Row> {
    let path = Path::new(option_env!("SEPCONV_KERNELS_DIR").expect("the target has kernels")).join("kernels.rs");
    let text = fs::read_to_string(path).expect("the build writes its table");
    let mut rows = Vec::new();
    for line in text.lines() {
        let Some((name, rest)) = line.split_once("name: \"").and_then(|(_, rest)| rest.split_once('"')) else {
            continue;
        };
        // A kernel stands there once for each ISA whose machines run it.
        if !rows.iter().any(|row: &Row| row.name == name) {
            rows.push(Row { name: name.into(), trial: rest.contains("trial: true") });
        }
    }
    assert!(!rows.is_empty());
    rows
}

impl Row {
    /// The op with its window, the tile, the ISA: `<op>_f32_<tile>_<isa>`.
    fn parts(&self) -> (&str, Vec<usize>, &str) {
        let parts: Vec<&str> = self.name.split('_').collect();
        let [op, "f32", tile, isa] = parts[..] else { panic!("{}: no name of a kernel", self.name) };
        (op, tile.split('x').map(|size| size.parse().expect("a size")).collect(), isa)
    }

    /// A number of the tuning facts of the kernel's ISA.
    fn fact(&self, name: &str) -> usize {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("kernels/isa/{}.toml", self.parts().2));
        let facts: toml::Table = fs::read_to_string(path).expect("an ISA has facts").parse().expect("they are TOML");
        facts[name].as_integer().expect("a number") as usize
    }

    /// The micro-kernel of whole tiles away from the borders, and the multiply-adds of its inner loop: those of the taps
    /// of a whole tile, of the nine channels of a stem's window row, or of an iteration of a GEMM's loop.
    fn inner_loop(&self) -> (String, usize) {
        let (op, tile, _) = self.parts();
        let lanes = self.fact("lanes");
        match (op.strip_prefix("dw"), &tile[..]) {
            (Some(shape), &[rows, columns, _]) => {
                let (window, _) = shape.split_once('s').expect("a stride");
                let (height, width) = window.split_once('x').expect("a window");
                let taps = height.parse::<usize>().expect("rows") * width.parse::<usize>().expect("columns");
                (format!("micro_{rows}x{columns}"), rows * columns * taps)
            }
            (None, &[mr, nr]) => {
                let channels = if op == "stem" { 9 } else { self.fact("unroll") };
                (format!("micro_{mr}x{}", nr / lanes), mr * nr / lanes * channels)
            }
            _ => panic!("{}: a kind of tile that this test does not know", self.name),
        }
    }
}

#[test]
fn inner_loops_hold_their_multiply_adds() {
    let Some(functions) = functions() else { return };
    for row in rows() {
        let (micro, count) = row.inner_loop();
        let name = format!("{}/{micro}", row.name);
        let function = functions.iter().find(|function| function.name == name);
        let function = function.unwrap_or_else(|| panic!("no function {name}"));
        assert_eq!(function.fused(), count, "{name}");
    }
}

#[test]
fn the_code_stays_small() {
    let Some(functions) = functions() else { return };
    let rows = rows();
    let mut isas: Vec<&str> = rows.iter().map(|row| row.parts().2).collect();
    isas.dedup();
    for isa in isas {
        let length = |f: &Function| Some(f.instructions.last()?.address - f.instructions.first()?.address);
        let shipped = |f: &&Function| {
            let object = f.name.split('/').next();
            rows.iter().any(|row| object == Some(&row.name) && row.parts().2 == isa && !row.trial)
        };
        let bytes: u64 = functions.iter().filter(shipped).filter_map(length).sum();
        assert!(0 < bytes && bytes <= 512 << 10, "{bytes} bytes of code for {isa}");
    }
}
