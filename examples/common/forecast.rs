//! The predictions of a model as tables: for each number of cores, and layer by layer for one.

use std::collections::HashSet;
use std::io::Write;

use serde::Serialize;

use crate::common::Failure;
use crate::model::{Cut, Machine, Step};

/// Layers that are listed, and that are named as those that stop gaining first.
const LISTED: usize = 12;
const NAMED: usize = 4;
/// A layer has stopped gaining where it is so near to the fastest that any number of cores makes it.
const NEAR: f64 = 1.1;

/// What is predicted of a network.
#[derive(Serialize)]
pub struct Forecast {
    pub network: String,
    /// GB/s that one core reads, and how much more time each further core costs all that read: the s of Gunther's law.
    read_gb: f64,
    contention: f64,
    /// Microseconds of a barrier of two threads.
    barrier_us: f64,
    lines: Vec<Line>,
    /// Cores for which the layers are listed.
    at: usize,
    layers: Vec<Layer>,
}

/// So many threads on as many cores, and on this machine.
#[derive(Serialize)]
struct Line {
    threads: usize,
    ms: f64,
    speed_up: f64,
    here: Option<Here>,
}

/// So many threads on the cores that there are.
#[derive(Serialize)]
struct Here {
    cores: usize,
    predicted_ms: f64,
    measured_ms: f64,
    /// In percent of what was measured.
    error: f64,
}

/// Layers that are computed together.
#[derive(Debug, Clone, Serialize)]
struct Layer {
    layers: String,
    tasks: usize,
    /// On one core, and on many.
    ms_alone: f64,
    ms: f64,
    speed_up: f64,
    /// What it takes beyond an even share of its time on one core.
    lost_ms: f64,
    /// How much of the cores' time its tasks fill, and how much more work they are together than on one core.
    busy: f64,
    work: f64,
    /// The fewest cores that make it nearly as fast as any number does.
    gains_to: usize,
}

impl Forecast {
    /// From the plans of `cuts`, the first of which is for one thread, and the seconds `measured` with one thread, two, and
    /// so on; the layers for `at` cores.
    pub fn new(network: String, machine: &Machine, cuts: &[Cut], measured: &[f64], at: usize) -> Self {
        let alone = cuts[0].steps(machine, 1);
        let total = |cut: &Cut, cores: usize| {
            let steps = cut.steps(machine, cores);
            (machine.entry(cores) + steps.iter().map(|step| step.seconds).sum::<f64>()) * 1e3
        };
        let ms_alone = total(&cuts[0], 1);
        let line = |cut: &Cut| {
            let threads = cut.plan.threads();
            let ms = total(cut, threads);
            let here = measured.get(threads - 1).map(|seconds| {
                let cores = threads.min(machine.cores());
                let (predicted_ms, measured_ms) = (total(cut, cores), seconds * 1e3);
                Here { cores, predicted_ms, measured_ms, error: (predicted_ms / measured_ms - 1.0) * 100.0 }
            });
            Line { threads, ms, speed_up: ms_alone / ms, here }
        };
        let lines = cuts.iter().map(line).collect();
        let by_cores: Vec<(usize, Vec<Layer>)> = cuts
            .iter()
            .map(|cut| {
                (cut.plan.threads(), layers(&alone, &cut.steps(machine, cut.plan.threads()), cut.plan.threads()))
            })
            .collect();
        let mut listed =
            by_cores.iter().find(|(cores, _)| *cores == at).map_or(Vec::new(), |(_, layers)| layers.clone());
        for layer in &mut listed {
            let same = |(cores, layers): &(usize, Vec<Layer>)| {
                let same = layers.iter().find(|other| other.layers == layer.layers);
                same.map(|same| (*cores, same.ms))
            };
            let times: Vec<(usize, f64)> = by_cores.iter().filter_map(same).collect();
            let fastest = times.iter().map(|&(_, ms)| ms).fold(f64::INFINITY, f64::min);
            layer.gains_to = times.iter().find(|(_, ms)| *ms <= NEAR * fastest).map_or(1, |&(cores, _)| cores);
        }
        listed.sort_by(|a, b| b.lost_ms.total_cmp(&a.lost_ms));
        let (read_gb, contention, barrier_us) = (machine.read() / 1e9, machine.contention(), machine.barrier(2) * 1e6);
        Forecast { network, read_gb, contention, barrier_us, lines, at, layers: listed }
    }

