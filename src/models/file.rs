//! Weight files that say what network they are for.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Deref;
use core::str::FromStr;

use super::config::{Architecture, Config, Flavor};
use super::names::TensorNames;
use super::network::{Named, Network, named, network_of};
use super::renamed::classifier;
use crate::error::{Error, Result};
use crate::weights::SafetensorsWeights;

/// A safetensors file, with what its metadata and the names and shapes of its tensors tell of the network.
///
/// ```
/// use sepconv::models::{Architecture, Flavor, TensorNames, WeightFile};
///
/// // A file with one kernel of MobileNet V1, as Keras calls it, and no classifier.
/// let kernel = r#""conv_pw_1/kernel":{"dtype":"F32","shape":[1,1,8,16],"data_offsets":[0,512]}"#;
/// let said = r#""sepconv.width":"0.25","sepconv.background":"false""#;
/// let header = format!(r#"{{"__metadata__":{{{said}}},{kernel}}}"#);
/// let file = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 512]].concat();
///
/// let file = WeightFile::new(&file)?;
/// let architecture = file.architecture()?;
/// assert_eq!((architecture, file.names_of(architecture)?), (Architecture::MobilenetV1, TensorNames::Keras));
/// assert!(TensorNames::ALL.contains(&TensorNames::Keras));
/// let config = file.config(architecture)?;
/// assert_eq!((config.width, config.flavor, config.resolution), (0.25, Flavor::Keras, 224));
/// assert_eq!((file.background()?, file.is_backbone(architecture)?), (Some(false), true));
/// // It is a source of tensors too.
/// assert_eq!(file.shape("conv_pw_1/kernel"), Some(&[1, 1, 8, 16][..]));
/// # Ok::<(), sepconv::Error>(())
/// ```
#[derive(Debug)]
pub struct WeightFile<'a>(SafetensorsWeights<'a>);

/// Reads the header of a safetensors file and builds the network that it is for: architecture, width, classes and, where
/// there is no classifier, the backbone, by its metadata or by its tensors.
///
/// An error where the bytes are no safetensors file, the tensors those of no network, or the metadata make none.
///
/// ```
/// use sepconv::Error;
/// use sepconv::models::load;
/// use sepconv::parallel::Serial;
///
/// // A file is bytes, read or mapped: this one says what it is for, and has none of the tensors.
/// let header = r#"{"__metadata__":{"sepconv.network":"squeezenet_1_1","sepconv.classes":"10"}}"#;
/// let file = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
/// let (network, weights) = load(&file)?;
/// assert_eq!((network.name(), network.classes()), ("squeezenet_1_1_224_torch", 10));
/// let error = network.plan(&*weights, &Serial, Default::default()).unwrap_err();
/// assert!(matches!(error, Error::Weights { problems, .. } if problems[0].contains("missing")));
/// # Ok::<(), Error>(())
/// ```
pub fn load(file: &[u8]) -> Result<(Network, WeightFile<'_>)> {
    let file = WeightFile::new(file)?;
    let architecture = file.architecture()?;
    let network = Network::new(architecture, &file.config(architecture)?)?;
    let network = if file.is_backbone(architecture)? { network.backbone()? } else { network };
    Ok((network, file))
}

impl<'a> Deref for WeightFile<'a> {
    type Target = SafetensorsWeights<'a>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// Widths with published weights, in the order in which they are tried.
const WIDTHS: [f64; 10] = [1.0, 0.25, 0.35, 0.5, 0.75, 1.3, 1.4, 1.25, 1.5, 2.0];
/// Groups of ShuffleNet V1, likewise.
const GROUPS: [usize; 5] = [3, 8, 1, 2, 4];

impl<'a> WeightFile<'a> {
    /// Reads the header of `file`; the data stay where they are. An error where it is no safetensors file.
    pub fn new(file: &'a [u8]) -> Result<Self> {
        Ok(WeightFile(SafetensorsWeights::new(file)?))
    }

