//! Runs a network once and prints its logits as JSON.
//!
//!     cargo run --release --example logits -- --net mobilenet_v1 --width 0.5 --resolution 160 --flavor tf

mod common;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use common::{Failure, Flags};
use sepconv::weights::hash_of_bits;
use serde::Serialize;

/// Runs a network once and prints its logits as one JSON object.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    /// Image: hash (made from the word `input`) or a safetensors file with a tensor `input`, n x c x h x w
    #[arg(long, default_value = "hash")]
    input: String,
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
struct Output {
    n_out: usize,
    argmax: PerImage<usize>,
    sum: PerImage<f64>,
    l2: PerImage<f64>,
    max_abs: PerImage<f32>,
    hash: PerImage<String>,
    logits: PerImage<Vec<f32>>,
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let flags = &arguments.flags;
    let setup = flags.setup(|_| "hash")?;
    let shape = setup.network.input();
    let (images, input) = match arguments.input.as_str() {
        "hash" => (1, setup.hash_image()?),
        path => common::read_input(Path::new(path), (shape.height, shape.width, shape.channels))?,
    };
    let plan = setup.plan(images)?;
    let mut logits = vec![0.0; plan.output_len()];
    flags.with_threads(|threads| Ok(plan.run_on(threads, &mut plan.workspace()?, &input, &mut logits)?))?;
    if let Some(at) = logits.iter().position(|logit| !logit.is_finite()) {
        return Err(format!("logit {at} is {}: the input or the weights are beyond f32", logits[at]).into());
    }
    let n_out = plan.network().classes();
    let rows: Vec<&[f32]> = logits.chunks_exact(n_out).collect();
    let argmax = |row: &&[f32]| (0..n_out).fold(0, |best, i| if row[i] > row[best] { i } else { best });
    let squares = |row: &&[f32]| row.iter().map(|&y| f64::from(y).powi(2)).sum::<f64>().sqrt();
    let output = Output {
        n_out,
        argmax: PerImage::of(rows.iter().map(argmax).collect()),
        sum: PerImage::of(rows.iter().map(|row| row.iter().copied().map(f64::from).sum()).collect()),
        l2: PerImage::of(rows.iter().map(squares).collect()),
        max_abs: PerImage::of(rows.iter().map(|row| row.iter().fold(0.0, |most: f32, y| most.max(y.abs()))).collect()),
        hash: PerImage::of(rows.iter().map(|row| format!("{:016x}", hash_of_bits(row))).collect()),
        logits: PerImage::of(rows.iter().map(|row| row.to_vec()).collect()),
    };
    println!("{}", serde_json::to_string(&output)?);
    Ok(())
}

fn main() -> ExitCode {
    common::exit(run(&Arguments::parse()))
}
