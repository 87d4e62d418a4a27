//! Every network at its published widths: what it costs on paper, how accurate it is, and how fast it runs here on each
//! instruction set.
//!
//!     cargo run --release --example family -- --svg family.svg

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
use published::Point;
use sepconv::Isa;
use sepconv::models::{Architecture, Config, Flavor};
use sepconv::parallel::Parallel;
use serde::Serialize;
use timed::Timed;

/// Times every network at every published width, at its paper's resolution, on each ISA of this machine with 1 thread, 2,
/// and so on up to --threads, beside parameters, multiply-adds and the published accuracy.
///
/// --net, --width, --groups, --resolution, --flavor and --isa choose among them.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    /// Rounds over the ISAs and threads of a network; the fastest run of each counts
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// One round, of the narrowest of each network in each flavor
    #[arg(long)]
    quick: bool,
    /// Also draw accuracy against the fastest run with one thread on the best ISA
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// A network with its costs.
#[derive(Serialize)]
struct Row {
    name: String,
    #[serde(serialize_with = "common::as_text")]
    network: Architecture,
    #[serde(skip)]
    flavor: Flavor,
    width: f64,
    groups: Option<usize>,
    params: u64,
    macs: u64,
    /// In percent; of those that were trained on ImageNet.
    top1: Option<f64>,
    measured: Vec<Measured>,
}

/// The fastest run of a network.
#[derive(Serialize)]
struct Measured {
    isa: &'static str,
    threads: usize,
    ms: f64,
    gflops: f64,
}

/// The published accuracies of the networks that the flags choose, each with its flags; networks without one have the
/// paper's configuration.
fn chosen(flags: &Flags) -> Result<Vec<(Flags, Option<f64>)>, Failure> {
    // The resolutions are another example's subject.
    let largest = |point: &Point| flags.resolution.is_some() || point.resolution == point.network.defaults().1;
    let points = published::all()?;
    let without = Architecture::ALL.into_iter().filter(|&network| {
        flags.net.is_none_or(|net| net == network) && points.iter().all(|point| point.network != network)
    });
    let without: Vec<_> = without.map(|network| (Flags { net: Some(network), ..flags.clone() }, None)).collect();
    let chosen = match published::chosen(flags, largest) {
        // The one that the flags name has none.
        Err(_) if flags.net.is_some() && !without.is_empty() => Vec::new(),
        chosen => chosen?,
    };
    let chosen = chosen.into_iter().map(|point| (point.flags(flags, Some(point.flavor)), Some(point.top1)));
    // Flags that choose among the others need not fit these.
    let fits = |(own, _): &(Flags, Option<f64>)| flags.net.is_some() || own.setup("hash").is_ok();
    Ok(chosen.chain(without.into_iter().filter(fits)).collect())
}

/// The narrowest of each network in each flavor.
fn narrowest(networks: Vec<(Flags, Option<f64>)>) -> Vec<(Flags, Option<f64>)> {
    let mut kept: Vec<(Flags, Option<f64>)> = Vec::new();
    for (flags, top1) in networks {
        match kept.iter_mut().find(|(other, _)| (other.net, other.flavor) == (flags.net, flags.flavor)) {
            Some(same) if flags.width < same.0.width => *same = (flags, top1),
            Some(_) => (),
            None => kept.push((flags, top1)),
        }
    }
    kept
}

/// Times the network of `flags` on every one of `isas` with each of `pools`, in turn.
fn row(
    flags: &Flags,
    top1: Option<f64>,
    isas: &[Isa],
    pools: &[Box<dyn Parallel>],
    rounds: usize,
) -> Result<Row, Failure> {
    let mut runs = Vec::new();
    for &isa in isas {
        let setup = Flags { isa: Some(isa), ..flags.clone() }.setup("hash")?;
        for pool in pools {
            runs.push((isa, pool, Timed::new(setup.plan(&**pool, 1)?)?, f64::INFINITY));
        }
    }
    let setup = flags.setup("hash")?;
    let image = setup.hash_image()?;
    for _ in 0..rounds {
        for (_, pool, plan, fastest) in &mut runs {
            *fastest = fastest.min(plan.seconds(&***pool, &image)?);
        }
    }
    let (network, graph) = (setup.network.architecture(), setup.network.graph());
    let (macs, defaults) = (graph.macs(), Config::of(network));
    let measured = runs.iter().map(|(isa, pool, _, seconds)| Measured {
        isa: isa.as_str(),
        threads: pool.threads(),
        ms: seconds * 1e3,
        gflops: 2.0 * macs as f64 / seconds / 1e9,
    });
    Ok(Row {
        name: setup.network.name().into(),
        network,
        flavor: flags.flavor.unwrap_or(defaults.flavor),
        width: flags.width.unwrap_or(defaults.width),
        groups: flags.groups,
        params: graph.params(),
        macs,
        top1,
        measured: measured.collect(),
    })
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let &Arguments { ref flags, rounds, quick, .. } = arguments;
    if rounds == 0 {
        return Err("--rounds 0: expected at least 1".into());
    }
    let mut networks = chosen(flags)?;
    if quick {
        networks = narrowest(networks);
    }
    let isas = flags.isa.map_or_else(Isa::supported, |isa| vec![isa]);
    let pools = (1..=flags.threads.max(2)).map(|threads| Flags { threads, ..flags.clone() }.parallel());
    let pools = pools.collect::<Result<Vec<_>, _>>()?;
    let rounds = if quick { 1 } else { rounds };
    let rows = networks.iter().map(|(flags, top1)| row(flags, *top1, &isas, &pools, rounds));
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    let out = io::stdout().lock();
    if flags.json {
        common::print_json(out, &rows)?;
    } else {
        print(out, &rows, pools.len())?;
    }
    match &arguments.svg {
        Some(path) => draw(path, &rows, rounds),
        None => Ok(()),
    }
}