    /// Which network the file is for: what its metadata say (`sepconv.network`), or the one that most of its tensors
    /// have the names of. An error where it is none of them.
    pub fn architecture(&self) -> Result<Architecture> {
        let said = self.said("sepconv.network")?;
        said.or_else(|| Some(network_of(&self.tensor_names())?.0)).ok_or_else(|| Error::Parameter {
            what: "network",
            got: "not named in the file".into(),
            expected: format!(
                "tensors of {}; name the network",
                Architecture::ALL.map(Architecture::as_str).join(", ")
            ),
        })
    }

    /// The configuration that the file asks for: what its metadata say (`sepconv.width`, `.groups`, `.resolution`,
    /// `.flavor`, `.activation`, `.bn_eps`, `.classes`), else the flavor by its tensors' names, width, groups and classes by
    /// their shapes, and the paper's resolution. An error where the metadata make no network.
    pub fn config(&self, architecture: Architecture) -> Result<Config> {
        let source = self.names_of(architecture)?;
        let flavor = self.said("sepconv.flavor")?.map_or_else(|| self.flavor(architecture, source), Ok)?;
        let mut config = Config::in_flavor(architecture, flavor);
        let width = self.said_as("sepconv.width", "a number")?;
        config.width = width.unwrap_or(config.width);
        config.groups = self.said_as("sepconv.groups", "a number of groups")?;
        config.resolution = self.said_as("sepconv.resolution", "a number of pixels")?.unwrap_or(config.resolution);
        config.epsilon = self.said_as("sepconv.bn_eps", "a number")?;
        config.activation = self.said("sepconv.activation")?;
        config.classes = self.said_as("sepconv.classes", "a number of classes")?;
        let network = Network::new(architecture, &config).map_err(|error| self.of_key(error))?;
        if config.classes.is_none() {
            config.classes = self.classes(&network, source);
        }
        let grouped = architecture == Architecture::ShufflenetV1;
        if width.is_none() || grouped && config.groups.is_none() {
            config = self.size(architecture, config, width, source).unwrap_or(config);
        }
        Ok(config)
    }

    /// The flavor of tensors with the names of `source`.
    fn flavor(&self, architecture: Architecture, source: TensorNames) -> Result<Flavor> {
        Ok(match (architecture, source) {
            // Trained weights are of the release whose names they have.
            (Architecture::ShufflenetV1, _) => Flavor::Megvii,
            (Architecture::ShufflenetV2, _) => self.named(architecture)?.flavor,
            (Architecture::Squeezenet1_0 | Architecture::Squeezenet1_1, TensorNames::Keras) => Flavor::Caffe,
            (Architecture::Squeezenet1_0 | Architecture::Squeezenet1_1, _) => Flavor::Torch,
            (Architecture::MobilenetV2 | Architecture::Digits | Architecture::Effnet, TensorNames::Torch) => {
                Flavor::Torch
            }
            (_, TensorNames::Torch | TensorNames::Timm) => Flavor::Timm,
            (_, TensorNames::Keras) => Flavor::Keras,
            (_, TensorNames::Slim) => Flavor::Slim,
        })
    }

    /// The classes of the file's classifier: as many as it has biases, or outputs where it needs no bias.
    fn classes(&self, network: &Network, source: TensorNames) -> Option<usize> {
        let [weights, bias] = network.catalog().classifier(source)?;
        let node = classifier(network.graph())?;
        let names = if node.parameters()?.has_bias() { bias } else { weights };
        // Kernels without a bias are PyTorch's, with the outputs first.
        self.shape(self.own(&names)?)?.first().copied()
    }

