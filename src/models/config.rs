//! Which networks there are, and what one is built from.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use crate::error::{Error, Result};
use crate::tensor::Clamp;

/// The networks by name.
///
/// ```
/// use sepconv::models::{Architecture, Flavor};
///
/// assert_eq!("mobilenet_v2".parse(), Ok(Architecture::MobilenetV2));
/// assert!(Architecture::ALL.iter().all(|network| network.to_string() == network.as_str()));
/// assert_eq!(Architecture::Xception.defaults(), (1.0, 299));
/// assert_eq!(Architecture::ShufflenetV2.flavors(), [Flavor::Torch, Flavor::Megvii]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Architecture {
    /// MobileNet V1 for 28x28 grey digits.
    Digits,
    /// MobileNet V1 (Howard et al. 2017, arXiv:1704.04861).
    MobilenetV1,
    /// MobileNet V2 (Sandler et al. 2018, arXiv:1801.04381).
    MobilenetV2,
    /// Xception (Chollet 2017, arXiv:1610.02357).
    Xception,
    /// ShuffleNet V1 (Zhang et al. 2017, arXiv:1707.01083).
    ShufflenetV1,
    /// ShuffleNet V2 (Ma et al. 2018, arXiv:1807.11164).
    ShufflenetV2,
    /// SqueezeNet 1.0 (Iandola et al. 2016, arXiv:1602.07360).
    Squeezenet1_0,
    /// SqueezeNet 1.1, of the same authors.
    Squeezenet1_1,
    /// EffNet for 32x32 images (Freeman et al. 2018, arXiv:1801.06434).
    Effnet,
}

impl Architecture {
    /// Every network.
    pub const ALL: [Architecture; 9] = [
        Architecture::Digits,
        Architecture::MobilenetV1,
        Architecture::MobilenetV2,
        Architecture::Xception,
        Architecture::ShufflenetV1,
        Architecture::ShufflenetV2,
        Architecture::Squeezenet1_0,
        Architecture::Squeezenet1_1,
        Architecture::Effnet,
    ];

    /// The name: `digits`, `mobilenet_v1`, `mobilenet_v2`, `xception`, `shufflenet_v1`, `shufflenet_v2`, `squeezenet_1_0`,
    /// `squeezenet_1_1`, `effnet`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Architecture::Digits => "digits",
            Architecture::MobilenetV1 => "mobilenet_v1",
            Architecture::MobilenetV2 => "mobilenet_v2",
            Architecture::Xception => "xception",
            Architecture::ShufflenetV1 => "shufflenet_v1",
            Architecture::ShufflenetV2 => "shufflenet_v2",
            Architecture::Squeezenet1_0 => "squeezenet_1_0",
            Architecture::Squeezenet1_1 => "squeezenet_1_1",
            Architecture::Effnet => "effnet",
        }
    }

    /// The width and the resolution that the paper starts from.
    pub const fn defaults(self) -> (f64, usize) {
        match self {
            Architecture::Digits => (0.5, 28),
            Architecture::Xception => (1.0, 299),
            Architecture::Effnet => (1.0, 32),
            _ => (1.0, 224),
        }
    }

    /// The flavors that there are of it; the first is the default.
    pub const fn flavors(self) -> &'static [Flavor] {
        match self {
            Architecture::ShufflenetV1 => &[Flavor::Paper, Flavor::Megvii],
            Architecture::ShufflenetV2 => &[Flavor::Torch, Flavor::Megvii],
            Architecture::Squeezenet1_0 | Architecture::Squeezenet1_1 => &[Flavor::Torch, Flavor::Caffe],
            Architecture::Effnet => &[Flavor::Torch, Flavor::Keras],
            _ => &[Flavor::Torch, Flavor::Timm, Flavor::Tf, Flavor::Keras, Flavor::Slim],
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Architecture {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name).ok_or_else(|| Error::Parameter {
            what: "network",
            got: name.into(),
            expected: format!("one of {}", Self::ALL.map(Architecture::as_str).join(", ")),
        })
    }
}

