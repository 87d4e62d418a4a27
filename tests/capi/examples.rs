//! What the C examples compare themselves with, computed in Rust. `just capi` builds and runs them.

use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use sepconv::models::{Architecture, Config, Network};
use sepconv::ops::{Depthwise, DepthwiseParams, Epilogue, Pointwise, PointwiseParams};
use sepconv::parallel::Serial;
use sepconv::weights::{HashWeights, hash_of_bits};
use sepconv::{Clamp, Isa, Options, View, ViewMut, Window};

use crate::common::numbers;

/// The number that `#define NAME` of an example has.
fn constant(example: &str, name: &str) -> u64 {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/c").join(example);
    let text = fs::read_to_string(path).unwrap();
    let value = text.split_once(&format!("#define {name} ")).unwrap().1.lines().next().unwrap();
    match value.strip_prefix("UINT64_C(0x").and_then(|value| value.strip_suffix(')')) {
        Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16).unwrap(),
        None => value.parse().unwrap(),
    }
}

fn expect(example: &str, name: &str, computed: u64) {
    assert_eq!(format!("{:016x}", constant(example, name)), format!("{computed:016x}"), "{name} of {example}");
}

#[test]
fn digits_have_the_logits_that_their_example_expects() {
    let data = |name: &str| fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("data/digits").join(name)).unwrap();
    let (weights, digits) = (data("digits.safetensors"), data("held_out.safetensors"));
    let (network, weights) = sepconv::models::load(&weights).unwrap();
    let digits = SafeTensors::deserialize(&digits).unwrap();
    let labels = digits.tensor("labels").unwrap().data();
    let options = Options { batch: labels.len(), ..Options::default() };
    let plan = network.plan(&*weights, &Serial, options).unwrap();
    let images: Vec<f32> =
        digits.tensor("images").unwrap().data().iter().map(|&level| f32::from(level) / 255.0).collect();
    let mut logits = vec![0.0; plan.output_len()];
    plan.run(&Serial, &mut plan.workspace().unwrap(), &images, &mut logits).unwrap();
    expect("digits.c", "EXPECTED_HASH", hash_of_bits(&logits));
    let best = |logits: &[f32]| (0..10).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
    let right =
        logits.chunks_exact(10).zip(labels).filter(|(logits, label)| best(logits) == usize::from(**label)).count();
    expect("digits.c", "EXPECTED_RIGHT", right as u64);
}

#[test]
fn threads_have_the_outputs_that_their_example_expects() {
    let (height, width, channels, outputs) = (29, 23, 72, 200);
    let input = numbers(height * width * channels, 1);
    let (weights, bias) = (numbers(outputs * channels, 3), numbers(outputs, 4));
    let kernels = Isa::selected().unwrap().kernels().unwrap();
    let input = View::tight(&input, height, width, channels).unwrap();
    let run = |channels: usize, run: &dyn Fn(Epilogue<'_>, ViewMut<'_>)| {
        let residual = numbers(height * width * channels, 2);
        let mut output = vec![0.0; residual.len()];
        let epilogue = Epilogue::add(View::tight(&residual, height, width, channels).unwrap(), Clamp::RELU6);
        run(epilogue, ViewMut::tight(&mut output, height, width, channels).unwrap());
        hash_of_bits(&output)
    };

    let params = DepthwiseParams::new(channels, Window::square(3).symmetric());
    let layer = Depthwise::new(kernels, params, &weights[..channels * 9], &bias[..channels]).unwrap();
    let hash = run(channels, &|epilogue, output| layer.run(input, epilogue, output).unwrap());
    expect("threads.c", "EXPECTED_DEPTHWISE", hash);

    // The example has a row an input.
    let turned: Vec<f32> = (0..outputs * channels).map(|at| weights[at % channels * outputs + at / channels]).collect();
    let params = PointwiseParams::new(channels, outputs);
    let layer = Pointwise::new(kernels, params, height * width, &turned, &bias).unwrap();
    let hash = run(outputs, &|epilogue, output| layer.run(input, epilogue, output).unwrap());
    expect("threads.c", "EXPECTED_POINTWISE", hash);

    let network = Network::new(Architecture::Digits, &Config::of(Architecture::Digits)).unwrap();
    let plan = network.plan(&HashWeights, &Serial, Options::default()).unwrap();
    let mut logits = vec![0.0; 10];
    plan.run(&Serial, &mut plan.workspace().unwrap(), &numbers(28 * 28, 5), &mut logits).unwrap();
    expect("threads.c", "EXPECTED_NETWORK", hash_of_bits(&logits));
}
