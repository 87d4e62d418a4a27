//! What the examples share: the flags that name a network and its weights, and what is built from them.
#![allow(dead_code, unused_imports)] // Each example uses a part.

pub mod preprocess;
mod program;

use std::fmt::Display;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use clap::Args;
use memmap2::Mmap;
use preprocess::Recipe;
pub use program::{complain, finite, main, print_json, room, time_on_demand, zeros};
use sepconv::models::{Activation, Architecture, Config, Flavor, Network, TensorNames, WeightFile};
use sepconv::parallel::{Parallel, Rayon, Serial};
use sepconv::weights::{Folded, HashWeights, SafetensorsWeights, Weights};
use sepconv::{Error, Fusion, Isa, LoadOptions, Observer, Options, Plan, Shape};

/// What an example may fail with: a sentence for a person.
pub type Failure = Box<dyn std::error::Error>;

/// The trained digits network and the digits that it was never shown (data/digits/README.md).
pub const DIGITS_WEIGHTS: &[u8] = include_bytes!("../../data/digits/digits.safetensors");
pub const HELD_OUT_DIGITS: &[u8] = include_bytes!("../../data/digits/held_out.safetensors");

/// Which network, with which weights, on what.
#[derive(Args, Debug, Clone)]
pub struct Flags {
    /// Network: digits, mobilenet_v1, mobilenet_v2, xception, shufflenet_v1, shufflenet_v2, squeezenet_1_0,
    /// squeezenet_1_1, effnet [default: what the weight file says, else digits]
    #[arg(long)]
    pub net: Option<Architecture>,
    /// Multiplier of the channels, more than 0, at most 16; shufflenet_v2: 0.5, 1, 1.5 or 2 [default: the weight
    /// file's, else 1.0; digits: 0.5]
    #[arg(long)]
    pub width: Option<f64>,
    /// Groups of the pointwise convolutions of shufflenet_v1: 1, 2, 3, 4 or 8 [default: the weight file's, else 3]
    #[arg(long)]
    pub groups: Option<usize>,
    /// Rows and columns of the input, 1 to 8192 pixels, for photographs at most 4096 [default: the weight file's,
    /// else the paper's; flavor caffe: 227]
    #[arg(long)]
    pub resolution: Option<usize>,
    /// Conventions of structure, padding, epsilon and classes: torch, timm, tf, keras, slim; shufflenet_v1: paper,
    /// megvii; shufflenet_v2: torch, megvii; squeezenet_1_0 and squeezenet_1_1: torch, caffe; effnet: torch,
    /// keras [default: the weight file's, else the network's first; digits: its own]
    #[arg(long)]
    pub flavor: Option<Flavor>,
    /// Take --flavor even where the weight file says another
    #[arg(long, requires = "flavor")]
    pub force_flavor: bool,
    /// Weights: hash (made from the tensors' names), embedded (digits only) or a safetensors file
    #[arg(long)]
    pub weights: Option<String>,
    /// Activation: linear, relu, relu6; of the SqueezeNets the last one, behind conv10 [default: the weight file's,
    /// else the network's]
    #[arg(long)]
    pub activation: Option<Activation>,
    /// Epsilon of the batch normalisation, 0 or more, below 1 [default: the weight file's, else the flavor's]
    #[arg(long)]
    pub bn_eps: Option<f64>,
    /// Classes, 1 to 1048576 [default: the weight file's, else the flavor's]
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
    /// Threads, 1 to 1024
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
    pub network: Network,
    /// How the weights want their pictures prepared, where the file or its names tell.
    pub recipe: Option<Recipe>,
    /// Whether class 0 is the background.
    pub background: bool,
    /// Whether the weights are without a classifier, and so the network.
    pub is_backbone: bool,
    source: Source,
    pub options: Options,
}

/// What the weights say themselves.
struct Said {
    architecture: Architecture,
    config: Config,
    recipe: Option<Recipe>,
    background: Option<bool>,
    is_backbone: bool,
}