    /// `config` with the width, and the groups, whose kernels have the shapes of the file's.
    fn size(
        &self,
        architecture: Architecture,
        config: Config,
        width: Option<f64>,
        source: TensorNames,
    ) -> Option<Config> {
        let fits = |config: &Config| {
            let Ok(network) = Network::new(architecture, config).and_then(Network::backbone) else { return false };
            let kernels = network.catalog().kernel_shapes(source);
            kernels.iter().all(|(name, shape)| self.shape(name) == Some(&shape[..]))
        };
        // The names of the kernels are the same at every width: a file that lacks one fits none.
        let any = Network::new(architecture, &config).and_then(Network::backbone).ok()?;
        if any.catalog().kernel_shapes(source).iter().any(|(name, _)| self.shape(name).is_none()) {
            return None;
        }
        let widths: Vec<f64> = match width {
            Some(width) => vec![width],
            None => [config.width].into_iter().chain(WIDTHS).collect(),
        };
        let published = |groups| widths.iter().map(move |&width| Config { width, groups, ..config });
        if architecture == Architecture::ShufflenetV1 {
            let groups = config.groups.map_or_else(|| GROUPS.to_vec(), |groups| vec![groups]);
            return groups.into_iter().flat_map(|groups| published(Some(groups))).find(fits);
        }
        let hundredths = (1..=400).map(|hundredths| Config { width: f64::from(hundredths) / 100.0, ..config });
        published(config.groups).chain(hundredths).find(fits)
    }

    /// Whether class 0 is the background, where the metadata say so (`sepconv.background`: true, 1, false or 0; else an
    /// error).
    pub fn background(&self) -> Result<Option<bool>> {
        let key = "sepconv.background";
        let read = |text: &str| match text {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(refuse(key, text, "true, 1, false or 0".into())),
        };
        self.metadata(key).map(read).transpose()
    }

    /// Whether the file has tensors of network `architecture`, but not its classifier: such weights are those of
    /// [`Network::backbone`].
    pub fn is_backbone(&self, architecture: Architecture) -> Result<bool> {
        let Named { network, source, known, .. } = self.named(architecture)?;
        let classifier = network.catalog().classifier(source).into_iter().flatten();
        let has_one = classifier.into_iter().any(|names| self.own(&names).is_some());
        Ok(!has_one && known > 0)
    }

    /// Whose names the tensors have.
    pub fn names_of(&self, architecture: Architecture) -> Result<TensorNames> {
        Ok(self.named(architecture)?.source)
    }

    /// `architecture` in the flavor whose names the tensors have.
    fn named(&self, architecture: Architecture) -> Result<Named> {
        named(architecture, &self.tensor_names())
    }

    /// The one of `names` that the file has.
    fn own<'n>(&self, names: &'n [String]) -> Option<&'n str> {
        names.iter().map(String::as_str).find(|name| self.shape(name).is_some())
    }

    /// What the metadata say under `key`, one of the names that `T` has.
    fn said<T: FromStr<Err = Error>>(&self, key: &'static str) -> Result<Option<T>> {
        let read = |text: &str| {
            text.parse().map_err(|error| match error {
                Error::Parameter { expected, .. } => refuse(key, text, expected),
                error => error,
            })
        };
        self.metadata(key).map(read).transpose()
    }

    /// What the metadata say under `key`, where they should say what is `expected`.
    fn said_as<T: FromStr>(&self, key: &'static str, expected: &str) -> Result<Option<T>> {
        let read = |text: &str| text.parse().map_err(|_| refuse(key, text, expected.into()));
        self.metadata(key).map(read).transpose()
    }

    /// `error` of a network, under the key whose value it refuses.
    fn of_key(&self, error: Error) -> Error {
        let key = match &error {
            Error::Parameter { what: "width", .. } => "sepconv.width",
            Error::Parameter { what: "groups", .. } => "sepconv.groups",
            Error::Parameter { what: "resolution", .. } => "sepconv.resolution",
            Error::Parameter { what: "flavor", .. } => "sepconv.flavor",
            Error::Parameter { what: "activation", .. } => "sepconv.activation",
            Error::Parameter { what: "classes", .. } => "sepconv.classes",
            Error::Parameter { what: "epsilon", .. } => "sepconv.bn_eps",
            _ => return error,
        };
        match (error, self.metadata(key)) {
            (Error::Parameter { expected, .. }, Some(text)) => refuse(key, text, expected),
            (error, _) => error,
        }
    }
}

/// What is wrong with the metadata's `text` under `key`.
fn refuse(key: &'static str, text: &str, expected: String) -> Error {
    Error::Parameter { what: key, got: format!("{text:?}"), expected }
}
