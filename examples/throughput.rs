//! Images a second: what larger batches bring, and what several plans bring that run beside each other on a thread each.
//!
//!     cargo run --release --example throughput -- --net mobilenet_v2 --threads 2 --svg throughput.svg

mod common;
#[path = "common/plot.rs"]
mod plot;
#[path = "common/streams.rs"]
mod streams;
#[path = "common/timed.rs"]
mod timed;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use common::{Failure, Flags};
use plot::{INK, Marker};
use plotters::prelude::*;
use sepconv::parallel::{Parallel, Serial};
use serde::Serialize;
use streams::Streams;
use timed::Timed;

/// Prints the images a second of networks with 1 thread, 2, and so on up to --threads, and each number of images a run:
/// of one plan whose work the threads share, and of as many plans as threads, each run by one of them.
///
/// The fastest round of each counts. Without --net and --weights: mobilenet_v1, mobilenet_v2 and xception.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    /// Images a run, 1 to 65536, separated by commas
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4, 8], value_parser = clap::value_parser!(u32).range(1..=65536))]
    batches: Vec<u32>,
    /// Rounds; the fastest of each measurement counts
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Exit with 1 where a larger batch, or one more thread, makes a smaller part of the images a second of the one before
    #[arg(long, value_name = "RATIO")]
    need: Option<f64>,
    /// Also draw images a second over images a run
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

#[derive(Serialize)]
struct Line {
    network: String,
    threads: usize,
    batch: usize,
    /// Images a second of one plan whose work the threads share.
    shared: f64,
    /// Images a second of a plan a thread.
    separate: f64,
}

/// A network on so many threads with so many images a run, and the fewest seconds so far.
struct Runner {
    batch: usize,
    images: Vec<f32>,
    plan: Timed,
    streams: Streams,
    shared: f64,
    separate: f64,
}

impl Runner {
    fn measure(&mut self, threads: &dyn Parallel) -> Result<(), Failure> {
        self.shared = self.shared.min(self.plan.seconds(threads, &self.images)?);
        self.separate = self.separate.min(self.streams.seconds(threads, &self.images)?);
        Ok(())
    }

    fn line(&self, network: String, threads: usize) -> Line {
        let batch = self.batch as f64;
        let (shared, separate) = (batch / self.shared, threads as f64 * batch / self.separate);
        Line { network, threads, batch: self.batch, shared, separate }
    }
}

fn lines(flags: &Flags, batches: &[u32], rounds: usize) -> Result<Vec<Line>, Failure> {
    let setup = flags.setup("hash")?;
    let image = setup.hash_image()?;
    let mut pools = Vec::new();
    for threads in 1..=flags.threads {
        let pool = Flags { threads, ..flags.clone() }.parallel()?;
        let mut runners = Vec::new();
        for &batch in batches {
            let batch = batch as usize;
            runners.push(Runner {
                batch,
                images: common::repeated(&image, batch)?,
                plan: Timed::new(setup.plan(&*pool, batch)?)?,
                streams: Streams::new(setup.plan(&Serial, batch)?, threads)?,
                shared: f64::INFINITY,
                separate: f64::INFINITY,
            });
        }
        pools.push((pool, runners));
    }
    for _ in 0..rounds {
        for (pool, runners) in &mut pools {
            runners.iter_mut().try_for_each(|runner| runner.measure(&**pool))?;
        }
    }
    let network = setup.network.architecture();
    let of_pool = |(pool, runners): &(Box<dyn Parallel>, Vec<Runner>)| -> Vec<Line> {
        runners.iter().map(|runner| runner.line(network.to_string(), pool.threads())).collect()
    };
    Ok(pools.iter().flat_map(of_pool).collect())
}

