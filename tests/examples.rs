//! The examples as programs: command line, exit status, and what they say.
//!
//!     cargo build --release --examples && cargo test --release --test examples
//!
//! `cargo test` builds the examples too; `--test examples` alone runs those that were built before.
#![cfg(all(feature = "rayon", feature = "reference"))]

#[path = "common/files.rs"]
mod files;

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use files::{Tensor, file, torch};
use image::{Rgb, RgbImage};
use sepconv::Isa;
use sepconv::models::{Activation, Architecture, Config, Network};

/// Every example, with arguments for a short run.
const EXAMPLES: [&str; 15] = [
    "classify digit.png",
    "classify SMALL --weights hash --preprocess slim --top 1000 photo.png",
    "custom_network",
    "family --quick --net shufflenet_v2",
    "logits",
    "profile --rounds 1",
    "scaling --net digits --threads 2 --rounds 1",
    "scaling --net digits --threads 2 --rounds 1 --model",
    "segment --width 0.35 --height 33 --width-px 49",
    "throughput --net digits --threads 2 --batches 1,3 --rounds 1",
    "tradeoff --net mobilenet_v1 --width 0.25 --resolution 128 --rounds 1",
    "tune --net digits --rounds 1",
    "latency",
    "startup --rounds 1 --json",
    "depthwise_latency --size 8 --channels 8 --stride 1",
];

/// A network for photographs that takes milliseconds.
const SMALL: &str = "--net mobilenet_v1 --width 0.25 --resolution 32";

/// Whether an emulator runs the tests: it would not run the examples.
fn emulated() -> bool {
    let runner = |name: &str| name.starts_with("CARGO_TARGET_") && name.ends_with("_RUNNER");
    let emulated = std::env::vars_os().any(|(name, _)| name.to_str().is_some_and(runner));
    if emulated {
        println!("skipped: the examples are not run under an emulator");
    }
    emulated
}

/// `line`, an example and its arguments, to be run where the files of `folder` are. `SMALL` stands for its flags.
fn command(line: &str) -> Command {
    let line = line.replace("SMALL", SMALL);
    let mut words = line.split_whitespace();
    let tests = std::env::current_exe().unwrap();
    let examples = tests.parent().and_then(|deps| deps.parent()).unwrap().join("examples");
    let program = examples.join(format!("{}{}", words.next().unwrap(), std::env::consts::EXE_SUFFIX));
    assert!(
        program.exists(),
        "{program:?}: expected an example; `cargo build --examples` in the tests' profile makes it"
    );
    let mut command = Command::new(program);
    command.args(words).current_dir(folder()).env_remove("SEPCONV_ISA").stdin(Stdio::piped());
    command
}

/// Runs `line` with `1` as its standard input; its output goes to `stdout`.
fn run(line: &str, stdout: Stdio) -> Output {
    let mut child = command(line).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
    // Most examples end without reading it.
    let _ = child.stdin.take().unwrap().write_all(b"1\n");
    child.wait_with_output().unwrap()
}

/// A small MobileNet V1.
fn network(classes: usize) -> Network {
    let config =
        Config { width: 0.25, resolution: 32, classes: Some(classes), ..Config::of(Architecture::MobilenetV1) };
    Network::new(Architecture::MobilenetV1, &config).unwrap()
}

