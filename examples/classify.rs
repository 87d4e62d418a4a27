//! Classifies handwritten digits, or pictures.
//!
//!     cargo run --release --example classify
//!     cargo run --release --example classify -- my_digit.png

mod common;

use std::fmt::Display;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use common::preprocess::{self, Recipe};
use common::{Failure, Flags, HELD_OUT_DIGITS, Setup};
use safetensors::SafeTensors;
use sepconv::Plan;
use sepconv::elementwise::softmax;
use sepconv::net::Name;
use sepconv::parallel::Parallel;
use serde::Serialize;

/// Classifies the 1,000 embedded digits, or the images that are given.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    /// JPEG or PNG files; without --net each is one handwritten digit
    images: Vec<PathBuf>,
    /// How pictures are prepared: torchvision, torchvision2, timm, timm_half, timm_xception, keras, slim, raw255,
    /// digits [default: what the weight file or its names say]
    #[arg(long)]
    preprocess: Option<Recipe>,
    /// Class names: one a line, as many as classes; that of a background class in front may be left out
    #[arg(long)]
    labels: Option<PathBuf>,
    /// Classes to print for each image
    #[arg(long, default_value_t = 5)]
    top: usize,
}

#[derive(Serialize)]
struct Report {
    net: String,
    isa: String,
    threads: usize,
    ms_per_image: f64,
    images: Vec<Image>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accuracy: Option<f64>,
}

#[derive(Serialize)]
struct Image {
    file: String,
    top: Vec<Guess>,
}

#[derive(Serialize)]
struct Guess {
    class: usize,
    name: Option<String>,
    p: f32,
}

/// Images that are run at once.
const BATCH: usize = 16;

/// Runs `images` `batch` at a time; returns each one's probabilities, the milliseconds a piece, and the last plan.
fn classify(
    setup: &Setup,
    threads: &dyn Parallel,
    images: &[Vec<f32>],
    batch: usize,
) -> Result<(Vec<Vec<f32>>, f64, Plan), Failure> {
    let (mut all, mut milliseconds) = (Vec::new(), 0.0);
    let mut plan = setup.plan(batch)?;
    let mut workspace = plan.workspace()?;
    for images in images.chunks(batch) {
        if images.len() != plan.batch() {
            plan = setup.plan(images.len())?;
            workspace = plan.workspace()?;
        }
        let (mut logits, mut input) = (common::zeros(plan.output_len())?, common::room(plan.input_len())?);
        images.iter().for_each(|image| input.extend_from_slice(image));
        let start = Instant::now();
        plan.run_on(threads, &mut workspace, &input, &mut logits)?;
        milliseconds += start.elapsed().as_secs_f64() * 1e3;
        common::finite(&logits)?;
        for logits in logits.chunks_exact(plan.network().classes()) {
            let mut p = common::room(logits.len())?;
            p.extend_from_slice(logits);
            softmax(&mut p);
            all.push(p);
        }
    }
    Ok((all, milliseconds / images.len() as f64, plan))
}

/// The `top` most probable classes; `background` classes in front are dropped from the numbering.
fn guesses(p: &[f32], names: Option<&[String]>, background: usize, top: usize) -> Result<Vec<Guess>, Failure> {
    let mut classes: Vec<usize> = common::room(p.len())?;
    classes.extend(background..p.len());
    // Equals in order, without the memory of a stable sort.
    classes.sort_unstable_by(|&a, &b| p[b].total_cmp(&p[a]).then(a.cmp(&b)));
    let guess = |&class: &usize| Guess {
        class: class - background,
        name: names.and_then(|names| names.get(class - background).cloned()),
        p: p[class],
    };
    let mut guesses = common::room(top.min(classes.len()))?;
    guesses.extend(classes.iter().take(top).map(guess));
    Ok(guesses)
}

/// Reads the names of `classes` classes, of which `background` in front are dropped.
fn names(path: &Path, classes: usize, background: usize) -> Result<Vec<String>, Failure> {
    let fail = |why: &dyn Display| format!("--labels {}: {why}", path.display());
    let text = fs::read_to_string(path).map_err(|why| fail(&why))?;
    let mut names: Vec<String> = text.trim_end().lines().map(str::to_string).collect();
    let numbered = classes - background;
    if names.len() == classes {
        names.drain(..background);
    }
    if names.len() != numbered {
        let or = if background > 0 { format!(", or {classes} with the background's first") } else { String::new() };
        return Err(fail(&format_args!("{} names, expected {numbered}{or}; one a line", names.len())).into());
    }
    Ok(names)
}

/// A 28x28 digit as 14 lines of half blocks.
fn draw(digit: &[f32]) -> Vec<String> {
    let lit = |y: usize, x: usize| digit[y * 28 + x] > 0.35;
    let cell = |y: usize, x: usize| match (lit(2 * y, x), lit(2 * y + 1, x)) {
        (true, true) => '█',
        (true, false) => '▀',
        (false, true) => '▄',
        (false, false) => ' ',
    };
    (0..14).map(|y| (0..28).map(|x| cell(y, x)).collect()).collect()
}

