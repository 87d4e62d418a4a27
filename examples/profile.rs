//! Where the time of a network goes, layer by layer, against the peak of fused multiply-adds measured between the
//! layers.
//!
//!     cargo run --release --example profile -- --net mobilenet_v1 --svg profile.svg

#[path = "common/bandwidth.rs"]
mod bandwidth;
mod common;
#[path = "common/peak.rs"]
mod peak;
#[path = "common/plot.rs"]
mod plot;
#[path = "common/yardstick.rs"]
mod yardstick;

use std::collections::HashMap;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use common::{Failure, Flags, Steps};
use plot::{INK, Marker, letters};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use sepconv::Plan;
use sepconv::models::Network;
use sepconv::parallel::Serial;
use serde::Serialize;
use yardstick::Yardstick;

/// Prints a table of a network's layers: shape, kernel, time (and that of the same layers apart, where several are
/// computed together), speed, share, and percent of the peak.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    /// Runs; each layer's fastest counts
    #[arg(long, default_value_t = 50)]
    rounds: usize,
    /// Also draw the roofline and the time of each step
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

#[derive(Serialize)]
struct Line {
    layer: String,
    shape: String,
    kernel: String,
    ms: f64,
    gflops: f64,
    share: f64,
    of_peak: f64,
    flops_per_byte: f64,
    /// The same layers, each whole.
    ms_apart: f64,
}

/// For comparison, at 224 pixels in f32: the largest pair of input and output of a layer.
const LAYER_BY_LAYER: &str = "layer by layer MobileNet V2 1.0 at 224 has a peak of 6.02 MB (inputs and outputs of \
    block1_dw), with whole blocks as one operation 2.41 MB (block0), V1 4.82 MB";

/// Stands for the layer of a step that has none: it moves what one layer wrote to where another reads it.
const COPY: &str = "-";

/// Between the layers, or the kernels, of one step.
const TOGETHER: &str = " + ";

/// What the roofs of reads are of: bytes that it holds, of a thread's own for the first and of all threads for the others, and
/// passes over them.
const MEMORIES: [(&str, usize, usize); 3] =
    [("second-level cache", 256 << 10, 2000), ("third-level cache", 8 << 20, 200), ("memory", 256 << 20, 10)];

