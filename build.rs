//! Expands `kernels/` into C, compiles it with each ISA's own flags and writes the Rust table of kernels.
//!
//! Knows no kernel by name: what exists is what `kernels/kernels.toml` lists. `SEPCONV_EMIT_DIR=DIR` copies the
//! expanded sources to `DIR` to be read.

fn main() {
    #[cfg(feature = "generated")]
    if let Err(message) = generate::run() {
        for line in message.lines() {
            println!("cargo::error={line}");
        }
        std::process::exit(1);
    }
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(sepconv_kernels)");
}

#[cfg(feature = "generated")]
mod generate {
    use std::fmt::Write as _;
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::{env, fs};

    use minijinja::{Environment, UndefinedBehavior, context};
    use serde::{Deserialize, Serialize};
    use toml::Spanned;

    /// An instruction set that kernels can be written for: what a template needs to know of it, and its compiler flags.
    #[derive(Serialize)]
    struct Isa {
        name: &'static str,
        /// `CARGO_CFG_TARGET_ARCH` of the targets that get its kernels.
        #[serde(skip)]
        arch: &'static str,
        /// The variant of the crate's `Isa`.
        #[serde(skip)]
        variant: &'static str,
        lanes: usize,
        registers: usize,
        /// Whether a fused multiply-add can take one lane of a vector as an operand.
        fma_lane: bool,
        /// Input channels an iteration of the K loop.
        unroll: usize,
        /// Pointwise: whether the last input channel of a tile is computed together with its epilogue. It pays, but with 16
        /// registers the bounds of the clamp do not fit beside it, and gcc spills; on NEON it was not tried. Conv: a stem
        /// then has no loop of its own.
        overlap: bool,
        /// ISAs whose kernels its CPUs run as well (`Isa::is_supported` checks them).
        #[serde(skip)]
        includes: &'static [&'static str],
        #[serde(skip)]
        flags: &'static [&'static str],
        #[serde(skip)]
        msvc_flags: &'static [&'static str],
    }

    const ISAS: [Isa; 3] = [
        Isa {
            name: "avx2",
            arch: "x86_64",
            variant: "Avx2",
            lanes: 8,
            registers: 16,
            fma_lane: false,
            unroll: 4,
            overlap: false,
            includes: &[],
            flags: &["-mavx2", "-mfma"],
            msvc_flags: &["/arch:AVX2"],
        },
        Isa {
            name: "avx512",
            arch: "x86_64",
            variant: "Avx512",
            lanes: 16,
            registers: 32,
            fma_lane: false,
            unroll: 4,
            overlap: true,
            includes: &["avx2"],
            flags: &["-mavx512f"],
            msvc_flags: &["/arch:AVX512"],
        },
        Isa {
            name: "neon",
            arch: "aarch64",
            variant: "Neon",
            lanes: 4,
            registers: 32,
            fma_lane: true,
            unroll: 4,
            overlap: false,
            includes: &[],
            flags: &[],
            msvc_flags: &[],
        },
    ];

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Table {
        kernel: Vec<Spanned<Row>>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Row {
        op: String,
        stride: Option<usize>,
        tile: Vec<usize>,
        isa: String,
        #[serde(default)]
        also: Vec<String>,
        status: String,
        reason: Option<String>,
    }

    /// The tile in the terms of the template, and the most registers that its inner loop holds at once.
    #[derive(Serialize)]
    struct Tile {
        rows: usize,
        columns: usize,
        vectors: usize,
        /// Pointwise, conv: the pixels of the tile in a panel of 1, 2, ... vectors; the last panel of a matrix is narrower.
        heights: Vec<usize>,
        /// Depthwise: whether all nine weights stay in registers while a tile is computed.
        resident: bool,
        #[serde(skip)]
        registers: usize,
    }

    /// A row that was checked.
    struct Kernel {
        name: String,
        op: String,
        stride: usize,
        tile: Tile,
        isa: &'static Isa,
        /// Other ISAs that get the kernel too.
        also: Vec<&'static Isa>,
        trial: bool,
        reason: String,
    }

    /// The pixels of a tile in a panel of `vectors` vectors, where a full panel has more: as many as the registers hold, up
    /// to a number that covers the latency of the multiply-adds; for wide vectors less, since each costs code.
    fn height(isa: &Isa, vectors: usize) -> usize {
        match (isa.fma_lane, isa.lanes) {
            (true, _) => 12.min((isa.registers - vectors) / (vectors + 1)),
            (false, lanes) => (if lanes >= 16 { 8 } else { 10 }).min((isa.registers - vectors - 1) / vectors),
        }
    }

    impl Kernel {
        fn symbol(&self) -> String {
            format!("{}{}", symbol_prefix(), self.name)
        }
    }

    /// Two versions of the crate can share a program: no two of their symbols are equal.
    fn symbol_prefix() -> String {
        format!("sepconv_{}_", env!("CARGO_PKG_VERSION").replace(['.', '-', '+'], "_"))
    }

    fn find_isa(name: &str) -> Result<&'static Isa, String> {
        ISAS.iter().find(|isa| isa.name == name).ok_or_else(|| {
            let known: Vec<_> = ISAS.iter().map(|isa| isa.name).collect();
            format!("unknown isa {name:?}, expected one of {known:?}")
        })
    }

    /// Checks one row; the message says what was expected.
    fn check(row: &Row) -> Result<Kernel, String> {
        let isa = find_isa(&row.isa)?;
        let also = row.also.iter().map(|name| find_isa(name)).collect::<Result<Vec<_>, _>>()?;
        if let Some(other) = also.iter().find(|other| !other.includes.contains(&isa.name)) {
            return Err(format!("also {:?}, expected ISAs whose CPUs run {} as well", other.name, isa.name));
        }
        let trial = match row.status.as_str() {
            "ship" => false,
            "trial" => true,
            other => return Err(format!("unknown status {other:?}, expected \"ship\" or \"trial\"")),
        };
        let reason = row.reason.as_deref().unwrap_or("").trim();
        if reason.is_empty() {
            return Err("no reason, expected a sentence that says why this tile".into());
        }
        let (short, tile) = match (row.op.as_str(), row.stride, &row.tile[..]) {
            (op @ ("pointwise" | "conv"), None, &[rows, columns]) => {
                if rows == 0 || columns == 0 || columns % isa.lanes != 0 {
                    return Err(format!(
                        "tile {:?}, expected at least one pixel and a multiple of {} output channels",
                        row.tile, isa.lanes
                    ));
                }
                let vectors = columns / isa.lanes;
                // A weight vector that only one pixel uses is an operand, not a register held.
                let (pixels, weights) = (if isa.fma_lane { rows } else { 1 }, if rows == 1 { 1 } else { vectors });
                let registers = rows * vectors + weights + pixels;
                let height = |narrow| if rows == 1 { 1 } else { height(isa, narrow) };
                let heights = (1..vectors).map(height).chain([rows]).collect();
                let tile = Tile { rows, columns, vectors, heights, resident: false, registers };
                (if op == "conv" { "conv" } else { "pw" }.to_string(), tile)
            }
            ("depthwise", Some(stride @ 1..=2), &[rows, columns, channels]) => {
                if rows == 0 || columns == 0 || channels != isa.lanes {
                    return Err(format!(
                        "tile {:?}, expected at least one row and column, and {} channels",
                        row.tile, isa.lanes
                    ));
                }
                // Weights that one input row meets: a row of them for each output row whose window holds it. Beside
                // them, the accumulators, an input and the bound of the input clamp.
                let (met, others) = (3 * rows.min(3usize.div_ceil(stride)), rows * columns + 2);
                let resident = others + 9 <= isa.registers;
                let registers = rows * columns + 1 + if resident { 9 } else { met };
                let tile = Tile { rows, columns, vectors: 1, heights: Vec::new(), resident, registers };
                (format!("dw3x3s{stride}"), tile)
            }
            (op @ ("pointwise" | "conv"), ..) => {
                return Err(format!(
                    "op {op:?} takes tile = [pixels, output channels] and no stride, got {:?}",
                    row.tile
                ));
            }
            ("depthwise", ..) => {
                return Err("op \"depthwise\" takes stride = 1 or 2 and tile = [rows, columns, channels]".into());
            }
            (op, ..) => return Err(format!("unknown op {op:?}, expected \"pointwise\", \"depthwise\" or \"conv\"")),
        };
        if tile.registers > isa.registers {
            return Err(format!(
                "tile {:?} needs {} registers, expected at most the {} that {} has",
                row.tile, tile.registers, isa.registers, isa.name
            ));
        }
        let sizes: Vec<_> = row.tile.iter().map(usize::to_string).collect();
        Ok(Kernel {
            name: format!("{short}_f32_{}_{}", sizes.join("x"), isa.name),
            op: row.op.clone(),
            stride: row.stride.unwrap_or(1),
            tile,
            isa,
            also,
            trial,
            reason: reason.into(),
        })
    }

    /// Reads and checks the whole table; the first bad row is an error that names the file and the line.
    fn read_table(path: &Path) -> Result<Vec<Kernel>, String> {
        let text = read(path)?;
        let table: Table = toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut kernels: Vec<Kernel> = Vec::new();
        for row in &table.kernel {
            let line = 1 + text[..row.span().start].matches('\n').count();
            let at = |message| format!("{}:{line}: {message}", path.display());
            let kernel = check(row.get_ref()).map_err(at)?;
            if kernels.iter().any(|other| other.name == kernel.name) {
                return Err(at(format!("duplicate kernel {}, expected each row once", kernel.name)));
            }
            kernels.push(kernel);
        }
        Ok(kernels)
    }

    /// A field of an argument struct: name and C type; each is as wide as its alignment.
    struct Field(&'static str, Type);

    #[allow(clippy::enum_variant_names)]
    enum Type {
        ConstFloat,
        MutFloat,
        Signed,
        Unsigned,
        Float,
    }

    impl Type {
        fn c(&self) -> (&'static str, usize) {
            match self {
                Type::ConstFloat => ("const float *", 8),
                Type::MutFloat => ("float *", 8),
                Type::Signed => ("ptrdiff_t ", 8),
                Type::Unsigned => ("size_t ", 8),
                Type::Float => ("float ", 4),
            }
        }
    }

    macro_rules! arguments {
        ($($(#[$_doc:meta])* $op:ident $name:ident { $($(#[$_field_doc:meta])* $field:ident: $type:ident,)* })*) => {
            const ARGUMENTS: &[(&str, &[Field])] = &[$((stringify!($op), &[$(Field(stringify!($field), Type::$type)),*])),*];
        };
    }
    include!("kernels/arguments.rs");

    /// The C side of the argument structs, with the layout that the Rust side has asserted.
    fn arguments_header() -> String {
        let mut c = String::from("/* Expanded from kernels/arguments.rs. */\n#include <stddef.h>\n");
        for (op, fields) in ARGUMENTS {
            let (mut layout, mut offset) = (String::new(), 0);
            let _ = writeln!(c, "\nstruct sepconv_{op} {{");
            for Field(name, kind) in *fields {
                let (c_type, size) = kind.c();
                let _ = writeln!(c, "    {c_type}{name};");
                let _ =
                    writeln!(layout, "_Static_assert(offsetof(struct sepconv_{op}, {name}) == {offset}, \"layout\");");
                offset += size;
            }
            let size = offset.next_multiple_of(8);
            let _ = write!(c, "}};\n{layout}");
            let _ = writeln!(c, "_Static_assert(sizeof(struct sepconv_{op}) == {size}, \"layout\");");
        }
        c
    }

    fn expand(templates: &Environment<'_>, kernel: &Kernel) -> Result<String, String> {
        let name = format!("{}.c.jinja", kernel.op);
        templates
            .get_template(&name)
            .and_then(|template| {
                template.render(context! {
                    name => kernel.name,
                    symbol => kernel.symbol(),
                    reason => kernel.reason,
                    stride => kernel.stride,
                    tile => &kernel.tile,
                    isa => kernel.isa,
                })
            })
            .map_err(|error| format!("kernels/{name}, expanding {}: {error:#}", kernel.name))
    }

    /// The Rust table: the kernel records of each ISA of the target.
    fn rust_table(isas: &[&Isa], kernels: &[Kernel]) -> String {
        let mut rust = String::from("// Written by build.rs from kernels/kernels.toml.\n");
        let ops = [("pointwise", "Pointwise"), ("depthwise", "Depthwise"), ("conv", "Conv")];
        let _ = writeln!(rust, "unsafe extern \"C\" {{");
        for (op, record) in ops {
            for kernel in kernels.iter().filter(|kernel| kernel.op == op) {
                let _ = writeln!(rust, "    fn {}(arguments: *const arguments::{record});", kernel.symbol());
            }
        }
        let _ = writeln!(rust, "}}\npub(super) static KERNELS: &[Kernels] = &[");
        for isa in isas {
            let _ = writeln!(rust, "    Kernels {{\n        isa: Isa::{},", isa.variant);
            let of_isa =
                |kernel: &&Kernel| std::iter::once(&kernel.isa).chain(&kernel.also).any(|other| other.name == isa.name);
            for (op, record) in ops {
                let _ = writeln!(rust, "        {op}: &[");
                for kernel in kernels.iter().filter(of_isa).filter(|kernel| kernel.op == op) {
                    let Kernel { name, tile, stride, trial, reason, .. } = kernel;
                    let own = match op {
                        "depthwise" => format!("stride: {stride}, "),
                        "pointwise" => format!("heights: &{:?}, ", tile.heights),
                        _ => String::new(),
                    };
                    let (variant, lanes, symbol) = (kernel.isa.variant, kernel.isa.lanes, kernel.symbol());
                    let _ = writeln!(
                        rust,
                        "            {record}Kernel {{ name: {name:?}, isa: Isa::{variant}, {own}rows: {}, columns: {}, \
                         lanes: {lanes}, trial: {trial}, reason: {reason:?}, run: {symbol} }},",
                        tile.rows, tile.columns,
                    );
                }
                let _ = writeln!(rust, "        ],");
            }
            let _ = writeln!(rust, "    }},");
        }
        rust.push_str("];\n");
        rust
    }

    /// Compiles the expanded sources of one ISA into one static library.
    fn compile(isa: &Isa, kernels: &Path, out: &Path, sources: &[PathBuf]) -> Result<(), String> {
        let mut build = cc::Build::new();
        build
            .files(sources)
            .include(kernels)
            .include(out)
            .opt_level(3)
            .debug(false)
            .warnings(true)
            .cargo_warnings(false);
        build.force_frame_pointer(false).cargo_metadata(true);
        let compiler = build.try_get_compiler().map_err(|error| no_compiler(&error.to_string()))?;
        if compiler.is_like_msvc() {
            build.std("c11");
            build.flags(isa.msvc_flags);
        } else {
            build.std("gnu11").flag("-ffp-contract=off").flag("-fno-math-errno");
            build.flags(isa.flags);
            // The templates say what is a vector: left to itself, clang makes some of pixel pointers too, and spills.
            build.flags(["-fno-tree-vectorize", "-fno-tree-slp-vectorize"]);
            // gcc's choice of induction variables gives each pixel of a window a register of its own; then it spills.
            build.flag_if_supported("-fno-ivopts");
        }
        // An absent compiler and a compiler that finds an error are told apart by starting it once.
        let mut probe = Command::new(compiler.path());
        probe.args(if compiler.is_like_msvc() { &["/?"] } else { &["--version"] });
        if let Err(error) = probe.stdin(std::process::Stdio::null()).output() {
            return Err(no_compiler(&format!("{}: {error}", compiler.path().display())));
        }
        build.try_compile(&format!("{}{}", symbol_prefix(), isa.name)).map_err(|error| {
            format!("the C compiler {} did not accept the expanded kernels:\n{error}", compiler.path().display())
        })
    }

    fn no_compiler(why: &str) -> String {
        format!(
            "sepconv compiles its kernels with a C compiler, and none was found ({why})\n\
             install one or name it in CC; or build with --no-default-features for the portable tier in pure Rust"
        )
    }

    fn read(path: &Path) -> Result<String, String> {
        println!("cargo::rerun-if-changed={}", path.display());
        fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn write(path: &Path, text: &str) -> Result<(), String> {
        fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn variable(name: &str) -> Result<String, String> {
        env::var(name).map_err(|error| format!("{name}: {error}; build.rs is run by cargo"))
    }

    pub fn run() -> Result<(), String> {
        println!("cargo::rerun-if-env-changed=SEPCONV_EMIT_DIR");
        let kernels = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("kernels");
        let out = PathBuf::from(variable("OUT_DIR")?);
        let mut table = read_table(&kernels.join("kernels.toml"))?;
        let arch = variable("CARGO_CFG_TARGET_ARCH")?;
        let little_endian = variable("CARGO_CFG_TARGET_ENDIAN")? == "little";
        let isas: Vec<&Isa> = ISAS.iter().filter(|isa| isa.arch == arch && little_endian).collect();
        if isas.is_empty() {
            return Ok(());
        }

        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        for name in ["gemm.jinja", "pointwise.c.jinja", "depthwise.c.jinja", "conv.c.jinja"] {
            let text = read(&kernels.join(name))?;
            templates.add_template_owned(name, text).map_err(|error| format!("kernels/{name}: {error:#}"))?;
        }
        println!("cargo::rerun-if-changed={}", kernels.display());
        println!("cargo::rerun-if-changed={}", kernels.join("isa").display());

        let trial = env::var_os("CARGO_FEATURE_TRIAL").is_some();
        table.retain(|kernel| kernel.isa.arch == arch && (trial || !kernel.trial));
        write(&out.join("arguments.h"), &arguments_header())?;
        write(&out.join("kernels.rs"), &rust_table(&isas, &table))?;
        let mut written = vec![out.join("arguments.h"), out.join("kernels.rs")];
        for isa in isas {
            let mut sources = Vec::new();
            for kernel in table.iter().filter(|kernel| kernel.isa.name == isa.name) {
                let path = out.join(format!("{}.c", kernel.name));
                write(&path, &expand(&templates, kernel)?)?;
                sources.push(path);
            }
            compile(isa, &kernels, &out, &sources)?;
            written.append(&mut sources);
        }
        if let Some(directory) = env::var_os("SEPCONV_EMIT_DIR").map(PathBuf::from) {
            fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
            for path in &written {
                let Some(name) = path.file_name() else { continue };
                write(&directory.join(name), &read_quietly(path)?)?;
            }
        }
        println!("cargo::rustc-cfg=sepconv_kernels");
        println!("cargo::rustc-env=SEPCONV_KERNELS_DIR={}", out.display());
        Ok(())
    }

    fn read_quietly(path: &Path) -> Result<String, String> {
        fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
    }
}