/// One line a network and ISA.
fn print(mut out: impl Write, rows: &[Row], pools: usize) -> Result<(), Failure> {
    write!(out, "{:<32} {:>8} {:>9} {:>7}  {:<8}", "network", "Mparams", "MMACs", "top-1", "ISA")?;
    for threads in 1..=pools {
        let of = format!("{threads} thread{}", if threads == 1 { "" } else { "s" });
        write!(out, " {:>13} {:>8}", format!("{of}, ms"), "GFLOP/s")?;
    }
    writeln!(out)?;
    for Row { name, params, macs, top1, measured, .. } in rows {
        let top1 = top1.map_or_else(String::new, |top1| format!("{top1:.1} %"));
        for line in measured.chunk_by(|a, b| a.isa == b.isa) {
            let (params, macs) = (*params as f64 / 1e6, *macs as f64 / 1e6);
            write!(out, "{name:<32} {params:>8.3} {macs:>9.2} {top1:>7}  {:<8}", line[0].isa)?;
            for Measured { ms, gflops, .. } in line {
                write!(out, " {ms:>13.3} {gflops:>8.1}")?;
            }
            writeln!(out)?;
        }
    }
    Ok(())
}

/// Colours of the lines, which colour-blind readers tell apart too (Okabe and Ito), and an ink for the rest.
const COLOURS: [RGBColor; 9] = [
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 0, 0),
    RGBColor(0, 158, 115),
    RGBColor(150, 150, 150),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(190, 170, 20),
];

/// Groups of ShuffleNet V1.
const MARKERS: [(usize, Marker); 5] = [
    (1, Marker::Circle),
    (2, Marker::Square),
    (3, Marker::Diamond),
    (4, Marker::TriangleUp),
    (8, Marker::TriangleDown),
];

/// Accuracy against time, one line a network and flavor, of ShuffleNet V1 one for each number of groups.
fn draw(path: &Path, rows: &[Row], rounds: usize) -> Result<(), Failure> {
    let mut points: Vec<(&Row, f64, f64)> = Vec::new();
    let mut isa = "";
    for row in rows {
        let best = row.measured.iter().rfind(|measured| measured.threads == 1);
        if let (Some(top1), Some(best)) = (row.top1, best) {
            isa = best.isa;
            points.push((row, best.ms, top1));
        }
    }
    if points.is_empty() {
        return Err(format!("--svg {}: no accuracy is published of these networks", path.display()).into());
    }
    points.sort_by_key(|(row, ..)| (row.network as usize, row.flavor as usize, row.groups));
    let of_line = |row: &Row| (row.network, row.flavor);
    let kinds: Vec<_> = points.chunk_by(|a, b| of_line(a.0) == of_line(b.0)).map(|kind| of_line(kind[0].0)).collect();
    let colour = |row: &Row| {
        let at = kinds.iter().position(|&kind| kind == of_line(row)).unwrap_or(0);
        COLOURS[at % COLOURS.len()]
    };
    let marker = |row: &Row| {
        let known = MARKERS.into_iter().find(|&(groups, _)| Some(groups) == row.groups);
        known.map_or(Marker::Circle, |(_, marker)| marker)
    };
    let times = range(points.iter().map(|(_, ms, _)| ms.ln()), 1.0);
    let times = times.start.exp()..times.end.exp();
    let accuracies = range(points.iter().map(|&(.., top1)| top1), 2.0);
    let (width, height) = (1000, 680);
    plot::save(path, (width, height), |page| {
        let mut chart = plot::chart(
            page,
            &format!("The networks: published accuracy against time measured here ({isa}, 1 thread)"),
            (plot::logarithmic(times), &format!("milliseconds an image, fastest of {rounds} runs, logarithmic")),
            (accuracies, "top-1 accuracy on ImageNet in percent"),
        )?;
        let (right, bottom) = (width as i32, height as i32 - 90);
        let entries: Vec<_> = kinds
            .iter()
            .zip(COLOURS.into_iter().cycle())
            .map(|((network, flavor), colour)| (Marker::Line, colour, format!("{network} {flavor}")))
            .collect();
        plot::legend(page, (right - 200, bottom - 20 * entries.len() as i32), "network, flavor", &entries)?;
        if points.iter().any(|(row, ..)| row.groups.is_some()) {
            let groups = MARKERS.map(|(groups, marker)| (marker, INK, groups.to_string()));
            plot::legend(page, (right - 340, bottom - 20 * groups.len() as i32), "groups", &groups)?;
        }
        for line in points.chunk_by(|a, b| (of_line(a.0), a.0.groups) == (of_line(b.0), b.0.groups)) {
            let colour = colour(line[0].0);
            let at = |&(_, ms, top1): &(&Row, f64, f64)| (ms, top1);
            chart.draw_series(LineSeries::new(line.iter().map(at), colour.stroke_width(2)))?;
            for point in line {
                marker(point.0).draw(chart.plotting_area(), at(point), colour.to_rgba())?;
            }
        }
        Ok(())
    })
}

fn main() -> ExitCode {
    common::main(run)
}