/// The folder with the files that the command lines name, made once.
fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("examples");
        fs::create_dir_all(&folder).unwrap();
        RgbImage::from_fn(40, 40, |x, y| Rgb([x as u8 * 6, y as u8 * 6, 99])).save(folder.join("photo.png")).unwrap();
        RgbImage::from_fn(28, 28, |x, _| Rgb([if x == 14 { 255 } else { 0 }; 3]))
            .save(folder.join("digit.png"))
            .unwrap();

        let names = |count| (0..count).map(|class| format!("name {class}\n")).collect::<String>();
        for (name, text) in [
            ("999.txt", names(999)),
            ("1000.txt", names(1000)),
            ("1001.txt", names(1001)),
            ("background.txt", format!("background\n{}", names(1000))),
        ] {
            fs::write(folder.join(name), text).unwrap();
        }

        let metadata = [
            ("sepconv.network", "mobilenet_v1"),
            ("sepconv.width", "0.25"),
            ("sepconv.resolution", "32"),
            ("sepconv.flavor", "torch"),
            ("sepconv.preprocess", "timm_half"),
        ];
        let write = |name: &str, tensors: &[Tensor], more: &[(&str, &str)]| {
            fs::write(folder.join(name), file(tensors, &[&metadata, more].concat())).unwrap();
        };
        let mut tensors = torch(&network(1001));
        write("1001.safetensors", &tensors, &[]);
        write("background.safetensors", &tensors, &[("sepconv.background", "true")]);
        write("unsure.safetensors", &tensors, &[("sepconv.background", "perhaps")]);
        write("prepared.safetensors", &tensors, &[("sepconv.preprocess", "peeled")]);
        fs::write(folder.join("bare.safetensors"), file(&tensors, &[])).unwrap();
        tensors.iter_mut().filter(|(name, ..)| name == "classifier.bias").for_each(|(.., bias)| bias[7] = f32::MAX);
        tensors.iter_mut().filter(|(name, ..)| name == "classifier.weight").for_each(|(.., weights)| {
            let inputs = weights.len() / 1001;
            weights[7 * inputs..8 * inputs].fill(f32::MAX);
        });
        write("infinite.safetensors", &tensors, &[]);
        tensors.retain(|(name, ..)| !name.starts_with("classifier"));
        write("backbone.safetensors", &tensors, &[]);
        // The first of three dense layers has the classifier's name.
        let dense = |name: &str| (format!("classifier.{name}"), vec![2, 256], vec![0.0; 512]);
        let head = [dense("weight"), ("classifier.bias".into(), vec![2], vec![0.0; 2]), dense("2.weight")];
        write("named_head.safetensors", &[&tensors[..], &head].concat(), &[]);
        tensors.push(("head.0.weight".into(), vec![2, 1], vec![0.0; 2]));
        tensors.push(("head.1.weight".into(), vec![1, 2], vec![0.0; 2]));
        write("head.safetensors", &tensors, &[]);
        folder
    })
}

/// Runs every line; it must exit with the status, and say the text on standard output or standard error.
fn check(table: &[(&str, i32, &str)]) {
    for &(line, status, text) in table {
        let output = run(line, Stdio::piped());
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
        assert_eq!(output.status.code(), Some(status), "{line}: {said}");
        assert!(said.contains(text), "{line}: expected {text:?} in {said}");
        let lines = said.lines().count();
        assert!(status == 0 || lines <= 14, "{line}: {lines} lines of complaint");
    }
}

#[test]
fn the_names_are_those_of_the_classes() {
    if emulated() {
        return;
    }
    check(&[
        (
            "classify SMALL --weights hash --preprocess slim --labels 1001.txt photo.png",
            2,
            "1001 names, expected 1000;",
        ),
        ("classify SMALL --weights hash --flavor slim --labels 999.txt photo.png", 2, "expected 1000, or 1001 with"),
        ("classify --weights 1001.safetensors --labels 1000.txt photo.png", 2, "1000 names, expected 1001;"),
        ("classify --weights background.safetensors --labels 999.txt photo.png", 2, "expected 1000, or 1001 with"),
        ("classify --weights unsure.safetensors photo.png", 2, "unsure.safetensors: sepconv.background \"perhaps\""),
        ("classify --labels 1000.txt", 2, "--labels 1000.txt: 1000 names, expected 10;"),
        ("classify --labels none.txt", 2, "--labels none.txt: "),
    ]);
    // Every class of the network is printed with the name that has its number, less what stands in front of the names.
    for (flags, classes, in_front) in [
        ("SMALL --weights hash --preprocess slim --labels 1000.txt", 1000, 0),
        ("SMALL --weights hash --preprocess slim --flavor slim --labels 1000.txt", 1000, 0),
        ("SMALL --weights hash --preprocess slim --flavor slim --labels background.txt", 1000, 0),
        ("--weights background.safetensors --labels 1000.txt", 1000, 0),
        ("--weights background.safetensors --labels background.txt", 1000, 0),
        ("--weights 1001.safetensors --labels 1001.txt", 1001, 0),
        ("--weights 1001.safetensors --labels background.txt", 1001, 1),
    ] {
        let output = run(&format!("classify {flags} --top 2000 photo.png"), Stdio::piped());
        let said = String::from_utf8(output.stdout).unwrap();
        let of_line = |line: &str| -> Option<(usize, usize)> {
            let (class, name) = line.split_once("%  ")?.1.trim().split_once("  name ")?;
            Some((class.parse().unwrap(), name.parse().unwrap()))
        };
        let named: Vec<_> = said.lines().filter_map(of_line).collect();
        assert_eq!(named.len(), classes - in_front, "{flags}: {said}");
        assert!(named.iter().all(|&(class, name)| class == name + in_front), "{flags}: {said}");
        assert_eq!(said.matches('%').count(), classes, "{flags}: {said}");
    }
}

