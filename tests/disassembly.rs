//! What the compiler made of the kernels: no vector is spilled in a loop, the inner loops hold the fused multiply-adds
//! that they should, and the code stays small. Needs `objdump` (or the one that `OBJDUMP` names) and says so where
//! there is none; `SEPCONV_REQUIRE_OBJDUMP` makes that a failure.
#![cfg(feature = "generated")]

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use common::every_isa;

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

#[test]
fn inner_loops_hold_their_multiply_adds() {
    let Some(functions) = functions() else { return };
    // Four input channels a turn of a GEMM's loop, or the nine of a stem's window row; 72 or 144 taps a depthwise tile.
    let expected: &[(&str, usize)] = if cfg!(target_arch = "x86_64") {
        &[
            ("pw_f32_6x16_avx2/micro_6x2", 48),
            ("pw_f32_4x24_avx2/micro_4x3", 48),
            ("conv_f32_6x16_avx2/micro_6x2", 108),
            ("dw3x3s1_f32_2x4x8_avx2/micro_2x4", 72),
            ("dw3x3s2_f32_2x4x8_avx2/micro_2x4", 72),
            ("pw_f32_14x32_avx512/micro_14x2", 112),
            ("pw_f32_8x48_avx512/micro_8x3", 96),
            ("conv_f32_14x32_avx512/micro_14x2", 252),
            ("dw3x3s1_f32_4x4x16_avx512/micro_4x4", 144),
            ("dw3x3s2_f32_2x4x16_avx512/micro_2x4", 72),
        ]
    } else {
        &[
            ("pw_f32_8x8_neon/micro_8x2", 64),
            ("conv_f32_8x8_neon/micro_8x2", 144),
            ("dw3x3s1_f32_4x4x4_neon/micro_4x4", 144),
            ("dw3x3s2_f32_4x4x4_neon/micro_4x4", 144),
        ]
    };
    for (name, count) in expected {
        let function = functions.iter().find(|function| function.name == *name);
        let function = function.unwrap_or_else(|| panic!("no function {name}"));
        assert_eq!(function.fused(), *count, "{name}");
    }
}

#[test]
fn the_code_stays_small() {
    let Some(functions) = functions() else { return };
    let trials: Vec<&str> = every_isa()
        .iter()
        .flat_map(|kernels| kernels.pointwise())
        .filter(|kernel| kernel.is_trial())
        .map(|kernel| kernel.name())
        .collect();
    for isa in ["avx2", "avx512", "neon"] {
        let length = |f: &Function| Some(f.instructions.last()?.address - f.instructions.first()?.address);
        let shipped = |f: &&Function| {
            f.name.split('/').next().is_some_and(|object| object.ends_with(isa) && !trials.contains(&object))
        };
        let bytes: u64 = functions.iter().filter(shipped).filter_map(length).sum();
        assert!(bytes <= 512 << 10, "{bytes} bytes of code for {isa}");
    }
}
