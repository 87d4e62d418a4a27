//! Mobile DeepLabv3: MobileNet V2 made dense by dilation, a small head, and the class of every pixel of the features.
//!
//!     cargo run --release --example segment -- --height 97 --width-px 161 --output-stride 8

#[path = "common/segmenter.rs"]
mod segmenter;

mod common;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use common::Failure;
use sepconv::parallel::{Parallel, Serial};
use sepconv::weights::{HashWeights, hash_of_bits};
use sepconv::{Isa, Options, Plan, Shape};

/// Segments an image made from the word `input`, with weights made from their names, and prints shape and digest of the
/// class map (one class for each pixel of the features; enlarging it is the caller's) and digest of the scores; exits
/// with 2 where a bit of the scores is not the reference's.
#[derive(Parser)]
struct Arguments {
    /// Rows of the image, 1 to 1024
    #[arg(long, default_value_t = 97)]
    height: usize,
    /// Columns of the image, 1 to 1024
    #[arg(long, default_value_t = 161)]
    width_px: usize,
    /// Pixels of the image from one of the features to the next: 8, 16 or 32
    #[arg(long, default_value_t = 16)]
    output_stride: usize,
    /// Multiplier of the backbone's channels, more than 0, at most 2
    #[arg(long, default_value_t = 1.0)]
    width: f64,
    /// ISA: portable, neon, avx2, avx512 [default: SEPCONV_ISA, else the best]
    #[arg(long)]
    isa: Option<Isa>,
    /// Threads, 1 to 1024
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

/// Rows and columns at most; the reference keeps the output of every layer.
const LARGEST: usize = 1024;
/// The classes of PASCAL VOC, the background among them.
const CLASSES: usize = 21;

impl Arguments {
    /// The error for what makes no network.
    fn check(&self) -> Result<(), Failure> {
        for (flag, value, most) in
            [("height", self.height, LARGEST), ("width-px", self.width_px, LARGEST), ("threads", self.threads, 1024)]
        {
            if !(1..=most).contains(&value) {
                return Err(format!("--{flag} {value}: expected 1 to {most}").into());
            }
        }
        if ![8, 16, 32].contains(&self.output_stride) {
            return Err(format!("--output-stride {}: expected 8, 16 or 32", self.output_stride).into());
        }
        if !(self.width > 0.0 && self.width <= 2.0) {
            return Err(format!("--width {}: expected more than 0, at most 2", self.width).into());
        }
        Ok(())
    }
}

/// The class with the highest score, the first of equals, for each pixel.
fn classes(scores: &[f32]) -> Vec<f32> {
    let best = |pixel: &[f32]| (0..pixel.len()).fold(0, |best, i| if pixel[i] > pixel[best] { i } else { best });
    scores.chunks_exact(CLASSES).map(|pixel| best(pixel) as f32).collect()
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.check()?;
    let &Arguments { height, width_px, output_stride, width, isa, threads } = arguments;
    let graph = segmenter::deeplab_v3(Shape::new(height, width_px, 3), width, output_stride, CLASSES)?;
    let parallel: Box<dyn Parallel> = if threads == 1 { Box::new(Serial) } else { Box::new(common::pool(threads)?) };
    let plan = Plan::new(&graph, &HashWeights, &*parallel, Options { isa, ..Options::default() })?;
    let image = HashWeights::image(height, width_px, 3)?;
    let mut scores = common::zeros(plan.output_len())?;
    plan.run(&*parallel, &mut plan.workspace()?, &image, &mut scores)?;
    common::finite(&scores)?;

    let computed = graph.reference(&HashWeights, &[&image])?;
    let want = computed.outputs.first().ok_or("the graph has no output")?;
    let differ = scores.iter().zip(want).filter(|(got, want)| got.to_bits() != want.to_bits()).count();
    if differ > 0 || scores.len() != want.len() {
        return Err(format!("{differ} of {} scores differ from the reference", want.len()).into());
    }
    let (_, map) = graph.outputs().next().ok_or("the graph has no output")?;
    let (rows, columns, macs) = (map.height, map.width, graph.macs() as f64 / 1e6);
    let mut out = io::stdout().lock();
    writeln!(out, "{height}x{width_px} pixels at output stride {output_stride}, {macs:.2} million multiply-adds")?;
    writeln!(out, "class map {rows}x{columns}, hash {:016x}", hash_of_bits(&classes(&scores)))?;
    let (count, hash) = (scores.len(), hash_of_bits(&scores));
    writeln!(out, "scores {rows}x{columns}x{CLASSES}, hash {hash:016x}")?;
    writeln!(out, "{}: all {count} scores are those of the reference, bit by bit", plan.isa())?;
    Ok(())
}

fn main() -> ExitCode {
    common::main(run)
}