#[test]
fn what_cannot_be_classified_is_an_error() {
    if emulated() {
        return;
    }
    check(&[
        ("classify", 0, "1000 digits, 98.6 % right"),
        (
            "classify SMALL photo.png",
            2,
            "only digits has embedded weights: give --weights FILE.safetensors for mobilenet_v1",
        ),
        ("classify SMALL --weights embedded photo.png", 2, "only digits has embedded weights"),
        ("classify SMALL --weights hash photo.png", 2, "give --preprocess"),
        ("classify SMALL --weights hash --preprocess slim photo.png", 0, "photo.png"),
        ("classify SMALL --weights hash --preprocess digits photo.png", 2, "digits prepares 1 channel(s)"),
        ("classify --weights infinite.safetensors photo.png", 2, "output 7 is inf"),
        ("logits --weights infinite.safetensors", 2, "output 7 is inf"),
    ]);
}

/// What is printed of a plan is what is printed of the network that it was saved of.
#[test]
fn a_saved_plan_gives_the_logits_of_its_network() {
    if emulated() {
        return;
    }
    for isa in Isa::supported() {
        let said = |line: &str| {
            let output = run(&format!("{line} --isa {isa}"), Stdio::piped());
            let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
            assert_eq!(output.status.code(), Some(0), "{line}: {said}");
            said
        };
        let own = said(&format!("logits SMALL --save {isa}.plan"));
        assert!(own.contains("\"n_out\":1000,"), "{own}");
        assert_eq!(said(&format!("logits --plan {isa}.plan")), own);
        assert!(said(&format!("latency --plan {isa}.plan")).starts_with("ready"));
        for other in Isa::supported().into_iter().filter(|&other| other != isa) {
            let line = format!("logits --plan {isa}.plan --isa {other}");
            check(&[(&line, 2, &format!("saved for ISA {isa}, expected {other}"))]);
        }
    }
    check(&[
        ("logits --plan 1001.safetensors", 2, "--plan 1001.safetensors: not a readable saved plan"),
        ("latency --plan none.plan", 2, "expected a saved plan"),
        ("logits --plan some.plan --weights hash", 2, "cannot be used with"),
    ]);
}

#[test]
fn a_network_of_ones_own_has_the_bits_of_the_reference() {
    if emulated() {
        return;
    }
    for isa in Isa::supported() {
        let line = format!("custom_network --isa {isa}");
        check(&[(&line, 0, "all 10 logits are those of the reference, bit by bit")]);
    }
}

/// Every ISA, on one thread and two, prints the same lines but for its name.
#[test]
fn a_segmented_image_has_the_bits_of_the_reference() {
    if emulated() {
        return;
    }
    for (stride, map) in [(8, "class map 13x21, "), (16, "class map 7x11, "), (32, "class map 4x6, ")] {
        let mut digests = Vec::new();
        for isa in Isa::supported() {
            for threads in [1, 2] {
                let line = format!("segment --width 0.35 --output-stride {stride} --isa {isa} --threads {threads}");
                let output = run(&line, Stdio::piped());
                let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
                assert_eq!(output.status.code(), Some(0), "{line}: {said}");
                assert!(said.contains(map) && said.contains("those of the reference, bit by bit"), "{line}: {said}");
                digests.push(said.replace(&isa.to_string(), "ISA"));
            }
        }
        assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");
    }
}