/// Whose conventions a network follows: padding, epsilon, classes. Weights of one do not work with another's.
///
/// ```
/// use sepconv::models::Flavor;
///
/// assert_eq!("keras".parse(), Ok(Flavor::Keras));
/// assert!(Flavor::ALL.iter().all(|flavor| flavor.to_string() == flavor.as_str()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Flavor {
    /// torchvision: symmetric padding, epsilon 1e-5, 1000 classes.
    Torch,
    /// timm: as torchvision.
    Timm,
    /// TensorFlow: SAME padding, epsilon 1e-3, 1000 classes.
    Tf,
    /// Keras applications: as TensorFlow, but MobileNet V1 pads (0, 1) before every stride of 2.
    Keras,
    /// TF-slim: as TensorFlow, with 1001 classes of which the first is the background.
    Slim,
    /// As the paper says (ShuffleNet V1).
    Paper,
    /// Megvii's release of the ShuffleNets.
    Megvii,
    /// Caffe's SqueezeNet.
    Caffe,
}

impl Flavor {
    /// Every flavor.
    pub const ALL: [Flavor; 8] = [
        Flavor::Torch,
        Flavor::Timm,
        Flavor::Tf,
        Flavor::Keras,
        Flavor::Slim,
        Flavor::Paper,
        Flavor::Megvii,
        Flavor::Caffe,
    ];

    /// The name: `torch`, `timm`, `tf`, `keras`, `slim`, `paper`, `megvii` or `caffe`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Flavor::Torch => "torch",
            Flavor::Timm => "timm",
            Flavor::Tf => "tf",
            Flavor::Keras => "keras",
            Flavor::Slim => "slim",
            Flavor::Paper => "paper",
            Flavor::Megvii => "megvii",
            Flavor::Caffe => "caffe",
        }
    }

    /// Epsilon of the batch normalisation.
    pub(crate) const fn epsilon(self) -> f64 {
        match self {
            Flavor::Tf | Flavor::Keras | Flavor::Slim => 1e-3,
            _ => 1e-5,
        }
    }

    /// Classes of ImageNet.
    pub(crate) const fn classes(self) -> usize {
        if matches!(self, Flavor::Slim) { 1001 } else { 1000 }
    }
}

impl fmt::Display for Flavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Flavor {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name).ok_or_else(|| Error::Parameter {
            what: "flavor",
            got: name.into(),
            expected: format!("one of {}", Self::ALL.map(Flavor::as_str).join(", ")),
        })
    }
}

/// What there is between a convolution and the next.
///
/// ```
/// use sepconv::Clamp;
/// use sepconv::models::Activation;
///
/// assert_eq!("relu6".parse(), Ok(Activation::Relu6));
/// assert_eq!(Activation::Relu6.clamp(), Clamp::RELU6);
/// assert_eq!(Activation::Linear.clamp(), Clamp::NONE);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Activation {
    /// Nothing.
    Linear,
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
}

impl Activation {
    /// Every activation.
    pub const ALL: [Activation; 3] = [Activation::Linear, Activation::Relu, Activation::Relu6];

    /// The name: `linear`, `relu` or `relu6`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Activation::Linear => "linear",
            Activation::Relu => "relu",
            Activation::Relu6 => "relu6",
        }
    }

    /// The clamp that it is.
    pub const fn clamp(self) -> Clamp {
        match self {
            Activation::Linear => Clamp::NONE,
            Activation::Relu => Clamp::RELU,
            Activation::Relu6 => Clamp::RELU6,
        }
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Activation {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name).ok_or_else(|| Error::Parameter {
            what: "activation",
            got: name.into(),
            expected: format!("one of {}", Self::ALL.map(Activation::as_str).join(", ")),
        })
    }
}

