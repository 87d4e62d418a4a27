//! Tests a C function of a shared library against the oracle; writes vectors for other languages.
//!
//! Status 0: every case is right. Status 1: one is not. Status 2: the arguments are wrong, or no case was taken.

mod bench;
mod describe;
mod vectors;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgAction, Parser};
use libloading::Library;
use sepconv_check::{CFunction, CKernel, Cases, Isolated, Layout, Op, Outcome, Rule, Scope, Tile, check, shrink};
use serde_json::{Map, Value, json};

/// Tests a C function of a shared library (its signature: sepconv_check.h) against the oracle.
#[derive(Parser)]
#[command(version, max_term_width = 120)]
struct Arguments {
    /// The shared library.
    #[arg(long, value_name = "FILE", required_unless_present = "vectors")]
    library: Option<PathBuf>,
    /// The function.
    #[arg(long, value_name = "NAME", required_unless_present = "vectors")]
    symbol: Option<String>,
    /// What it computes: pointwise, depthwise or conv.
    #[arg(long)]
    op: Op,
    /// How its images lie: nhwc or nchw.
    #[arg(long, default_value_t = Layout::Nhwc)]
    layout: Layout,
    /// When an output is right: bits, chain, ulp:N or bound.
    #[arg(long, default_value_t = Rule::Bits)]
    rule: Rule,
    /// Where cases and numbers come from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Cases to run.
    #[arg(long, default_value_t = 1000)]
    cases: usize,
    /// Only cases whose description contains this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
    /// Windows that it takes, as 3x3,1x5 (default: 3x3,1x1,2x3,5x5).
    #[arg(long, value_delimiter = ',', value_parser = pair)]
    windows: Vec<(usize, usize)>,
    /// Strides that it takes (default: 1x1,2x2,1x2).
    #[arg(long, value_delimiter = ',', value_parser = pair)]
    strides: Vec<(usize, usize)>,
    /// Dilations that it takes (default: 1x1,2x2).
    #[arg(long, value_delimiter = ',', value_parser = pair)]
    dilations: Vec<(usize, usize)>,
    /// Numbers of groups that it takes (default: 1,2).
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    groups: Vec<u16>,
    /// The most padding on a side that it takes.
    #[arg(long, default_value_t = 2)]
    padding: usize,
    /// What cases are ragged around: rows x columns of pixels x channels.
    #[arg(long, value_name = "RxCxN", default_value = "2x6x16", value_parser = tile)]
    tile: Tile,
    /// It adds residuals.
    #[arg(long)]
    residual: bool,
    /// It takes images with gaps.
    #[arg(long)]
    gaps: bool,
    /// It clamps no outputs.
    #[arg(long = "no-clamp", action = ArgAction::SetFalse)]
    clamp: bool,
    /// No NaN, infinities, −0, subnormals.
    #[arg(long = "no-specials", action = ArgAction::SetFalse)]
    specials: bool,
    /// The longest that a case may run, in seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Also measures it on one large case, if all is right.
    #[arg(long)]
    bench: bool,
    /// The result as one line of JSON.
    #[arg(long)]
    json: bool,
    /// Writes cases with their numbers, outputs and hashes to this file as JSON, and runs nothing.
    #[arg(long, value_name = "FILE")]
    vectors: Option<PathBuf>,
}

/// Cases that may be refused before any runs: a function that takes next to nothing is asked no further.
const REFUSED: usize = 500;

/// A size from 1 to this.
const LARGEST: usize = 4096;

fn sizes<const N: usize>(text: &str) -> Result<[usize; N], String> {
    let sizes: Option<Vec<usize>> = text.split('x').map(|size| size.parse().ok()).collect();
    let sizes = sizes.and_then(|sizes| <[usize; N]>::try_from(sizes).ok());
    let good = sizes.filter(|sizes| sizes.iter().all(|size| (1..=LARGEST).contains(size)));
    good.ok_or_else(|| format!("expected {N} sizes of 1 to {LARGEST} with x between them"))
}

fn pair(text: &str) -> Result<(usize, usize), String> {
    sizes(text).map(|[rows, columns]| (rows, columns))
}

fn tile(text: &str) -> Result<Tile, String> {
    let lanes = Tile::default().lanes;
    sizes(text).map(|[height, width, channels]| Tile { height, width, channels, lanes: lanes.min(channels) })
}