#[test]
fn a_weight_file_says_what_it_is() {
    if emulated() {
        return;
    }
    check(&[
        ("logits --weights 1001.safetensors", 0, "\"n_out\":1001,\"argmax\""),
        (
            "logits --net mobilenet_v2 --weights 1001.safetensors",
            2,
            "error: --weights 1001.safetensors: this file looks like mobilenet_v1, not mobilenet_v2: give --net mobilenet_v1",
        ),
        ("logits --net xception --weights bare.safetensors", 2, "this file looks like mobilenet_v1, not xception"),
        // 28 kernels with the means and deviations of 27, and the classifier's bias; all but that have other shapes.
        ("logits --width 0.5 --weights 1001.safetensors", 2, "expected [16]\n  and 126 more"),
        ("logits --flavor keras --weights 1001.safetensors", 2, "says flavor torch, --flavor says keras: leave"),
        ("logits --flavor keras --force-flavor --weights 1001.safetensors", 0, "\"n_out\":1001"),
        ("logits --flavor torch --weights 1001.safetensors", 0, "\"n_out\":1001"),
        // One that says nothing has a width by its tensors' shapes.
        ("logits --resolution 32 --weights bare.safetensors", 0, "\"n_out\":1001"),
        // One that says no flavor takes any.
        ("logits --flavor keras --width 0.25 --resolution 32 --weights bare.safetensors", 0, "\"n_out\":1001"),
        (
            "classify --weights prepared.safetensors photo.png",
            2,
            "prepared.safetensors: sepconv.preprocess \"peeled\": expected",
        ),
        ("logits --weights .", 2, "--weights .: this is a folder"),
        ("logits --weights none.safetensors", 2, "--weights none.safetensors: "),
        ("logits --weights backbone.safetensors", 0, "{\"n_out\":256,\"shape\":[1,1,256],\"sum\""),
        ("logits --weights backbone.safetensors --resolution 64", 0, "{\"n_out\":1024,\"shape\":[2,2,256],\"sum\""),
        ("latency --weights backbone.safetensors", 0, "ready"),
        (
            "classify --weights backbone.safetensors photo.png",
            2,
            "backbone.safetensors: no classes: the file lacks the classifier",
        ),
        ("classify --weights backbone.safetensors --classes 3 photo.png", 2, "--classes 3: this file is a backbone"),
        ("logits --weights head.safetensors", 2, "apply it to the mean of the features"),
        ("classify --weights head.safetensors photo.png", 2, "apply it to the mean of the features"),
        (
            "logits --weights named_head.safetensors",
            2,
            "classifier.2.weight: unexpected, no node reads it\n  leave a head",
        ),
    ]);
}

