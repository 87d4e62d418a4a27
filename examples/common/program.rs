//! How an example begins, answers on demand, complains and ends.

use std::fmt::Display;
use std::io::{self, BufRead, Write};
use std::process::{ExitCode, Termination};
use std::time::Instant;

use clap::Parser;
use serde::Serialize;

use super::Failure;

/// Prints `ready`, then for each line `N` of standard input calls `run` N times and prints the N wall-clock times in
/// milliseconds, with so many `digits`, on one line; to drop what it returns does not count. `what` names the runs in an
/// error.
pub fn time_on_demand<T>(
    what: &str,
    digits: usize,
    mut run: impl FnMut() -> Result<T, Failure>,
) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "ready")?;
    out.flush()?;
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|why| format!("standard input: {why}; expected a number of {what} a line"))?;
        let count: usize = line.trim().parse().map_err(|_| format!("line {line:?}: expected a number of {what}"))?;
        for i in 0..count {
            let start = Instant::now();
            let done = run()?;
            let seconds = start.elapsed().as_secs_f64();
            drop(done);
            let space = if i == 0 { "" } else { " " };
            write!(out, "{space}{:.digits$}", seconds * 1e3)?;
        }
        writeln!(out)?;
        out.flush()?;
    }
    Ok(())
}

/// Fails where a network put out what is no number.
pub fn finite(outputs: &[f32]) -> Result<(), Failure> {
    match outputs.iter().position(|output| !output.is_finite()) {
        Some(at) => Err(format!("output {at} is {}: the input or the weights are beyond f32", outputs[at]).into()),
        None => Ok(()),
    }
}

/// Room for `length` elements of what a flag or a file asks for; an error where there is none.
pub fn room<T>(length: usize) -> Result<Vec<T>, Failure> {
    let mut values = Vec::new();
    let bytes = length.saturating_mul(size_of::<T>());
    let refused = |_| format!("{bytes} bytes of memory are not to be had; ask for less or free some");
    values.try_reserve_exact(length).map_err(refused)?;
    Ok(values)
}

/// So many zeros; an error where there is no room for them.
pub fn zeros(length: usize) -> Result<Vec<f32>, Failure> {
    let mut values = room(length)?;
    values.resize(length, 0.0);
    Ok(values)
}

/// Prints `value` on a line, piece by piece: the text of many numbers takes more memory than they do.
pub fn print_json(out: impl Write, value: &impl Serialize) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(out);
    serde_json::to_writer(&mut out, value).map_err(io::Error::from)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// Prints `line` on standard error, if that can be.
pub fn complain(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Calls `run` with the arguments, and exits with what it says; 2 and a line where it failed.
pub fn main<A: Parser, T: Termination>(run: impl FnOnce(&A) -> Result<T, Failure>) -> ExitCode {
    match A::try_parse() {
        Ok(arguments) => exit(run(&arguments)),
        // Help, or what is wrong with the arguments.
        Err(said) => exit(said.print().map(|()| ExitCode::from(said.exit_code() as u8)).map_err(Failure::from)),
    }
}

/// What a shell says of a program whose output nobody reads any more: 128 and SIGPIPE.
const CLOSED: u8 = 141;

fn exit<T: Termination>(result: Result<T, Failure>) -> ExitCode {
    let failure = match result {
        Ok(done) => return done.report(),
        Err(failure) => failure,
    };
    // Every other failure of input and output is a sentence by now.
    match failure.downcast_ref::<io::Error>() {
        Some(why) if why.kind() == io::ErrorKind::BrokenPipe => return ExitCode::from(CLOSED),
        Some(why) => complain(format_args!("error: standard output: {why}")),
        None => complain(format_args!("error: {failure}")),
    }
    ExitCode::from(2)
}