/// What a network is built from. `None` takes the default of the network and its flavor.
///
/// ```
/// use sepconv::models::{Activation, Architecture, Config, Flavor, Network};
///
/// let paper = Config::of(Architecture::MobilenetV1);
/// assert_eq!((paper.width, paper.resolution, paper.flavor), (1.0, 224, Flavor::Torch));
/// let config = Config {
///     width: 0.25,
///     resolution: 128,
///     classes: Some(2),
///     activation: Some(Activation::Relu),
///     epsilon: Some(1e-4),
///     ..Config::in_flavor(Architecture::MobilenetV1, Flavor::Keras)
/// };
/// let network = Network::new(Architecture::MobilenetV1, &config)?;
/// assert_eq!((network.name(), network.classes()), ("mobilenet_v1_0.25_128_keras", 2));
/// let error = Network::new(Architecture::MobilenetV1, &Config { groups: Some(3), ..config }).unwrap_err();
/// assert_eq!(error.to_string(), "groups 3: expected none for mobilenet_v1");
/// # Ok::<(), sepconv::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// Multiplier of the channels: more than 0, at most 16.
    pub width: f64,
    /// Rows and columns of the input: 1 to 8192 pixels, and as many as the network's windows need.
    pub resolution: usize,
    /// Conventions.
    pub flavor: Flavor,
    /// Outputs of the classifier: 1 to 1048576.
    pub classes: Option<usize>,
    /// Activation of the networks that leave the choice; of the SqueezeNets that of the last convolution alone.
    pub activation: Option<Activation>,
    /// Epsilon of the batch normalisation: 0 or more, below 1.
    pub epsilon: Option<f64>,
    /// Groups of ShuffleNet V1's pointwise convolutions: 1, 2, 3, 4 or 8.
    pub groups: Option<usize>,
}

impl Config {
    /// The configuration of the paper, in the architecture's first flavor.
    pub fn of(architecture: Architecture) -> Self {
        Config::in_flavor(architecture, architecture.flavors()[0])
    }

    /// The configuration of the paper in `flavor`, with its resolution: Caffe's SqueezeNet takes 227 pixels.
    pub fn in_flavor(architecture: Architecture, flavor: Flavor) -> Self {
        let (width, resolution) = architecture.defaults();
        let resolution = if flavor == Flavor::Caffe { 227 } else { resolution };
        Config { width, resolution, flavor, classes: None, activation: None, epsilon: None, groups: None }
    }
}

/// The widest multiplier and the largest input that are accepted: their products stay far below any overflow.
pub(super) const LARGEST: (f64, usize) = (16.0, 8192);

impl Config {
    /// The error for numbers that make no network, if they do not.
    pub(super) fn check(&self, architecture: Architecture) -> Result<()> {
        let refuse = |what, got: String, expected: String| Err(Error::Parameter { what, got, expected });
        if !architecture.flavors().contains(&self.flavor) {
            let known: Vec<&str> = architecture.flavors().iter().map(|flavor| flavor.as_str()).collect();
            return refuse(
                "flavor",
                self.flavor.to_string(),
                format!("one of {} for {architecture}", known.join(", ")),
            );
        }
        if let Some(groups) = self.groups.filter(|_| architecture != Architecture::ShufflenetV1) {
            return refuse("groups", groups.to_string(), format!("none for {architecture}"));
        }
        let only = match architecture {
            Architecture::ShufflenetV1 | Architecture::ShufflenetV2 => Some("relu"),
            // Its leaky ReLU is none of the choices.
            Architecture::Effnet => Some("none"),
            _ => None,
        };
        let named = self.activation.map(Activation::as_str);
        if let (Some(only), Some(got)) = (only, named.filter(|named| only != Some(*named))) {
            return refuse("activation", got.into(), format!("{only} for {architecture}"));
        }
        if !(self.width > 0.0 && self.width <= LARGEST.0) {
            return refuse("width", self.width.to_string(), format!("more than 0, at most {}", LARGEST.0));
        }
        if !(1..=LARGEST.1).contains(&self.resolution) {
            return refuse("resolution", self.resolution.to_string(), format!("1 to {} pixels", LARGEST.1));
        }
        if let Some(classes) = self.classes.filter(|classes| !(1..=1 << 20).contains(classes)) {
            return refuse("classes", classes.to_string(), format!("1 to {}", 1 << 20));
        }
        if let Some(epsilon) = self.epsilon.filter(|&epsilon| !(0.0..1.0).contains(&epsilon)) {
            return refuse("epsilon", epsilon.to_string(), "0 or more, below 1".into());
        }
        Ok(())
    }
}