impl Flags {
    fn source(&self, otherwise: &str) -> Result<Source, Failure> {
        let net = self.net.unwrap_or(Architecture::Digits);
        match self.weights.as_deref().unwrap_or(otherwise) {
            "hash" => Ok(Source::Hash),
            "embedded" if net == Architecture::Digits => Ok(Source::Embedded),
            "embedded" => Err(format!(
                "only digits has embedded weights: give --weights FILE.safetensors for {net} (tools/fetch_models.py \
                 fetches trained ones), or --weights hash for numbers made from the tensors' names"
            )
            .into()),
            path => {
                let path = PathBuf::from(path);
                let map = map(&path, "hash, embedded or a safetensors file")
                    .map_err(|why| format!("--weights {}: {why}", path.display()))?;
                Ok(Source::File(path, map))
            }
        }
    }

    /// The plan that `path` holds, mapped.
    pub fn load(&self, path: &Path) -> Result<Plan, Failure> {
        let fail = |why: &dyn Display| format!("--plan {}: {why}", path.display());
        let map = map(path, "a saved plan").map_err(|why| fail(&why))?;
        let options = LoadOptions { isa: self.isa, ..LoadOptions::default() };
        Ok(Plan::load(map, options).map_err(|why| fail(&why))?)
    }

    /// What the weight file `bytes` says, where it does not contradict the flags.
    fn read(&self, bytes: &[u8]) -> Result<Said, Failure> {
        let file = WeightFile::new(bytes)?;
        let architecture = match (self.net, file.architecture()) {
            (Some(net), Ok(said)) if said != net => {
                return Err(
                    format!("this file looks like {said}, not {net}: give --net {said}, or other weights").into()
                );
            }
            // Only names that tell nothing leave the choice to the flag.
            (Some(net), Err(_)) if file.metadata("sepconv.network").is_none() => net,
            (_, said) => said?,
        };
        let mut config = file.config(architecture)?;
        let told = file.metadata("sepconv.flavor").is_some() && !self.force_flavor;
        if let Some(flavor) = self.flavor.filter(|&flavor| told && flavor != config.flavor) {
            let said = config.flavor;
            return Err(format!(
                "the file says flavor {said}, --flavor says {flavor}: leave --flavor out, or add --force-flavor"
            )
            .into());
        }
        if let Some(flavor) = self.flavor.filter(|_| file.metadata("sepconv.resolution").is_none()) {
            config.resolution = Config::in_flavor(architecture, flavor).resolution;
        }
        let is_backbone = file.is_backbone(architecture)?;
        if let Some(classes) = self.classes.filter(|_| is_backbone) {
            return Err(format!("--classes {classes}: this file is a backbone, without a classifier").into());
        }
        let recipe = match file.metadata("sepconv.preprocess") {
            Some(recipe) => Some(recipe.parse().map_err(|_| {
                let names = Recipe::ALL.map(Recipe::name).join(", ");
                format!("sepconv.preprocess {recipe:?}: expected one of {names}")
            })?),
            None => recipe_of(architecture, file.names_of(architecture)?, &config),
        };
        Ok(Said { architecture, config, recipe, background: file.background()?, is_backbone })
    }

    /// The network and its weights; `otherwise` names the weights where no flag does.
    pub fn setup(&self, otherwise: &str) -> Result<Setup, Failure> {
        self.check_threads()?;
        let source = self.source(otherwise)?;
        let Said { architecture, mut config, recipe, background, is_backbone } = match &source {
            Source::File(path, map) => self.read(map).map_err(|why| format!("--weights {}: {why}", path.display()))?,
            _ => {
                let architecture = self.net.unwrap_or(Architecture::Digits);
                let recipe = (architecture == Architecture::Digits).then_some(Recipe::Digits);
                let flavor = self.flavor.unwrap_or(architecture.flavors()[0]);
                let config = Config::in_flavor(architecture, flavor);
                Said { architecture, config, recipe, background: None, is_backbone: false }
            }
        };
        config.width = self.width.unwrap_or(config.width);
        config.resolution = self.resolution.unwrap_or(config.resolution);
        config.flavor = self.flavor.unwrap_or(config.flavor);
        config.activation = self.activation.or(config.activation);
        config.epsilon = self.bn_eps.or(config.epsilon);
        config.groups = self.groups.or(config.groups);
        config.classes = self.classes.or(config.classes);
        let network = Network::new(architecture, &config).map_err(|error| self.of_flag(error))?;
        let background = background.unwrap_or(config.flavor == Flavor::Slim && network.classes() == 1001);
        let network = if is_backbone { network.backbone()? } else { network };
        let &Flags { isa, fusion, low_memory, .. } = self;
        let options = Options { isa, fusion, low_memory, ..Options::default() };
        Ok(Setup { network, recipe, background, is_backbone, source, options })
    }

