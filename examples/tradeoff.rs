//! The two multipliers of the MobileNets, width and resolution, made visible: published accuracy against the time that
//! each network takes here.
//!
//!     cargo run --release --example tradeoff -- --svg tradeoff.svg

mod common;
#[path = "common/plot.rs"]
mod plot;
#[path = "common/published.rs"]
mod published;
#[path = "common/timed.rs"]
mod timed;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use common::{Failure, Flags};
use plot::{INK, Marker, range};
use plotters::prelude::*;
use sepconv::models::{Architecture, Flavor};
use serde::Serialize;
use timed::Timed;

/// Times MobileNet V1 and V2 at every published width and resolution, beside the published accuracy. --net, --width
/// and --resolution choose among the points; --flavor is slim unless given, as the accuracies are TF-slim's.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    /// Rounds over all networks; each network's fastest and median run count
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Also draw accuracy against the fastest run
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

#[derive(Serialize)]
struct Point {
    #[serde(serialize_with = "common::as_text")]
    network: Architecture,
    width: f64,
    resolution: usize,
    macs: u64,
    params: u64,
    /// Milliseconds of one image: the fastest run and the median one.
    fastest_ms: f64,
    median_ms: f64,
    top1: f64,
}

#[derive(Serialize)]
struct Report<'a> {
    isa: String,
    threads: usize,
    low_memory: bool,
    points: &'a [Point],
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let flags = &arguments.flags;
    if arguments.rounds == 0 {
        return Err("--rounds 0: expected at least 1".into());
    }
    // The published networks are TF-slim's; those of a weight file have its flavor.
    let slim = flags.weights.as_deref().is_none_or(|weights| weights == "hash").then_some(Flavor::Slim);
    let threads = &*flags.parallel()?;
    let (mut points, mut networks) = (Vec::new(), Vec::new());
    for point in published::chosen(flags, |point| HUES.iter().any(|(network, _)| *network == point.network))? {
        let setup = point.flags(flags, flags.flavor.or(slim)).setup("hash")?;
        let published::Point { network, width, resolution, top1, .. } = point;
        let (macs, params) = (setup.network.graph().macs(), setup.network.graph().params());
        let (fastest_ms, median_ms) = (f64::INFINITY, f64::INFINITY);
        points.push(Point { network, width, resolution, macs, params, fastest_ms, median_ms, top1 });
        networks.push((Timed::new(setup.plan(threads, 1)?)?, setup.hash_image()?));
    }
    let mut times = vec![Vec::with_capacity(arguments.rounds); points.len()];
    for _ in 0..arguments.rounds {
        for ((network, image), times) in networks.iter_mut().zip(&mut times) {
            times.push(network.seconds(threads, image)? * 1e3);
        }
    }
    for (point, times) in points.iter_mut().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        (point.fastest_ms, point.median_ms) = (times[0], times[times.len() / 2]);
    }
    let isa = networks[0].0.plan.isa();
    let low_memory = if flags.low_memory { ", low memory" } else { "" };
    let machine = format!("{isa}, {} thread(s){low_memory}", flags.threads);
    let mut out = io::stdout().lock();
    if flags.json {
        let (isa, threads, low_memory) = (isa.to_string(), flags.threads, flags.low_memory);
        writeln!(out, "{}", serde_json::to_string(&Report { isa, threads, low_memory, points: &points })?)?;
    } else {
        print(&mut out, &points, &machine)?;
    }
    match &arguments.svg {
        Some(path) => draw(path, &points, &machine, arguments.rounds),
        None => Ok(()),
    }
}