#[test]
fn errors_name_what_was_given() {
    if emulated() {
        return;
    }
    check(&[
        ("logits --net mobilenet_v1 --width 17", 2, "error: --width 17: expected more than 0, at most 16"),
        ("logits --net xception --resolution 3", 2, "error: --resolution 3: expected at least 7 pixels for xception"),
        ("logits --bn-eps 1", 2, "error: --bn-eps 1: expected 0 or more, below 1"),
        ("logits --bn-eps NaN", 2, "error: --bn-eps NaN: expected"),
        ("logits --classes 0", 2, "error: --classes 0: expected 1 to 1048576"),
        ("logits --activation tanh", 2, "expected one of linear, relu, relu6"),
        ("logits --activation linear", 0, "\"n_out\":10"),
        ("logits --threads 1025", 2, "error: --threads 1025: expected 1 to 1024"),
        ("logits --force-flavor", 2, "--flavor"),
        ("scaling", 2, "error: give --threads 2 or more"),
        ("scaling --model", 2, "error: give --threads 2 or more"),
        ("scaling --threads 2 --within 5", 2, "--model"),
        ("scaling --threads 2 --model --within=-1", 2, "error: --within -1: expected a percentage of 0 or more"),
        ("scaling --threads 2 --model --at 1", 2, "1 is not in 2..=1024"),
        ("throughput --batches 1,0", 2, "0 is not in 1..=65536"),
        ("throughput --rounds 0", 2, "error: --rounds 0: expected at least 1"),
        ("throughput --need NaN", 2, "error: --need NaN: expected a ratio of 0 or more"),
        ("throughput --net digits --rounds 1 --need 1e9", 1, "digits, 1 threads, batch 2: "),
        ("latency --batch 0", 2, "0 is not in 1..=65536"),
        ("tradeoff --net xception", 2, "error: --net xception: expected a published point: mobilenet_v1 0.25 at 224, "),
        (
            "family --net shufflenet_v1 --groups 5",
            2,
            "error: --net shufflenet_v1 --groups 5: expected a published point: shufflenet_v1 g1 0.25 at 224; ",
        ),
        ("family --net digits --quick --svg family.svg", 2, "error: --svg family.svg: no accuracy is published"),
        ("family --net squeezenet_1_1 --quick --svg family.svg", 0, "squeezenet_1_1_224_torch"),
        ("logits --net shufflenet_v1 --groups 5", 2, "error: --groups 5: expected 1, 2, 3, 4 or 8"),
        ("logits --net mobilenet_v1 --groups 3", 2, "error: --groups 3: expected none for mobilenet_v1"),
        ("logits --net shufflenet_v1 --flavor torch", 2, "error: --flavor torch: expected one of paper, megvii"),
        ("logits --net shufflenet_v2 --activation relu6", 2, "error: --activation relu6: expected relu"),
        ("segment --output-stride 4", 2, "error: --output-stride 4: expected 8, 16 or 32"),
        ("segment --height 0", 2, "error: --height 0: expected 1 to 1024"),
        ("segment --width-px 1025", 2, "error: --width-px 1025: expected 1 to 1024"),
        ("segment --width NaN", 2, "error: --width NaN: expected more than 0, at most 2"),
        ("classify --resolution 32", 2, "error: the embedded digits are 28x28, the network takes 32x32"),
        (
            "classify --net mobilenet_v1 --resolution 4097 --weights hash --preprocess slim photo.png",
            2,
            "1 to 4096 pixels a side",
        ),
    ]);
}

/// Batches, cold starts and charts.
#[test]
fn what_is_timed_is_printed() {
    if emulated() {
        return;
    }
    check(&[
        ("latency --batch 3", 0, "ready\n"),
        ("latency --cold --batch 2 --weights bare.safetensors --resolution 32", 0, "ready\n"),
        ("scaling --net digits --threads 2 --rounds 1 --model --at 3 --json", 0, "\"at\":3,\"layers\":[{\"layers\":"),
        (
            "throughput --net digits --threads 2 --batches 2,1,2 --rounds 1 --json --svg throughput.svg",
            0,
            "\"separate\":",
        ),
    ]);
    let chart = fs::read_to_string(folder().join("throughput.svg")).unwrap();
    for words in ["digits", "2 threads", "a plan a thread", "images a second"] {
        assert!(chart.contains(words), "throughput.svg: expected {words:?}");
    }
}