    /// `error` of a network, under the flag whose value it refuses.
    fn of_flag(&self, error: Error) -> Error {
        let flags = [
            ("width", "--width", self.width.is_some()),
            ("resolution", "--resolution", self.resolution.is_some()),
            ("flavor", "--flavor", self.flavor.is_some()),
            ("groups", "--groups", self.groups.is_some()),
            ("activation", "--activation", self.activation.is_some()),
            ("classes", "--classes", self.classes.is_some()),
            ("epsilon", "--bn-eps", self.bn_eps.is_some()),
        ];
        match error {
            Error::Parameter { what, got, expected } => {
                let flag = flags.into_iter().find(|&(parameter, _, given)| parameter == what && given);
                Error::Parameter { what: flag.map_or(what, |(_, flag, _)| flag), got, expected }
            }
            error => error,
        }
    }
}

/// The recipe that comes with the names of a source.
fn recipe_of(architecture: Architecture, names: TensorNames, config: &Config) -> Option<Recipe> {
    if config.flavor == Flavor::Megvii {
        return Some(Recipe::Megvii);
    }
    match (architecture, names) {
        (Architecture::Digits, _) => Some(Recipe::Digits),
        (Architecture::MobilenetV2, TensorNames::Torch) => Some(Recipe::Torchvision),
        (Architecture::MobilenetV2, TensorNames::Timm) => Some(Recipe::Timm),
        (Architecture::MobilenetV1, TensorNames::Torch) => Some(Recipe::TimmHalf),
        (Architecture::Xception, TensorNames::Torch) => Some(Recipe::TimmXception),
        // torchvision trained the two wider ones later.
        (Architecture::ShufflenetV2, _) if config.width > 1.0 => Some(Recipe::Torchvision2),
        (Architecture::ShufflenetV2, _) => Some(Recipe::Torchvision),
        (Architecture::Squeezenet1_0 | Architecture::Squeezenet1_1, TensorNames::Torch) => Some(Recipe::Torchvision),
        (Architecture::Squeezenet1_0 | Architecture::Squeezenet1_1, _) => Some(Recipe::Caffe),
        (_, TensorNames::Keras) => Some(Recipe::Keras),
        (_, TensorNames::Slim) => Some(Recipe::Slim),
        _ => None,
    }
}

impl Setup {
    /// The plan for `batch` images a run on `threads`.
    pub fn plan(&self, threads: &dyn Parallel, batch: usize) -> Result<Plan, Failure> {
        self.plan_with(threads, Options { batch, ..self.options })
    }

    /// The plan for one image that computes every layer whole.
    pub fn plan_apart(&self, threads: &dyn Parallel) -> Result<Plan, Failure> {
        self.plan_with(threads, Options { fusion: Fusion::Off, low_memory: false, ..self.options })
    }

    /// The plan with other options than the flags'.
    pub fn plan_with(&self, threads: &dyn Parallel, options: Options) -> Result<Plan, Failure> {
        self.weights(|weights| self.network.plan(weights, threads, options))
    }

    /// The weights, folded.
    pub fn fold(&self) -> Result<Vec<Option<Folded>>, Failure> {
        self.weights(|weights| self.network.fold(weights))
    }

    /// What `make` makes of the weights.
    fn weights<T>(&self, make: impl Fn(&dyn Weights) -> sepconv::Result<T>) -> Result<T, Failure> {
        match &self.source {
            Source::Hash => Ok(make(&HashWeights)?),
            Source::Embedded => Ok(make(&SafetensorsWeights::new(DIGITS_WEIGHTS)?)?),
            Source::File(path, map) => {
                SafetensorsWeights::new(map).and_then(|weights| make(&weights)).map_err(|error| match error {
                    Error::Weights { .. } | Error::OtherNetwork { .. } | Error::File { .. } => {
                        let hint = match self.is_backbone {
                            true => format!("\n  {}", self.headless()),
                            false if self.has_another_head(map) => format!("\n  {}", self.another_head()),
                            false => String::new(),
                        };
                        format!("--weights {}: {error}{hint}", path.display()).into()
                    }
                    error => error.into(),
                })
            }
        }
    }