    /// Of each number of threads for which this machine has a core each, how far the prediction is off, in percent.
    pub fn errors(&self) -> impl Iterator<Item = (usize, f64)> {
        let checked = |line: &Line| line.here.as_ref().map(|here| (here.cores, line.threads, here.error));
        let lines = self.lines.iter().filter_map(checked);
        lines.filter(|(cores, threads, _)| cores == threads).map(|(_, threads, error)| (threads, error))
    }

    pub fn print(&self, out: &mut impl Write) -> Result<(), Failure> {
        let Forecast { network, read_gb, contention, barrier_us, at, .. } = self;
        writeln!(
            out,
            "{network}: one core reads {read_gb:.1} GB/s, each further one slows all down by {:.1} %; a barrier of two \
             takes {barrier_us:.2} us",
            contention * 100.0
        )?;
        writeln!(
            out,
            "{:>7} {:>9} {:>8}   {:>10} {:>9} {:>9} {:>7}",
            "threads", "ms", "speed-up", "cores here", "predicted", "measured", "error"
        )?;
        for Line { threads, ms, speed_up, here } in &self.lines {
            write!(out, "{threads:>7} {ms:>9.3} {speed_up:>8.2}")?;
            match here {
                Some(Here { cores, predicted_ms, measured_ms, error }) => {
                    writeln!(out, "   {cores:>10} {predicted_ms:>9.3} {measured_ms:>9.3} {error:>+6.1}%")?;
                }
                None => writeln!(out)?,
            }
        }
        writeln!(out, "what {at} cores lose most on, milliseconds:")?;
        writeln!(
            out,
            "{:>7} {:>8} {:>8} {:>8} {:>8} {:>6} {:>6} {:>8}  layers",
            "tasks", "one", "many", "lost", "speed-up", "busy", "work", "gains to"
        )?;
        for Layer { layers, tasks, ms_alone, ms, speed_up, lost_ms, busy, work, gains_to } in
            self.layers.iter().take(LISTED)
        {
            writeln!(
                out,
                "{tasks:>7} {ms_alone:>8.3} {ms:>8.3} {lost_ms:>8.3} {speed_up:>8.2} {busy:>6.2} {work:>6.2} \
                 {gains_to:>8}  {layers}"
            )?;
        }
        let mut first: Vec<&Layer> = self.layers.iter().collect();
        first.sort_by_key(|layer| layer.gains_to);
        let named = first.iter().take(NAMED).map(|layer| format!("{} ({} cores)", layer.layers, layer.gains_to));
        writeln!(out, "first to stop gaining: {}", named.collect::<Vec<_>>().join("; "))?;
        Ok(())
    }
}

/// The steps of one plan beside those of another on so many cores: the fewest that have the same layers together.
fn layers(alone: &[Step], many: &[Step], cores: usize) -> Vec<Layer> {
    let (mut found, mut rest, mut others) = (Vec::new(), alone, many);
    while !(rest.is_empty() && others.is_empty()) {
        let (mut taken, mut taken_others) = (0, 0);
        let (mut names, mut names_others) = (HashSet::new(), HashSet::new());
        loop {
            let behind = taken == 0 || (taken_others > 0 && names.len() <= names_others.len());
            match (rest.get(taken), others.get(taken_others)) {
                (Some(step), other) if behind || other.is_none() => {
                    names.extend(&step.layers);
                    taken += 1;
                }
                (_, Some(step)) => {
                    names_others.extend(&step.layers);
                    taken_others += 1;
                }
                _ => break,
            }
            if names == names_others && taken > 0 && taken_others > 0 {
                break;
            }
        }
        let (one, together) = (&rest[..taken], &others[..taken_others]);
        let seconds = |steps: &[Step]| steps.iter().map(|step| step.seconds).sum::<f64>();
        let (ms_alone, ms) = (seconds(one) * 1e3, seconds(together) * 1e3);
        let work = together.iter().map(|step| step.busy).sum::<f64>() * 1e3;
        let names: Vec<&str> = together.iter().flat_map(|step| &step.layers).map(String::as_str).collect();
        found.push(Layer {
            layers: if names.is_empty() { "copy".into() } else { names.join(" + ") },
            tasks: together.iter().map(|step| step.tasks).max().unwrap_or(0),
            ms_alone,
            ms,
            speed_up: ms_alone / ms,
            lost_ms: ms - ms_alone / cores as f64,
            busy: work / (ms * cores as f64),
            work: work / ms_alone,
            gains_to: cores,
        });
        (rest, others) = (&rest[taken..], &others[taken_others..]);
    }
    found
}
