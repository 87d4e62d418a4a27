//! MobileNet V2 on an image of any size, dense where it is asked to be, and Mobile DeepLabv3 on it.
//!
//! Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018, arXiv:1801.04381, Table 2 and
//! section 6.3. The parameters have torchvision's names.
#![allow(dead_code)] // Each program uses a part.

use sepconv::graph::{Builder, Graph, Layer, Tensor};
use sepconv::{Clamp, Padding, Result, Shape, Window};

/// Table 2: expansion, output channels, blocks, stride of the first.
const GROUPS: [(usize, usize, usize, usize); 7] =
    [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];
/// Channels of the stem, and of each layer of the head.
const STEM: usize = 32;
const HEAD: usize = 256;
/// Epsilon of the batch normalisation.
const EPSILON: f64 = 1e-5;

/// What heads read of MobileNet V2.
pub struct Features {
    /// The expansion of each block; of the first, which has none, its input.
    pub expansions: Vec<Tensor>,
    /// The output of the last block: 320 channels at width 1.
    pub last: Tensor,
}

/// The nearest multiple of 8 that is at least 8 and not below nine tenths of `channels` times `width`.
fn scaled(channels: usize, width: f64) -> usize {
    let exact = channels as f64 * width;
    let rounded = ((exact + 4.0) as usize / 8 * 8).max(8);
    if (rounded as f64) < 0.9 * exact { rounded + 8 } else { rounded }
}

/// The convolutional parameters `weights` with the normalisation `norm`.
fn normed(weights: &str, norm: &str, clamp: Clamp) -> Layer {
    Layer::named(weights).norm(norm, EPSILON).clamp(clamp)
}

/// Stem and seventeen inverted residuals, in which no stride goes beyond `output_stride` (8, 16 or 32): one that would
/// is 1, and the depthwise layers after it have their taps as many times farther apart. What is computed at the pixels
/// that the stride leaves out is new; the others stay as they were.
pub fn mobilenet_v2(net: &mut Builder, image: Tensor, width: f64, output_stride: usize) -> Result<Features> {
    let window = Window::square(3);
    let stem = normed("features.0.0", "features.0.1", Clamp::RELU6);
    let mut x = net.conv("conv1", image, scaled(STEM, width), window.stride(2).symmetric(), stem)?;
    let (mut reached, mut dilation, mut expansions) = (2, 1, Vec::new());
    let blocks = GROUPS.iter().flat_map(|&(t, c, n, s)| (0..n).map(move |i| (t, c, if i == 0 { s } else { 1 })));
    for (block, (expansion, channels, stride)) in blocks.enumerate() {
        let name = |part: &str| format!("block{block}_{part}");
        let module = |at: usize| format!("features.{}.conv.{at}", block + 1);
        let relu6 = |at: usize| normed(&format!("{}.0", module(at)), &format!("{}.1", module(at)), Clamp::RELU6);
        // Without an expansion its module is missing, and the others move up.
        let filter = usize::from(expansion > 1);
        let (input, inputs, outputs) = (x, net.shape(x)?.channels, scaled(channels, width));
        if expansion > 1 {
            x = net.pointwise(&name("expand"), x, expansion * inputs, relu6(0))?;
        }
        expansions.push(x);
        let (moved, spread) = if reached * stride > output_stride { (1, stride) } else { (stride, 1) };
        let taps = window.stride(moved).dilation(dilation).symmetric();
        x = net.depthwise(&name("dw"), x, taps, relu6(filter))?;
        (reached, dilation) = (reached * moved, dilation * spread);
        let layer = normed(&module(filter + 1), &module(filter + 2), Clamp::NONE);
        x = net.pointwise(&name("project"), x, outputs, layer)?;
        if stride == 1 && inputs == outputs {
            x = net.add(&name("add"), x, input, Clamp::NONE)?;
        }
    }
    Ok(Features { expansions, last: x })
}

/// The mean of each channel at every pixel. No node spreads one pixel over an image; an average of which each window holds
/// all rows, then one of which each holds all columns, gives the mean everywhere.
fn mean_everywhere(net: &mut Builder, input: Tensor) -> Result<Tensor> {
    let Shape { height, width, .. } = net.shape(input)?;
    let (rows, columns) = (height - 1, width - 1);
    let window = Window::new(height + rows, 1).padding(Padding { top: rows, bottom: rows, ..Padding::NONE });
    let x = net.average_pool("mean_of_rows", input, window, false)?;
    let window = Window::new(1, width + columns).padding(Padding { left: columns, right: columns, ..Padding::NONE });
    net.average_pool("mean", x, window, false)
}

/// Mobile DeepLabv3 without the atrous branches of its pyramid, as section 6.3 has it: the last features, and their mean,
/// each through a 1x1 convolution; both through another; `classes` scores a pixel of the features.
pub fn deeplab_v3(image: Shape, width: f64, output_stride: usize, classes: usize) -> Result<Graph> {
    let mut net = Builder::new();
    let input = net.input("image", image)?;
    let features = mobilenet_v2(&mut net, input, width, output_stride)?.last;
    let relu = |name: &str| normed(name, &format!("{name}.bn"), Clamp::RELU);
    let local = net.pointwise("local", features, HEAD, relu("local"))?;
    let mean = mean_everywhere(&mut net, features)?;
    let global = net.pointwise("global", mean, HEAD, relu("global"))?;
    let both = net.concat(&[local, global])?;
    let x = net.pointwise("both", both, HEAD, relu("both"))?;
    let scores = net.pointwise("classes", x, classes, Layer::named("classes").bias())?;
    net.build(&[scores])
}