impl Arguments {
    fn scope(&self) -> Scope {
        fn given<T: Clone>(list: &[T], default: Vec<T>) -> Vec<T> {
            if list.is_empty() { default } else { list.to_vec() }
        }
        let default = Scope::of(self.op);
        let groups: Vec<usize> = self.groups.iter().map(|&groups| groups.into()).collect();
        Scope {
            layout: self.layout,
            tile: self.tile,
            windows: given(&self.windows, default.windows),
            strides: given(&self.strides, default.strides),
            dilations: given(&self.dilations, default.dilations),
            groups: given(&groups, default.groups),
            padding: self.padding,
            gaps: self.gaps,
            residual: self.residual,
            clamp: self.clamp,
            specials: self.specials,
            ..Scope::of(self.op)
        }
    }

    /// The first cases whose description has the filter's text. A filter that hardly any passes ends the search.
    fn cases(&self) -> impl Iterator<Item = sepconv_check::Case> {
        let searched = self.cases.saturating_mul(50).saturating_add(10_000);
        Cases::new(&self.scope(), self.seed).take(searched).filter(|case| case.to_string().contains(&self.filter))
    }
}

fn load(library: &Path, symbol: &str) -> Result<CFunction, String> {
    let open = || -> Result<CFunction, libloading::Error> {
        // SAFETY: the user asks for the library to be loaded, and says by naming it that its initialisers may run.
        let library = unsafe { Library::new(library)? };
        // SAFETY: the user says that the symbol has the signature of sepconv_check.h.
        let function = unsafe { *library.get::<CFunction>(symbol.as_bytes())? };
        // The function is called until the process ends.
        std::mem::forget(library);
        Ok(function)
    };
    open().map_err(|error| format!("{symbol} of {}: {error}", library.display()))
}

fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    if let Some(path) = &arguments.vectors {
        let count = vectors::write(path, arguments.cases(), arguments.cases)?;
        println!("{count} vectors in {}", path.display());
        return Ok(ExitCode::SUCCESS);
    }
    let (Some(library), Some(symbol)) = (&arguments.library, &arguments.symbol) else {
        return Err("--library and --symbol name what is tested".into());
    };
    // SAFETY: `load` never closes the library.
    let kernel = unsafe { CKernel::new(load(library, symbol)?, arguments.scope()) };
    let isolated = Isolated::new(kernel.clone()).within_seconds(arguments.seconds);
    let (mut ran, mut refused, mut failures, mut first) = (0, 0, 0, None);
    for case in arguments.cases() {
        if ran == arguments.cases || refused > REFUSED + 20 * ran {
            break;
        }
        match check(&isolated, &case, arguments.rule) {
            Ok(Outcome::Refused) => refused += 1,
            Ok(Outcome::Passed) => ran += 1,
            Err(failure) => {
                ran += 1;
                failures += 1;
                first = first.or_else(|| Some(shrink(&isolated, failure)));
            }
        }
    }
    if ran == 0 {
        return Err(format!("no case was run ({refused} were refused): the filter or the function takes none"));
    }
    let bench = (arguments.bench && failures == 0).then(|| bench::measure(&kernel, &arguments.scope()));
    if arguments.json {
        let mut result = Map::new();
        result.insert("cases".into(), ran.into());
        result.insert("failures".into(), failures.into());
        result.insert("first".into(), first.as_ref().map_or(Value::Null, |failure| describe::failure(failure)));
        if let Some(bench) = bench {
            result.insert("bench".into(), bench.map_or(Value::Null, |bench| json!({ "case": bench.case.to_string(), "ns": bench.nanoseconds, "gflops": bench.gflops() })));
        }
        println!("{}", Value::Object(result));
    } else {
        println!("{symbol}: {ran} cases under the rule {}, {failures} failed, {refused} refused", arguments.rule);
        if let Some(failure) = &first {
            println!("{failure}");
        }
        match bench {
            Some(Some(bench)) => {
                println!(
                    "{}: {} ns, {:.2} GFLOP/s (best of {})",
                    bench.case,
                    bench.nanoseconds,
                    bench.gflops(),
                    bench.runs
                );
            }
            Some(None) => println!("the large case was refused: nothing measured"),
            None => {}
        }
    }
    Ok(if failures > 0 { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn main() -> ExitCode {
    run(&Arguments::parse()).unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::from(2)
    })
}
