//! What the examples share: the flags that name a network and its weights, and what is built from them.
#![allow(dead_code)] // Each example uses a part.

pub mod preprocess;

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use memmap2::Mmap;
use preprocess::Recipe;
use sepconv::net::{Activation, Config, Flavor, Name, Network, Scheme};
use sepconv::parallel::{Parallel, Rayon, Serial};
use sepconv::weights::{HashWeights, SafetensorsWeights, Weights};
use sepconv::{Fusion, Isa, Options, Plan};

/// What an example may fail with: a sentence for a person.
pub type Failure = Box<dyn std::error::Error>;

/// The trained digits network and the digits that it was never shown (data/digits/README.md).
pub const DIGITS_WEIGHTS: &[u8] = include_bytes!("../../data/digits/digits.safetensors");
pub const HELD_OUT_DIGITS: &[u8] = include_bytes!("../../data/digits/held_out.safetensors");

/// Which network, with which weights, on what.
#[derive(Args, Debug, Clone)]
pub struct Flags {
    /// Network: digits, mobilenet_v1, mobilenet_v2, xception [default: what the weight file says, else digits]
    #[arg(long)]
    pub net: Option<Name>,
    /// Multiplier of the channels [default: the weight file's, else 1.0; digits: 0.5]
    #[arg(long)]
    pub width: Option<f64>,
    /// Rows and columns of the input in pixels [default: the weight file's, else the paper's]
    #[arg(long)]
    pub resolution: Option<usize>,
    /// Conventions of padding, epsilon and classes: torch, timm, tf, keras, slim [default: the weight
    /// file's, else torch; digits: its own]
    #[arg(long)]
    pub flavor: Option<Flavor>,
    /// Weights: hash (made from the tensors' names), embedded (digits only) or a safetensors file
    #[arg(long)]
    pub weights: Option<String>,
    /// Activation: relu, relu6 [default: the weight file's, else the network's]
    #[arg(long)]
    pub activation: Option<Activation>,
    /// Epsilon of the batch normalisation [default: the weight file's, else the flavor's]
    #[arg(long)]
    pub bn_eps: Option<f64>,
    /// Classes [default: the weight file's, else the flavor's]
    #[arg(long)]
    pub classes: Option<usize>,
    /// ISA: portable, neon, avx2, avx512 [default: SEPCONV_ISA, else the best]
    #[arg(long)]
    pub isa: Option<Isa>,
    /// Layers computed together: auto (where it pays), off, or rows of a strip for all that can be
    #[arg(long, default_value = "auto", value_parser = fusion)]
    pub fusion: Fusion,
    /// Compute all that can be piece by piece, in less memory
    #[arg(long)]
    pub low_memory: bool,
    /// Threads
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Reads `--fusion`.
fn fusion(value: &str) -> Result<Fusion, String> {
    match value {
        "auto" => Ok(Fusion::Auto),
        "off" => Ok(Fusion::Off),
        rows => rows.parse().map(Fusion::Strips).map_err(|_| "expected auto, off or a number of rows".into()),
    }
}

/// Weights that are made, built in, or mapped from a file.
enum Source {
    Hash,
    Embedded,
    File(PathBuf, Mmap),
}

/// What the flags and the weight file say together.
pub struct Setup {
    pub name: Name,
    pub network: Network,
    /// How the weights want their pictures prepared, where the file or its names tell.
    pub recipe: Option<Recipe>,
    source: Source,
    pub options: Options,
}

impl Flags {
    fn source(&self, otherwise: impl FnOnce(Name) -> &'static str) -> Result<Source, Failure> {
        let name = self.net.unwrap_or(Name::Digits);
        match self.weights.as_deref().unwrap_or_else(|| otherwise(name)) {
            "hash" => Ok(Source::Hash),
            "embedded" if name == Name::Digits => Ok(Source::Embedded),
            "embedded" => {
                Err(format!("--weights embedded: only digits has any; give a safetensors file or hash for {name}")
                    .into())
            }
            path => {
                let path = PathBuf::from(path);
                let file = File::open(&path).map_err(|why| {
                    format!("--weights {}: {why}; expected hash, embedded or a safetensors file", path.display())
                })?;
                // SAFETY: the file is only read; a program that cuts it short meanwhile ends this one with a signal, as
                // with any mapped file.
                let map = unsafe { Mmap::map(&file) }.map_err(|why| format!("--weights {}: {why}", path.display()))?;
                Ok(Source::File(path, map))
            }
        }
    }