    /// The number of classes; an error where the weights have none.
    pub fn classes(&self) -> Result<usize, Failure> {
        match &self.source {
            Source::File(path, _) if self.is_backbone => {
                Err(format!("--weights {}: no classes: {}", path.display(), self.headless()).into())
            }
            _ => Ok(self.network.classes()),
        }
    }

    /// Whether the file has all that the network has in front of its classifier, and more.
    fn has_another_head(&self, file: &[u8]) -> bool {
        let body = self.network.clone().backbone();
        match body.and_then(|body| body.fold(&SafetensorsWeights::new(file)?)) {
            Err(Error::Weights { problems, .. }) => problems.iter().all(|problem| problem.contains(": unexpected, ")),
            _ => false,
        }
    }

    /// What to do with weights that lack the classifier.
    fn headless(&self) -> String {
        format!(
            "the file lacks the classifier of {} and is run as a backbone, whose features the example logits prints; {}",
            self.network.architecture(),
            self.another_head()
        )
    }

    /// What to do with weights of another classifier.
    fn another_head(&self) -> &'static str {
        "leave a head of its own, such as several dense layers, out by tools/convert_weights.py --backbone and apply it \
         to the mean of the features"
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
            (None, None) => {
                [Architecture::MobilenetV1, Architecture::MobilenetV2, Architecture::Xception].map(Some).to_vec()
            }
            (net, _) => vec![net],
        };
        networks.into_iter().map(|net| Flags { net, ..self.clone() }).collect()
    }

    /// The threads that the flags ask for.
    pub fn parallel(&self) -> Result<Box<dyn Parallel>, Failure> {
        self.check_threads()?;
        Ok(if self.threads == 1 { Box::new(Serial) } else { Box::new(pool(self.threads)?) })
    }

    fn check_threads(&self) -> Result<(), Failure> {
        match self.threads {
            1..=1024 => Ok(()),
            threads => Err(format!("--threads {threads}: expected 1 to 1024").into()),
        }
    }
}

/// The bytes of a file, mapped; else why not, where `expected` is.
pub fn map(path: &Path, expected: &str) -> Result<Mmap, String> {
    let file = File::open(path).map_err(|why| format!("{why}; expected {expected}"))?;
    let kind = file.metadata().map_err(|why| why.to_string())?.file_type();
    if !kind.is_file() {
        let kind = if kind.is_dir() { "a folder" } else { "no ordinary file" };
        return Err(format!("this is {kind}; expected {expected}"));
    }
    // SAFETY: the file is only read; a program that cuts it short meanwhile ends this one with a signal, as with any
    // mapped file.
    unsafe { Mmap::map(&file) }.map_err(|why| why.to_string())
}

/// The image of hash weights for the input of `plan`.
pub fn hash_image_for(plan: &Plan) -> Result<Vec<f32>, Failure> {
    let shape = plan.graph().inputs().next().map_or(Shape::default(), |(_, shape)| shape);
    Ok(HashWeights::image(shape.height, shape.width, shape.channels)?)
}

/// A network's name in JSON.
pub fn as_text<S: serde::Serializer>(name: &Architecture, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name.as_str())
}

/// A pool of so many threads.
pub fn pool(threads: usize) -> Result<Rayon, Failure> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|why| format!("--threads {threads}: {why}; give fewer, or free some memory"))?;
    Ok(Rayon::new(pool))
}

/// Gives each step of a plan that runs, its index and its work, to a closure.
pub struct Steps<F>(pub F);

impl<F: FnMut(usize, &mut dyn FnMut()) + Send> Observer for Steps<F> {
    fn step(&mut self, index: usize, work: &mut dyn FnMut()) {
        (self.0)(index, work);
    }
}

/// So many copies of an image, one after the other: a batch.
pub fn repeated(image: &[f32], times: usize) -> Result<Vec<f32>, Failure> {
    let mut images = room(image.len().saturating_mul(times))?;
    (0..times).for_each(|_| images.extend_from_slice(image));
    Ok(images)
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
    let mut nhwc = room(planes.len())?;
    nhwc.extend((0..planes.len()).map(|i| {
        let (image, pixel, channel) = (i / (pixels * channels), i / channels % pixels, i % channels);
        planes[(image * channels + channel) * pixels + pixel]
    }));
    Ok((n, nhwc))
}