/// Prints the table; whether every line is as good as needed.
fn run(arguments: &Arguments) -> Result<bool, Failure> {
    let Arguments { flags, batches, rounds, need, svg } = arguments;
    if *rounds == 0 {
        return Err("--rounds 0: expected at least 1".into());
    }
    if let Some(need) = need.filter(|need| !(need.is_finite() && *need >= 0.0)) {
        return Err(format!("--need {need}: expected a ratio of 0 or more, such as 1").into());
    }
    let mut batches = batches.clone();
    batches.sort();
    batches.dedup();
    let mut table = Vec::new();
    for flags in flags.for_each_network() {
        table.push(lines(&flags, &batches, *rounds)?);
    }
    if let Some(path) = svg {
        draw(path, &table, *rounds)?;
    }
    print(io::stdout().lock(), &table, flags.json)?;
    let Some(need) = *need else { return Ok(true) };
    let mut enough = true;
    for lines in &table {
        for after in lines {
            // The next smaller batch on as many threads, and the same batch on one thread less.
            let smaller = lines.iter().rfind(|line| line.threads == after.threads && line.batch < after.batch);
            let fewer = lines.iter().rfind(|line| line.threads < after.threads && line.batch == after.batch);
            for before in [smaller, fewer].into_iter().flatten().filter(|before| after.shared < need * before.shared) {
                enough = false;
                common::complain(format_args!(
                    "{}, {} threads, batch {}: {:.2} images/s, expected at least {need} of the {:.2} with {} and {}",
                    after.network,
                    after.threads,
                    after.batch,
                    after.shared,
                    before.shared,
                    before.threads,
                    before.batch
                ));
            }
        }
    }
    Ok(enough)
}

fn print(mut out: impl Write, table: &[Vec<Line>], json: bool) -> Result<(), Failure> {
    let lines: Vec<&Line> = table.iter().flatten().collect();
    if json {
        return common::print_json(out, &lines);
    }
    writeln!(
        out,
        "{:<14} {:>7} {:>6} {:>16} {:>18}",
        "network", "threads", "batch", "images/s, shared", "images/s, separate"
    )?;
    for Line { network, threads, batch, shared, separate } in lines {
        writeln!(out, "{network:<14} {threads:>7} {batch:>6} {shared:>16.2} {separate:>18.2}")?;
    }
    Ok(())
}

/// Colours of the threads, which colour-blind readers tell apart too (Okabe and Ito).
const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(204, 121, 167)];
/// In pixels: the page's width, the height of a network's chart, and that of the legend.
const WIDTH: u32 = 760;
const CHART: u32 = 320;
const LEGEND: u32 = 90;

/// Images a second over images a run, a chart a network.
fn draw(path: &Path, table: &[Vec<Line>], rounds: usize) -> Result<(), Failure> {
    let threads = table.iter().flatten().map(|line| line.threads).max().unwrap_or(1);
    let legend = LEGEND + 20 * threads as u32;
    plot::save(path, (WIDTH, CHART * table.len() as u32 + legend), |page| {
        let (words, charts) = page.split_vertically(legend);
        let line_of = |threads: usize| {
            let words = format!("{threads} thread{}", if threads == 1 { "" } else { "s" });
            (Marker::Line, COLOURS[(threads - 1) % COLOURS.len()], words)
        };
        let entries: Vec<_> = (1..=threads).map(line_of).collect();
        plot::legend(&words, (40, 36), "on", &entries)?;
        let ways =
            [(Marker::Circle, INK, "threads share a plan".into()), (Marker::Square, INK, "a plan a thread".into())];
        plot::legend(&words, (240, 36), "how", &ways)?;
        for (page, lines) in charts.split_evenly((table.len(), 1)).iter().zip(table) {
            draw_network(page, lines, rounds)?;
        }
        Ok(())
    })
}

fn draw_network(page: &plot::Page<'_>, lines: &[Line], rounds: usize) -> Result<(), Failure> {
    let network = lines.first().map_or("", |line| &line.network);
    let batches: Vec<f64> = lines.iter().filter(|line| line.threads == 1).map(|line| line.batch as f64).collect();
    let ends = batches.first().copied().unwrap_or(1.0)..batches.last().copied().unwrap_or(1.0);
    let most = lines.iter().map(|line| line.shared.max(line.separate)).fold(0.0, f64::max);
    let mut chart = plot::chart(
        page,
        network,
        (
            plot::marked(0.8 * ends.start..1.25 * ends.end, batches),
            &format!("images a run (logarithmic), fastest of {rounds} rounds"),
        ),
        (0.0..1.1 * most, "images a second"),
    )?;
    for line in lines.chunk_by(|a, b| a.threads == b.threads) {
        let colour = COLOURS[(line[0].threads - 1) % COLOURS.len()];
        for (marker, of) in
            [(Marker::Circle, (|line: &Line| line.shared) as fn(&Line) -> f64), (Marker::Square, |line| line.separate)]
        {
            let points = line.iter().map(|line| (line.batch as f64, of(line)));
            chart.draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))?;
            for point in points {
                marker.draw(chart.plotting_area(), point, colour.to_rgba())?;
            }
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    common::main(|arguments| Ok(if run(arguments)? { ExitCode::SUCCESS } else { ExitCode::FAILURE }))
}