/// The embedded digits, 0..1, with their labels.
fn held_out() -> Result<(Vec<Vec<f32>>, Vec<u8>), Failure> {
    let file = SafeTensors::deserialize(HELD_OUT_DIGITS)?;
    let images = file.tensor("images")?.data().chunks_exact(28 * 28);
    let images = images.map(|digit| digit.iter().map(|&level| f32::from(level) / 255.0).collect());
    Ok((images.collect(), file.tensor("labels")?.data().to_vec()))
}

/// Digits shown in the terminal: one in this many.
const SHOW_EVERY: usize = 300;

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let flags = &arguments.flags;
    let setup = flags.setup("embedded")?;
    let (classes, background) = (setup.classes()?, usize::from(setup.background));
    let names = arguments.labels.as_deref().map(|path| names(path, classes, background)).transpose()?;
    let digits = setup.name == Name::Digits;
    if arguments.images.is_empty() && !digits {
        return Err(format!("no image for {}: name one or more JPEG or PNG files", setup.name).into());
    }
    let resolution = setup.network.input().height;
    let (images, labels) = if arguments.images.is_empty() {
        if resolution != 28 {
            return Err(format!(
                "the embedded digits are 28x28, the network takes {resolution}x{resolution}: name an image"
            )
            .into());
        }
        held_out()?
    } else {
        let recipe = arguments.preprocess.or(setup.recipe).ok_or_else(|| {
            let names = Recipe::ALL.map(Recipe::name).join(", ");
            format!("the weights do not say how pictures are prepared for them: give --preprocess, one of {names}")
        })?;
        if recipe.channels() != setup.network.input().channels {
            let channels = setup.network.input().channels;
            return Err(format!(
                "recipe {recipe} prepares {} channel(s), {} takes {channels}: give another with --preprocess",
                recipe.channels(),
                setup.name
            )
            .into());
        }
        let load = |path: &PathBuf| recipe.apply(&preprocess::load(path)?, resolution as u32);
        (arguments.images.iter().map(load).collect::<Result<_, _>>()?, Vec::new())
    };
    // The embedded digits go one by one, as a user's would; the pictures of one call together.
    let batch = if labels.is_empty() { images.len().min(BATCH) } else { 1 };
    let (probabilities, ms_per_image, plan) =
        flags.with_threads(|threads| classify(&setup, threads, &images, batch))?;

    let file = |i: usize| match arguments.images.get(i) {
        Some(path) => path.display().to_string(),
        None => format!("embedded/{i}"),
    };
    let top = if labels.is_empty() { arguments.top } else { 1 };
    let top_of =
        |(i, p): (usize, &Vec<f32>)| Ok(Image { file: file(i), top: guesses(p, names.as_deref(), background, top)? });
    let guessed = probabilities.iter().enumerate().map(top_of).collect::<Result<Vec<Image>, Failure>>()?;
    let right =
        |(image, label): (&Image, &u8)| image.top.first().is_some_and(|guess| guess.class == usize::from(*label));
    let accuracy = (!labels.is_empty())
        .then(|| guessed.iter().zip(&labels).filter(|&pair| right(pair)).count() as f64 / labels.len() as f64);

    let report = Report {
        net: setup.name.to_string(),
        isa: plan.isa().to_string(),
        threads: flags.threads,
        ms_per_image,
        images: guessed,
        accuracy,
    };
    let mut out = io::stdout().lock();
    if flags.json {
        return common::print_json(out, &report);
    }
    let shown = |i: usize| !labels.is_empty() && i % SHOW_EVERY == SHOW_EVERY / 2;
    for (i, image) in report.images.iter().enumerate() {
        if shown(i) {
            writeln!(out, "{}", draw(&images[i]).join("\n"))?;
            let Some(guess) = image.top.first() else { continue };
            writeln!(out, "digit {i}: {} ({:.2} %), it is {}\n", guess.class, guess.p * 100.0, labels[i])?;
        } else if labels.is_empty() {
            writeln!(out, "{}", image.file)?;
            for guess in &image.top {
                let name = guess.name.as_deref().unwrap_or("");
                writeln!(out, "{:8.3} %  {:4}  {name}", guess.p * 100.0, guess.class)?;
            }
        }
    }
    let mut kernels: Vec<&str> = plan.describe().flat_map(|line| line.kernels).collect();
    kernels.sort_unstable();
    kernels.dedup();
    writeln!(out, "{} on {}: {}", plan.network().name(), plan.isa(), kernels.join(", "))?;
    writeln!(out, "{ms_per_image:.3} ms an image, {} threads", report.threads)?;
    if let Some(accuracy) = accuracy {
        writeln!(out, "{} digits, {:.1} % right", labels.len(), accuracy * 100.0)?;
    }
    Ok(())
}

fn main() -> ExitCode {
    common::main(run)
}