fn print(out: &mut impl Write, points: &[Point], machine: &str) -> Result<(), Failure> {
    writeln!(
        out,
        "{:<13} {:>5} {:>10} {:>9} {:>9} {:>10} {:>9} {:>7}",
        "network", "width", "resolution", "MMACs", "Mparams", "fastest ms", "median ms", "top-1"
    )?;
    for Point { network, width, resolution, macs, params, fastest_ms, median_ms, top1 } in points {
        let (macs, params) = (*macs as f64 / 1e6, *params as f64 / 1e6);
        writeln!(
            out,
            "{network:<13} {width:>5?} {resolution:>10} {macs:>9.2} {params:>9.3} {fastest_ms:>10.3} {median_ms:>9.3} \
            {top1:>5.1} %"
        )?;
    }
    let count = |name| points.iter().filter(|point| point.network == name).count();
    let (v1, v2) = (count(Architecture::MobilenetV1), count(Architecture::MobilenetV2));
    writeln!(out, "{v1} points of mobilenet_v1, {v2} of mobilenet_v2; {machine}")?;
    Ok(())
}

/// The networks of the chart, with the colours of their narrowest and widest lines.
const HUES: [(Architecture, [[f64; 3]; 2]); 2] = [
    (Architecture::MobilenetV1, [[253.0, 174.0, 97.0], [140.0, 30.0, 0.0]]),
    (Architecture::MobilenetV2, [[116.0, 190.0, 225.0], [8.0, 40.0, 110.0]]),
];

/// Their resolutions.
const MARKERS: [(usize, Marker); 5] = [
    (224, Marker::Circle),
    (192, Marker::Square),
    (160, Marker::Diamond),
    (128, Marker::TriangleUp),
    (96, Marker::TriangleDown),
];

/// The colour of a point's line, darker as the network is wider.
fn colour(point: &Point) -> RGBColor {
    let [light, dark] = HUES[usize::from(point.network == HUES[1].0)].1;
    let share = (point.width - 0.25) / (1.4 - 0.25);
    let [red, green, blue] = [0, 1, 2].map(|i| (light[i] + share * (dark[i] - light[i])) as u8);
    RGBColor(red, green, blue)
}

/// Accuracy against time, one line a width.
fn draw(path: &Path, points: &[Point], machine: &str, rounds: usize) -> Result<(), Failure> {
    let times = range(points.iter().map(|point| point.fastest_ms.ln()), 1.0);
    let times = times.start.exp()..times.end.exp();
    let accuracies = range(points.iter().map(|point| point.top1), 2.0);
    let (width, height) = (1000, 680);
    plot::save(path, (width, height), |page| {
        let mut chart = plot::chart(
            page,
            &format!("MobileNet V1 and V2: published accuracy against time measured here ({machine})"),
            (plot::logarithmic(times), &format!("milliseconds an image, fastest of {rounds} runs, logarithmic")),
            (accuracies, "top-1 accuracy on ImageNet in percent"),
        )?;
        let (right, top) = (width as i32, height as i32 - 270);
        for ((network, _), x) in HUES.into_iter().zip([right - 390, right - 260]) {
            let of_network = points.iter().filter(|point| point.network == network).collect::<Vec<_>>();
            let entry = |line: &[&Point]| (Marker::Line, colour(line[0]), format!("width {:?}", line[0].width));
            let widths: Vec<_> = of_network.chunk_by(|a, b| a.width == b.width).map(entry).collect();
            if !widths.is_empty() {
                plot::legend(page, (x, top), network.as_str(), &widths)?;
            }
        }
        let resolutions = MARKERS.map(|(resolution, marker)| (marker, INK, format!("{resolution} pixels")));
        plot::legend(page, (right - 130, top), "resolution", &resolutions)?;
        for line in points.chunk_by(|a, b| (a.network, a.width) == (b.network, b.width)) {
            let colour = colour(&line[0]);
            let at = |point: &Point| (point.fastest_ms, point.top1);
            chart.draw_series(LineSeries::new(line.iter().map(at), colour.stroke_width(2)))?;
            for point in line {
                let marker = MARKERS.into_iter().find(|&(resolution, _)| resolution == point.resolution);
                let marker = marker.map_or(Marker::Circle, |(_, marker)| marker);
                marker.draw(chart.plotting_area(), at(point), colour.to_rgba())?;
            }
        }
        Ok(())
    })
}

fn main() -> ExitCode {
    common::main(run)
}