/// The library refuses a value beyond each limit and says which; help and README say the same.
#[test]
fn limits_are_the_same_everywhere() {
    let digits = Config::of(Architecture::Digits);
    let refused = [
        Config { width: 0.0, ..digits },
        Config { resolution: 8193, ..digits },
        Config { classes: Some(0), ..digits },
        Config { epsilon: Some(1.0), ..digits },
    ];
    let mut limits: Vec<String> = refused
        .map(|config| Network::new(Architecture::Digits, &config).unwrap_err())
        .into_iter()
        .chain(["tanh".parse::<Activation>().unwrap_err()])
        .map(|error| error.to_string().split_once("expected ").unwrap().1.replace("one of ", ""))
        .collect();
    limits.extend(["at most 4096".into(), "1 to 1024".into()]);
    let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let readme = flat(include_str!("../README.md"));
    let help = (!emulated()).then(|| flat(&String::from_utf8(run("logits --help", Stdio::piped()).stdout).unwrap()));
    for limit in &limits {
        assert!(readme.contains(limit), "README: expected {limit:?}");
        assert!(help.as_ref().is_none_or(|help| help.contains(limit)), "help: expected {limit:?} in {help:?}");
    }
}

/// Runs that ask for tens of megabytes, with more and more of them: they say what was missing until they end well. Where
/// so little is left that a name or a list of a few items finds no room, the program ends as any Rust program does.
#[cfg(target_os = "linux")]
#[test]
fn memory_that_is_refused_is_an_error() {
    if emulated() {
        return;
    }
    // Kilobytes of the address space: from what a program takes that does nothing, in steps smaller than what it asks for
    // at once.
    let least = (12_000..).step_by(2_000).find(|&limit| limited("logits --help", limit).status.success()).unwrap();
    for line in [
        "logits --net mobilenet_v1 --width 0.01 --resolution 32 --classes 300000",
        "logits --weights backbone.safetensors --resolution 512",
        "classify SMALL --weights hash --preprocess slim --classes 20000 --top 20000 photo.png",
        "classify --net mobilenet_v1 --width 0.01 --resolution 600 --weights hash --preprocess keras photo.png",
        "classify --net mobilenet_v1 --width 0.01 --resolution 600 --weights hash --preprocess timm photo.png photo.png",
        "classify --net mobilenet_v1 --width 0.01 --resolution 600 --weights hash --preprocess slim photo.png photo.png",
        "depthwise_latency --size 400 --channels 8 --stride 1",
    ] {
        let mut refused = 0;
        for limit in (least..least + 200_000).step_by(2_000) {
            let output = limited(line, limit);
            let said = String::from_utf8_lossy(&output.stderr);
            match output.status.code() {
                Some(0) => break,
                Some(2) if said.contains("bytes of memory are not to be had") => refused += 1,
                None if bytes_of_an_abort(&said).is_some_and(|bytes| bytes <= 4096) => {}
                _ => panic!("{line}, with {limit} KB: {:?}, {said}", output.status),
            }
        }
        assert!((3..100).contains(&refused), "{line}: refused {refused} times");
    }
}

/// The size of the allocation that ended a program, from what it said.
#[cfg(target_os = "linux")]
fn bytes_of_an_abort(said: &str) -> Option<usize> {
    said.split_once("memory allocation of ")?.1.split_once(' ')?.0.parse().ok()
}

/// Runs `line` in an address space of so many kilobytes.
#[cfg(target_os = "linux")]
fn limited(line: &str, kilobytes: usize) -> Output {
    let example = command(line);
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -v $0 && exec \"$@\"", &kilobytes.to_string()]).arg(example.get_program());
    shell.args(example.get_args()).current_dir(folder()).env_remove("SEPCONV_ISA");
    shell.stdin(Stdio::null()).stdout(Stdio::null()).output().unwrap()
}

#[test]
fn nobody_reading_is_no_failure() {
    if emulated() {
        return;
    }
    for line in EXAMPLES.into_iter().chain(["classify --help"]) {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = run(line, writer.into());
        assert_eq!(output.status.code(), Some(141), "{line}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{line}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    if emulated() {
        return;
    }
    for line in EXAMPLES.into_iter().chain(["classify --help"]) {
        let output = run(line, File::create("/dev/full").unwrap().into());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{line}: {said}");
        assert!(said.starts_with("error: standard output: ") && said.lines().count() == 1, "{line}: {said}");
    }
    // Nor is a complaint that cannot be printed a panic.
    let status = command("logits --threads 0").stderr(File::create("/dev/full").unwrap()).status().unwrap();
    assert_eq!(status.code(), Some(2));
}
