//! Runs a network once and prints its logits, or the features of a backbone, as JSON.
//!
//!     cargo run --release --example logits -- --net mobilenet_v1 --width 0.5 --resolution 160 --flavor tf

mod common;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use clap::Parser;
use common::{Failure, Flags};
use sepconv::weights::{HashWeights, hash_of_bits};
use sepconv::{Graph, Shape};
use serde::Serialize;

/// Runs a network once and prints its logits as one JSON object; the features where the weights have no classifier.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    /// Image: hash (made from the word `input`) or a safetensors file with a tensor `input`, n x c x h x w
    #[arg(long, default_value = "hash")]
    input: String,
    /// Also write the plan to this file, for --plan
    #[arg(long)]
    save: Option<PathBuf>,
    /// Run the plan of this file, whose network and weights are in it
    #[arg(long, conflicts_with_all = ["net", "weights", "save"])]
    plan: Option<PathBuf>,
}

/// One value, or one a picture where there are several.
#[derive(Serialize)]
#[serde(untagged)]
enum PerImage<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> PerImage<T> {
    fn of(mut values: Vec<T>) -> Self {
        if values.len() == 1 { PerImage::One(values.remove(0)) } else { PerImage::Many(values) }
    }
}

#[derive(Serialize)]
struct Output<'a> {
    n_out: usize,
    /// Rows, columns and channels of a backbone's features.
    #[serde(skip_serializing_if = "Option::is_none")]
    shape: Option<[usize; 3]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    argmax: Option<PerImage<usize>>,
    sum: PerImage<f64>,
    l2: PerImage<f64>,
    max_abs: PerImage<f32>,
    hash: PerImage<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logits: Option<PerImage<&'a [f32]>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    features: Option<PerImage<&'a [f32]>>,
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let flags = &arguments.flags;
    let threads = flags.parallel()?;
    let shapes = |graph: &Graph| {
        let input = graph.inputs().next().map_or(Shape::default(), |(_, shape)| shape);
        (input, graph.outputs().next().map_or(Shape::default(), |(_, shape)| shape))
    };
    let read = |image: Shape| match arguments.input.as_str() {
        "hash" => Ok((1, HashWeights::image(image.height, image.width, image.channels)?)),
        path => common::read_input(Path::new(path), (image.height, image.width, image.channels)),
    };
    let (plan, input, is_backbone) = match &arguments.plan {
        Some(path) => {
            let plan = flags.load(path)?;
            let (image, output) = shapes(plan.graph());
            let (images, input) = read(image)?;
            (plan.with_batch(images)?, input, output.pixels() > 1)
        }
        None => {
            let setup = flags.setup("hash")?;
            let (images, input) = read(setup.network.input())?;
            (setup.plan(&*threads, images)?, input, setup.is_backbone)
        }
    };
    if let Some(path) = &arguments.save {
        fs::write(path, plan.save()?).map_err(|why| format!("--save {}: {why}", path.display()))?;
    }
    let mut logits = common::zeros(plan.output_len())?;
    plan.run(&*threads, &mut plan.workspace()?, &input, &mut logits)?;
    common::finite(&logits)?;
    let (_, shape) = shapes(plan.graph());
    let n_out = shape.len();
    let rows: Vec<&[f32]> = logits.chunks_exact(n_out).collect();
    let argmax = |row: &&[f32]| (0..n_out).fold(0, |best, i| if row[i] > row[best] { i } else { best });
    let squares = |row: &&[f32]| row.iter().map(|&y| f64::from(y).powi(2)).sum::<f64>().sqrt();
    let values = || PerImage::of(rows.clone());
    let output = Output {
        n_out,
        shape: is_backbone.then_some([shape.height, shape.width, shape.channels]),
        argmax: (!is_backbone).then(|| PerImage::of(rows.iter().map(argmax).collect())),
        sum: PerImage::of(rows.iter().map(|row| row.iter().copied().map(f64::from).sum()).collect()),
        l2: PerImage::of(rows.iter().map(squares).collect()),
        max_abs: PerImage::of(rows.iter().map(|row| row.iter().fold(0.0, |most: f32, y| most.max(y.abs()))).collect()),
        hash: PerImage::of(rows.iter().map(|row| format!("{:016x}", hash_of_bits(row))).collect()),
        logits: (!is_backbone).then(values),
        features: is_backbone.then(values),
    };
    common::print_json(io::stdout().lock(), &output)
}

fn main() -> ExitCode {
    common::main(run)
}