    /// The network and its weights; `otherwise` names the weights where no flag does.
    pub fn setup(&self, otherwise: impl FnOnce(Name) -> &'static str) -> Result<Setup, Failure> {
        if !(1..=1024).contains(&self.threads) {
            return Err(format!("--threads {}: expected 1 to 1024", self.threads).into());
        }
        let source = self.source(otherwise)?;
        let (name, mut config, recipe) = match &source {
            Source::File(path, map) => {
                let read = || -> Result<_, Failure> {
                    let file = SafetensorsWeights::new(map)?;
                    let name = self.net.map_or_else(|| file.network(), Ok)?;
                    let recipe = match file.metadata("sepconv.preprocess") {
                        Some(recipe) => Some(recipe.parse()?),
                        None => recipe_of(name, file.scheme(name)?),
                    };
                    Ok((name, file.config(name)?, recipe))
                };
                read().map_err(|why| format!("--weights {}: {why}", path.display()))?
            }
            _ => {
                let name = self.net.unwrap_or(Name::Digits);
                (name, Config::of(name), (name == Name::Digits).then_some(Recipe::Digits))
            }
        };
        config.width = self.width.unwrap_or(config.width);
        config.resolution = self.resolution.unwrap_or(config.resolution);
        config.flavor = self.flavor.unwrap_or(config.flavor);
        config.activation = self.activation.or(config.activation);
        config.epsilon = self.bn_eps.or(config.epsilon);
        config.classes = self.classes.or(config.classes);
        let (isa, threads, low_memory) = (self.isa, self.threads, self.low_memory);
        let options = Options { isa, threads, low_memory, fusion: self.fusion, ..Options::default() };
        Ok(Setup { name, network: Network::new(name, &config)?, recipe, source, options })
    }
}

/// The recipe that comes with the names of a source.
fn recipe_of(name: Name, scheme: Scheme) -> Option<Recipe> {
    match (name, scheme) {
        (Name::Digits, _) => Some(Recipe::Digits),
        (Name::MobilenetV2, Scheme::Torch) => Some(Recipe::Torchvision),
        (Name::MobilenetV2, Scheme::Timm) => Some(Recipe::Timm),
        (Name::MobilenetV1, Scheme::Torch) => Some(Recipe::TimmHalf),
        (Name::Xception, Scheme::Torch) => Some(Recipe::TimmXception),
        (_, Scheme::Keras) => Some(Recipe::Keras),
        (_, Scheme::Slim) => Some(Recipe::Slim),
        _ => None,
    }
}

impl Setup {
    /// The plan for `batch` images.
    pub fn plan(&self, batch: usize) -> Result<Plan, Failure> {
        self.plan_with(Options { batch, ..self.options })
    }

    /// The plan for one image that computes every layer whole.
    pub fn plan_apart(&self) -> Result<Plan, Failure> {
        self.plan_with(Options { fusion: Fusion::Off, low_memory: false, ..self.options })
    }

    /// The plan with other options than the flags'.
    pub fn plan_with(&self, options: Options) -> Result<Plan, Failure> {
        let build = |weights: &dyn Weights| Plan::new(self.network.clone(), weights, options);
        match &self.source {
            Source::Hash => Ok(build(&HashWeights)?),
            Source::Embedded => Ok(build(&SafetensorsWeights::new(DIGITS_WEIGHTS)?)?),
            Source::File(path, map) => SafetensorsWeights::new(map)
                .and_then(|weights| build(&weights))
                .map_err(|why| format!("--weights {}: {why}", path.display()).into()),
        }
    }

    /// The image that goes with the hash weights.
    pub fn hash_image(&self) -> Result<Vec<f32>, Failure> {
        let shape = self.network.input();
        Ok(HashWeights::image(shape.height, shape.width, shape.channels)?)
    }
}

impl Flags {
    /// The flags for the network that they name or whose weights they have, else for each of three.
    pub fn for_each_network(&self) -> Vec<Flags> {
        let networks = match (self.net, &self.weights) {
            (None, None) => [Name::MobilenetV1, Name::MobilenetV2, Name::Xception].map(Some).to_vec(),
            (net, _) => vec![net],
        };
        networks.into_iter().map(|net| Flags { net, ..self.clone() }).collect()
    }

    /// Calls `work` with the threads that the flags ask for.
    pub fn with_threads<T>(&self, work: impl FnOnce(&dyn Parallel) -> Result<T, Failure>) -> Result<T, Failure> {
        if self.threads == 1 {
            return work(&Serial);
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.threads).build()?;
        work(&Rayon::new(&pool))
    }
}

/// Reads `n` images of `height` x `width` x `channels` from tensor `input` (n x c x h x w) of a safetensors file, as
/// NHWC.
pub fn read_input(path: &Path, (height, width, channels): (usize, usize, usize)) -> Result<(usize, Vec<f32>), Failure> {
    let fail = |why: &dyn Display| format!("--input {}: {why}", path.display());
    let bytes = fs::read(path).map_err(|why| fail(&why))?;
    let file = SafetensorsWeights::new(&bytes).map_err(|why| fail(&why))?;
    let shape = file.shape("input").ok_or_else(|| fail(&"expected a tensor named input, n x c x h x w"))?;
    let expected = format!("tensor input has shape {shape:?}, expected [n, {channels}, {height}, {width}] with n >= 1");
    let &[n, c, h, w] = shape else { return Err(fail(&expected).into()) };
    if (c, h, w) != (channels, height, width) || n == 0 {
        return Err(fail(&expected).into());
    }
    let planes = file.tensor("input", shape).map_err(|why| fail(&why))?;
    let pixels = height * width;
    let nhwc = (0..planes.len()).map(|i| {
        let (image, pixel, channel) = (i / (pixels * channels), i / channels % pixels, i % channels);
        planes[(image * channels + channel) * pixels + pixel]
    });
    Ok((n, nhwc.collect()))
}

/// Prints `ready`, then for each line `N` of standard input calls `run` N times and prints the N wall-clock times in
/// milliseconds, with so many `digits`, on one line. `what` names the runs in an error.
pub fn time_on_demand(what: &str, digits: usize, mut run: impl FnMut() -> Result<(), Failure>) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    writeln!(out, "ready")?;
    out.flush()?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let count: usize = line.trim().parse().map_err(|_| format!("line {line:?}: expected a number of {what}"))?;
        for i in 0..count {
            let start = Instant::now();
            run()?;
            let space = if i == 0 { "" } else { " " };
            write!(out, "{space}{:.digits$}", start.elapsed().as_secs_f64() * 1e3)?;
        }
        writeln!(out)?;
        out.flush()?;
    }
    Ok(())
}

/// Prints what went wrong and exits with 2.
pub fn exit(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(2)
        }
    }
}