/// Turns of the loop between two layers: about 7 microseconds.
const PEAK_TURNS: usize = 4000;

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let flags = &arguments.flags;
    if arguments.rounds == 0 {
        return Err("--rounds 0: expected at least 1".into());
    }
    let setup = flags.setup("hash")?;
    let threads = &*flags.parallel()?;
    let start = Instant::now();
    let plan = setup.plan(threads, 1)?;
    let built = start.elapsed();
    let start = Instant::now();
    let folded = setup.fold()?;
    let read = start.elapsed();
    let start = Instant::now();
    Plan::from_folded(plan.graph(), &folded, threads, setup.options)?;
    let [built, read, packed] = [built, read, start.elapsed()].map(|time| time.as_secs_f64() * 1e3);
    let input = setup.hash_image()?;
    let apart = setup.plan_apart(threads)?;
    let mut fastest = [&plan, &apart].map(|plan| vec![f64::INFINITY; plan.describe().count()]);
    let mut memory = [
        (plan.workspace()?, common::zeros(plan.output_len())?),
        (apart.workspace()?, common::zeros(apart.output_len())?),
    ];
    let (mut peaks, mut gemms) = (Vec::new(), Vec::new());
    let mut yardstick = Yardstick::new(plan.isa())?;
    for _ in 0..arguments.rounds {
        gemms.push(yardstick.seconds()?);
        let plans = [&plan, &apart].into_iter().zip(&mut memory).zip(&mut fastest);
        for ((plan, (workspace, logits)), fastest) in plans {
            // The first run fetches the weights into the caches, from which the plan before drove them.
            plan.run(&Serial, workspace, &input, &mut *logits)?;
            let mut clock = Steps(|step: usize, work: &mut dyn FnMut()| {
                let start = Instant::now();
                work();
                fastest[step] = fastest[step].min(start.elapsed().as_secs_f64());
                let start = Instant::now();
                threads.run(flags.threads, &|_| {
                    peak::fma_loop(plan.isa(), PEAK_TURNS);
                });
                peaks.push(start.elapsed().as_secs_f64());
            });
            plan.run_observed(threads, workspace, &input, logits, &mut clock)?;
        }
    }
    let peak = flags.threads as f64 * peak::flops(plan.isa(), PEAK_TURNS) / median(&mut peaks);
    let gemm = Yardstick::flops() / median(&mut gemms);
    let [fastest, fastest_apart] = fastest;
    let steps_apart = apart.describe().zip(&fastest_apart);
    let by_layer: HashMap<&str, f64> = steps_apart
        .flat_map(|(line, &seconds)| line.nodes.into_iter().map(move |node| (node.name(), seconds)))
        .collect();
    let total: f64 = fastest.iter().sum();
    let lines: Vec<Line> = plan
        .describe()
        .zip(&fastest)
        .map(|(line, &seconds)| {
            let layers: Vec<&str> = line.nodes.iter().map(|node| node.name()).collect();
            let speed = 2.0 * line.macs as f64 / seconds;
            Line {
                layer: if layers.is_empty() { COPY.into() } else { layers.join(TOGETHER) },
                shape: format!("{} -> {}", line.input, line.output),
                kernel: line.kernels.join(TOGETHER),
                ms: seconds * 1e3,
                gflops: speed / 1e9,
                share: seconds / total,
                of_peak: speed / peak,
                flops_per_byte: 2.0 * line.macs as f64 / line.bytes as f64,
                ms_apart: layers.iter().filter_map(|layer| by_layer.get(layer)).sum::<f64>() * 1e3,
            }
        })
        .collect();
    if let Some(path) = &arguments.svg {
        let mut reads = Vec::new();
        for (at, (name, bytes, passes)) in MEMORIES.into_iter().enumerate() {
            let bytes = if at == 0 { bytes * flags.threads } else { bytes };
            reads.push((name, bandwidth::read(threads, bytes, passes)? / 1e9));
        }
        let title = format!("{}, {}, {} thread(s)", setup.network.name(), plan.isa(), flags.threads);
        draw(path, &title, &setup.network, &lines, Roofs { peak: peak / 1e9, reads: &reads })?;
    }
    let mut out = io::stdout().lock();
    if flags.json {
        writeln!(out, "{}", serde_json::to_string(&lines)?)?;
        return Ok(());
    }
    writeln!(
        out,
        "{:<26} {:<28} {:<26} {:>8} {:>8} {:>8} {:>7} {:>7}",
        "layer", "shape", "kernel", "ms", "apart", "GFLOP/s", "share", "peak"
    )?;
    for Line { layer, shape, kernel, ms, gflops, share, of_peak, ms_apart, .. } in &lines {
        let (share, of_peak) = (share * 100.0, of_peak * 100.0);
        let apart = if layer.contains(TOGETHER) { format!("{ms_apart:.3}") } else { String::new() };
        let mut rows = layer.split(TOGETHER).zip(kernel.split(TOGETHER));
        let Some((layer, kernel)) = rows.next() else { continue };
        writeln!(
            out,
            "{layer:<26} {shape:<28} {kernel:<26} {ms:>8.3} {apart:>8} {gflops:>8.1} {share:>6.1}% {of_peak:>6.1}%"
        )?;
        for (layer, kernel) in rows {
            writeln!(out, "{:<26} {:<28} {kernel}", format!("+ {layer}"), "")?;
        }
    }
    let macs = plan.graph().macs() as f64;
    writeln!(
        out,
        "{:.3} ms ({:.3} with every layer apart), {:.1} GFLOP/s of {:.1}, {} thread(s), {}",
        total * 1e3,
        fastest_apart.iter().sum::<f64>() * 1e3,
        2.0 * macs / total / 1e9,
        peak / 1e9,
        flags.threads,
        plan.isa()
    )?;
    let (m, k, n) = yardstick::SHAPE;
    writeln!(
        out,
        "a GEMM of {m}x{k}x{n} from the second-level cache makes {:.1} GFLOP/s a thread: the network is at {:.1} % of it",
        gemm / 1e9,
        100.0 * 2.0 * macs / total / gemm / flags.threads as f64,
    )?;
    writeln!(
        out,
        "peak of activations {:.2} MB, workspace {:.2} MB, plan built in {built:.1} ms; in two parts, one after the other: \
         weights read and folded {read:.1} ms, packed and calls laid out {packed:.1} ms",
        plan.peak_bytes() as f64 / 1e6,
        plan.workspace_bytes() as f64 / 1e6,
    )?;
    writeln!(out, "{LAYER_BY_LAYER}")?;
    Ok(())
}

/// What bounds a step: GFLOP/s of fused multiply-adds, and GB/s of reads from each kind of memory, the fastest first.
#[derive(Clone, Copy)]
struct Roofs<'a> {
    peak: f64,
    reads: &'a [(&'static str, f64)],
}

/// The kinds of steps in the chart, with their colours, which colour-blind readers tell apart too (Okabe and Ito).
const KINDS: [(&str, RGBColor); 6] = [
    ("pointwise", RGBColor(0, 114, 178)),
    ("depthwise", RGBColor(213, 94, 0)),
    ("dense", RGBColor(0, 158, 115)),
    ("fully connected", RGBColor(204, 121, 167)),
    ("fused", RGBColor(86, 180, 233)),
    ("other", RGBColor(150, 150, 150)),
];

fn colour(network: &Network, line: &Line) -> RGBColor {
    let kind = match network.graph().node(&line.layer).map(|node| node.kind()) {
        Some("pointwise") => 0,
        Some("depthwise") => 1,
        Some("conv") => 2,
        Some("fully_connected") => 3,
        // A step of several layers has the name of none.
        None if line.layer.contains(TOGETHER) => 4,
        _ => 5,
    };
    KINDS[kind].1
}

/// In pixels: the page's width, the roofline's height, and the height of a step's bar with the gap to the next.
const WIDTH: i32 = 1000;
const ROOFLINE: usize = 560;
const BAR: usize = 18;

