//! Times depthwise layers of one shape on demand, with one thread: prints `ready`, then for each line `N` on standard
//! input runs all layers N times and prints the N wall-clock times in milliseconds on one line.
//!
//!     echo 10 | cargo run --release --example depthwise_latency -- --size 56 --channels 128 --stride 1 --layers 24

mod common;

use std::process::ExitCode;

use clap::Parser;
use common::{Failure, time_on_demand};
use sepconv::depthwise::{PackedDepthwise, Padding};
use sepconv::reference::{self, Window};
use sepconv::weights::{HashWeights, Weights};
use sepconv::{AlignedBuffer, Clamp, Epilogue, Isa, Layout, View, ViewMut, select};

/// Prints `ready`, then for each line N of standard input the milliseconds of N runs of all layers on one line.
///
/// The layers are 3x3 with SAME padding and ReLU6. With a stride of 1 each reads what the one before has put out; with
/// a stride of 2 all read one image. They write to two buffers in turn, whose pixels lie as in the memory of a plan.
#[derive(Parser)]
struct Arguments {
    /// Rows and columns of the image, 1 to 65536
    #[arg(long)]
    size: usize,
    /// Channels, 1 to 65536
    #[arg(long)]
    channels: usize,
    /// Stride, 1 or 2
    #[arg(long)]
    stride: usize,
    /// Layers, 1 to 65536
    #[arg(long, default_value_t = 1)]
    layers: usize,
    /// ISA: portable, neon, avx2, avx512 [default: SEPCONV_ISA, else the best]
    #[arg(long)]
    isa: Option<Isa>,
}

/// The largest number that a flag takes.
const LARGEST: usize = 1 << 16;

/// Layers of one shape, and what they need to run.
struct Stack {
    layers: Vec<PackedDepthwise>,
    padding: Padding,
    input: Layout,
    output: Layout,
    image: AlignedBuffer,
    outputs: [AlignedBuffer; 2],
}

impl Stack {
    /// Packs the layers; fails unless the first computes what the reference does.
    fn new(arguments: &Arguments) -> Result<Self, Failure> {
        let &Arguments { size, channels, stride, layers, isa } = arguments;
        for (flag, value) in [("size", size), ("channels", channels), ("layers", layers)] {
            if !(1..=LARGEST).contains(&value) {
                return Err(format!("--{flag} {value}: expected 1 to {LARGEST}").into());
            }
        }
        let kernels = isa.map_or_else(Isa::selected, Ok)?.kernels()?;
        let kernel = select::depthwise(kernels, stride)?;
        let output_size = size.div_ceil(stride);
        let total = ((output_size - 1) * stride + 3).saturating_sub(size);
        let (before, after) = (total / 2, total - total / 2);
        let padding = Padding { top: before, bottom: after, left: before, right: after };
        let tensors = |layer: usize| -> Result<_, Failure> {
            let weights = HashWeights.tensor(&format!("layer{layer}.weight"), &[channels, 1, 3, 3])?.into_owned();
            Ok((weights, HashWeights.tensor(&format!("layer{layer}.bias"), &[channels])?.into_owned()))
        };
        let packed = |layer| {
            let (weights, bias) = tensors(layer)?;
            Ok(PackedDepthwise::new(kernel, channels, &weights, &bias)?)
        };
        let (input, output) =
            (Layout::spaced(size, size, channels), Layout::spaced(output_size, output_size, channels));
        let buffer = |layout: &Layout| AlignedBuffer::zeroed(layout.height * layout.row_stride);
        let pixels = HashWeights::image(size, size, channels)?;
        let mut image = buffer(&input)?;
        for (to, from) in image.chunks_exact_mut(input.pixel_stride).zip(pixels.chunks_exact(channels)) {
            to[..channels].copy_from_slice(from);
        }
        let outputs = [buffer(&output)?, buffer(&output)?];
        let mut stack = Stack { layers: vec![packed(0)?], padding, input, output, image, outputs };
        stack.run()?;
        let (weights, bias) = tensors(0)?;
        let (window, shape) = (Window { size: (3, 3), stride, padding }, (size, size, channels));
        // The reference ends the program where it gets no memory; its output doubles as it grows.
        common::room::<f32>(4 * output_size * output_size * channels)?;
        let want = reference::depthwise(&pixels, shape, window, None, (&weights, &bias), None, Clamp::RELU6);
        let got = stack.outputs[0].chunks_exact(output.pixel_stride).flat_map(|pixel| &pixel[..channels]);
        if !got.eq(&want) {
            return Err(format!("{}: expected the output of the reference", kernel.name()).into());
        }
        stack.layers = (0..layers).map(packed).collect::<Result<_, Failure>>()?;
        Ok(stack)
    }

    /// Runs every layer once.
    fn run(&mut self) -> Result<(), Failure> {
        let [target, other] = &mut self.outputs;
        let (mut target, mut other) = (target, other);
        for (index, layer) in self.layers.iter().enumerate() {
            let chained = index > 0 && layer.kernel().stride() == 1;
            let input = if chained { &*other } else { &self.image };
            layer.run(
                self.padding,
                None,
                View::new(input, self.input)?,
                Epilogue::clamp(Clamp::RELU6),
                ViewMut::new(target, self.output)?,
            )?;
            std::mem::swap(&mut target, &mut other);
        }
        Ok(())
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut stack = Stack::new(arguments)?;
    time_on_demand("runs", 5, || stack.run())
}

fn main() -> ExitCode {
    common::main(run)
}