/// The roofline, one dot a step that multiplies, and below it the time of every step.
fn draw(path: &Path, title: &str, network: &Network, lines: &[Line], roofs: Roofs<'_>) -> Result<(), Failure> {
    let height = ROOFLINE + 60 + BAR * lines.len();
    plot::save(path, (WIDTH as u32, height as u32), |page| {
        let (roofline, bars) = page.split_vertically(ROOFLINE as u32);
        draw_roofline(&roofline, title, network, lines, roofs)?;
        draw_bars(&bars, network, lines)
    })
}

fn draw_roofline(
    page: &plot::Page<'_>,
    title: &str,
    network: &Network,
    lines: &[Line],
    Roofs { peak, reads }: Roofs<'_>,
) -> Result<(), Failure> {
    let dots = || lines.iter().filter(|line| line.gflops > 0.0);
    let ridges = || reads.iter().map(|(_, bandwidth)| peak / bandwidth);
    let around = |values: &mut dyn Iterator<Item = f64>, low: f64, high: f64| -> Range<f64> {
        let (low, high) = values.fold((low, high), |(low, high), value| (low.min(value), high.max(value)));
        low / 1.6..high * 1.6
    };
    let (low, high) = ridges().fold((f64::INFINITY, 0.0), |(low, high), ridge| (ridge.min(low), ridge.max(high)));
    let intensities = around(&mut dots().map(|line| line.flops_per_byte), low, high);
    let speeds = around(&mut dots().map(|line| line.gflops), peak, peak);
    let mut chart = plot::chart(
        page,
        title,
        (
            plot::logarithmic(intensities.clone()),
            "FLOP per byte of input, output, residual and weights, each once (logarithmic)",
        ),
        (plot::logarithmic(speeds.clone()), "GFLOP/s (logarithmic)"),
    )?;
    let kinds: Vec<_> = KINDS
        .into_iter()
        .filter(|&(_, kind)| lines.iter().any(|line| colour(network, line) == kind))
        .map(|(name, colour)| (Marker::Circle, colour, name.to_string()))
        .collect();
    plot::legend(page, (WIDTH - 150, ROOFLINE as i32 - 210), "step", &kinds)?;
    let note = |at, pixels, horizontal, words: String| {
        EmptyElement::at(at) + Text::new(words, pixels, letters(14, INK, horizontal, VPos::Bottom))
    };
    let words = format!("fused multiply-adds, {peak:.1} GFLOP/s");
    chart.draw_series([note((intensities.end, peak), (-6, -8), HPos::Right, words)])?;
    chart.draw_series(LineSeries::new([(low, peak), (intensities.end, peak)], INK.stroke_width(2)))?;
    for ((name, bandwidth), ridge) in reads.iter().zip(ridges()) {
        // A roof of reads begins where the chart does: at its left or at its bottom.
        let first = intensities.start.max(speeds.start / bandwidth);
        let roof = [(first, first * bandwidth), (ridge, peak)];
        chart.draw_series(LineSeries::new(roof, INK.stroke_width(2)))?;
        let words = format!("{name}, {bandwidth:.0} GB/s");
        chart.draw_series([note(roof[0], (30, -2), HPos::Left, words)])?;
    }
    for line in dots() {
        let at = (line.flops_per_byte, line.gflops);
        Marker::Circle.draw(chart.plotting_area(), at, colour(network, line).mix(0.7))?;
    }
    Ok(())
}

fn draw_bars(page: &plot::Page<'_>, network: &Network, lines: &[Line]) -> Result<(), Failure> {
    // Room for the longest name, at 7 pixels a letter, up to half the page.
    let letters_of_names = lines.iter().map(|line| line.layer.len() as i32).max().unwrap_or(0);
    let (left, right, top) = ((40 + 7 * letters_of_names).min(WIDTH / 2), WIDTH - 110, 40);
    let longest = lines.iter().map(|line| line.ms).fold(0.0, f64::max);
    let write = |words: String, x, y, horizontal| {
        page.draw(&Text::new(words, (x, y), letters(13, INK, horizontal, VPos::Center)))
    };
    write("step".into(), left - 8, 22, HPos::Right)?;
    write("milliseconds, percent of the fused multiply-adds".into(), left, 22, HPos::Left)?;
    for (row, line) in (0..).zip(lines) {
        let y = top + BAR as i32 * row;
        let end = left + (f64::from(right - left) * line.ms / longest).round() as i32;
        let bar = [(left, y), (end.max(left + 1), y + BAR as i32 - 4)];
        page.draw(&Rectangle::new(bar, colour(network, line).filled()))?;
        let middle = y + BAR as i32 / 2 - 2;
        write(line.layer.clone(), left - 8, middle, HPos::Right)?;
        let percent = if line.gflops > 0.0 { format!(", {:.0} %", 100.0 * line.of_peak) } else { String::new() };
        write(format!("{:.3}{percent}", line.ms), end + 8, middle, HPos::Left)?;
    }
    Ok(())
}

fn main() -> ExitCode {
    common::main(run)
}
