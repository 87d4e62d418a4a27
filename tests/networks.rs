//! Whole networks: against logits and layers from other people's code, against the reference, and against committed
//! hashes.

mod common;

use std::collections::BTreeMap;

use common::{every_isa, exact};
use sepconv::net::{Activation, Config, Flavor, Name, Network, Op};
#[cfg(feature = "rayon")]
use sepconv::parallel::{Parallel, Rayon};
use sepconv::reference::{self, Window};
use sepconv::weights::{Folded, HashWeights, fold, hash_of_bits};
use sepconv::{Clamp, Fusion, Isa, Options, Plan};

/// The rows of a CSV file with a header, as maps from column to value.
fn rows(csv: &'static str) -> Vec<BTreeMap<&'static str, &'static str>> {
    let mut lines = csv.lines();
    let header: Vec<_> = lines.next().expect("a header").split(',').collect();
    lines.map(|line| header.iter().copied().zip(line.split(',')).collect()).collect()
}

/// Float64 logits and layers of each network with the weights and the image of `HashWeights`, computed with PyTorch and
/// Keras models.
fn golden() -> Vec<BTreeMap<&'static str, &'static str>> {
    rows(include_str!("data/golden.csv"))
}

/// The network that a row of `golden.csv` names: `mobilenet_v1_0.5_160_tf`.
fn network(row: &str) -> Network {
    if row == "mobilenet_mnist_0.5" {
        return Network::new(Name::Digits, &Config::of(Name::Digits)).unwrap();
    }
    let parts: Vec<_> = row.split('_').collect();
    let (name, width, resolution, flavor) = match parts[..] {
        ["xception", flavor, resolution] => (Name::Xception, "1.0", resolution, flavor),
        ["mobilenet", version, width, resolution, flavor] => {
            (format!("mobilenet_{version}").parse().unwrap(), width, resolution, flavor)
        }
        _ => panic!("{row} names no network"),
    };
    let (width, resolution) = (width.parse().unwrap(), resolution.parse().unwrap());
    Network::new(name, &Config { width, resolution, flavor: flavor.parse().unwrap(), ..Config::of(name) }).unwrap()
}

fn plan(network: Network, options: Options) -> Plan {
    Plan::new(network, &HashWeights, options).unwrap()
}

fn image(network: &Network) -> Vec<f32> {
    let shape = network.input();
    HashWeights::image(shape.height, shape.width, shape.channels).unwrap()
}

fn logits(plan: &Plan, input: &[f32]) -> Vec<f32> {
    let mut output = vec![0.0; plan.output_len()];
    plan.run(&mut plan.workspace().unwrap(), input, &mut output).unwrap();
    output
}

#[cfg(feature = "rayon")]
fn logits_on(plan: &Plan, threads: &dyn Parallel, input: &[f32]) -> Vec<f32> {
    let mut output = vec![0.0; plan.output_len()];
    plan.run_on(threads, &mut plan.workspace().unwrap(), input, &mut output).unwrap();
    output
}

#[test]
fn logits_are_those_of_other_peoples_code() {
    for row in golden() {
        let network = network(row["network"]);
        let input = image(&network);
        for kernels in every_isa() {
            let y = logits(&plan(network.clone(), Options { isa: Some(kernels.isa()), ..Options::default() }), &input);
            let number = |column: &str| row[column].parse::<f64>().unwrap();
            let context = format!("{} on {}", row["network"], kernels.isa());
            assert_eq!(y.len().to_string(), row["n_out"], "{context}");
            let argmax = (0..y.len()).fold(0, |best, i| if y[i] > y[best] { i } else { best });
            assert_eq!(argmax.to_string(), row["argmax"], "{context}");
            let tolerance = 5e-6 * number("max_abs");
            for (i, &y) in y.iter().enumerate().take(8) {
                let (got, want) = (f64::from(y), number(&format!("y{i}")));
                assert!((got - want).abs() <= tolerance, "{context}: logit {i} is {got}, expected {want}");
            }
            let l2 = y.iter().map(|&y| f64::from(y).powi(2)).sum::<f64>().sqrt();
            assert!((l2 - number("l2")).abs() <= 5e-6 * number("l2"), "{context}: L2 {l2}");
            let sum: f64 = y.iter().copied().map(f64::from).sum();
            assert!((sum - number("sum")).abs() <= tolerance * (y.len() as f64).sqrt(), "{context}: sum {sum}");
        }
    }
}

#[test]
fn every_layer_is_that_of_other_peoples_code() {
    let layers = rows(include_str!("data/golden_layers.csv"));
    let mut compared = 0;
    for name in layers.iter().map(|row| row["network"]).collect::<std::collections::BTreeSet<_>>() {
        let network = network(name);
        let expected: BTreeMap<_, _> =
            layers.iter().filter(|row| row["network"] == name).map(|row| (row["layer"], row)).collect();
        let plan = plan(network.clone(), Options { observed: true, ..Options::default() });
        let mut output = vec![0.0; plan.output_len()];
        plan.run_observed(&mut plan.workspace().unwrap(), &image(&network), &mut output, &mut |index, views| {
            let layer = &network.layers()[index];
            let Some(row) = expected.get(layer.name.as_str()) else { return };
            let want: f64 = row["l2"].parse().unwrap();
            let shape = views[0].layout();
            let size = ["c", "h", "w"].map(|column| row[column].parse::<usize>().unwrap());
            assert_eq!([shape.channels, shape.height, shape.width], size, "{name}: first difference at {}", layer.name);
            let pixels = (0..shape.height).flat_map(|y| (0..shape.width).map(move |x| (y, x)));
            let squares = pixels.flat_map(|(y, x)| views[0].pixel(y, x)).map(|&v| f64::from(v).powi(2)).sum::<f64>();
            let l2 = squares.sqrt();
            assert!(
                (l2 - want).abs() <= 2e-5 * want,
                "{name}: first difference at {}: L2 {l2}, expected {want}",
                layer.name
            );
            compared += 1;
        })
        .unwrap();
    }
    assert_eq!(compared, layers.len(), "layers compared");
}

/// The network by the reference alone.
fn by_reference(network: &Network, folded: &[Option<Folded>], input: &[f32]) -> Vec<f32> {
    let mut tensors = vec![input.to_vec()];
    for (layer, folded) in network.layers().iter().zip(folded) {
        let (x, shape) = (&tensors[layer.input], network.shape(layer.input).unwrap());
        let image = (shape.height, shape.width, shape.channels);
        let residual = layer.residual.map(|tensor| &tensors[tensor][..]);
        let clamp = match layer.activation {
            Activation::Linear => Clamp::NONE,
            Activation::Relu => Clamp::RELU,
            Activation::Relu6 => Clamp::RELU6,
        };
        let weights = || folded.as_ref().map(|folded| (&folded.weights[..], &folded.bias[..])).unwrap();
        let outputs = layer.output.channels;
        let y = match layer.op {
            Op::Conv { window, stride, padding } => {
                let window = Window { size: (window, window), stride, padding };
                reference::conv(x, image, window, outputs, weights(), residual, clamp)
            }
            Op::Depthwise { stride, padding } => {
                let window = Window { size: (3, 3), stride, padding };
                reference::depthwise(x, image, window, layer.pre_relu.then_some(0.0), weights(), residual, clamp)
            }
            Op::Pointwise { stride } => {
                let window = Window { size: (1, 1), stride, padding: Default::default() };
                reference::conv(x, image, window, outputs, weights(), residual, clamp)
            }
            Op::FullyConnected => {
                let (weights, bias) = weights();
                reference::pointwise(x, (1, shape.channels, outputs), weights, bias, residual, clamp)
            }
            Op::MaxPool { padding } => reference::max_pool(x, image, Window { size: (3, 3), stride: 2, padding }),
            Op::Add => reference::add(x, residual.unwrap(), clamp),
            Op::GlobalAveragePool => reference::global_average_pool(x, shape.channels),
        };
        tensors.push(y);
    }
    tensors.pop().unwrap()
}

/// Small enough for the reference and for emulators, odd enough for every border.
fn small_networks() -> Vec<Network> {
    let small = |name, width, resolution, flavor| {
        Network::new(name, &Config { width, resolution, flavor, classes: Some(11), ..Config::of(name) }).unwrap()
    };
    vec![
        small(Name::Digits, 0.25, 28, Flavor::Torch),
        small(Name::MobilenetV1, 0.25, 48, Flavor::Torch),
        small(Name::MobilenetV1, 0.25, 51, Flavor::Slim),
        small(Name::MobilenetV1, 0.35, 64, Flavor::Keras),
        small(Name::MobilenetV2, 0.35, 47, Flavor::Torch),
        small(Name::MobilenetV2, 0.25, 64, Flavor::Keras),
        small(Name::Xception, 0.125, 75, Flavor::Keras),
        small(Name::Xception, 0.125, 48, Flavor::Timm),
    ]
}

#[test]
fn networks_have_the_references_bits() {
    for network in small_networks() {
        let folded = fold(&network, &HashWeights).unwrap();
        let input = image(&network);
        let want = by_reference(&network, &folded, &input);
        for kernels in every_isa().into_iter().filter(|kernels| exact(kernels.isa())) {
            let options = Options { isa: Some(kernels.isa()), ..Options::default() };
            let got = logits(&Plan::from_folded(network.clone(), &folded, options).unwrap(), &input);
            common::assert_same(&got, &want, None, &format!("{} on {}", network.name(), kernels.isa()));
        }
    }
}

#[cfg(feature = "rayon")]
#[test]
fn threads_and_batch_change_no_bit() {
    for network in small_networks() {
        let input = image(&network);
        let reversed: Vec<f32> = input.iter().rev().copied().collect();
        let both = [&input[..], &reversed, &input, &reversed].concat();
        for kernels in every_isa() {
            let isa = Some(kernels.isa());
            let options = |batch, threads| Options { isa, batch, threads, ..Options::default() };
            let one = plan(network.clone(), options(1, 1));
            let (first, second) = (logits(&one, &input), logits(&one, &reversed));
            let four = [&first[..], &second, &first, &second].concat();
            for threads in 1..=4 {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let context = format!("{} on {}, {threads} threads", network.name(), kernels.isa());
                let got = logits_on(&plan(network.clone(), options(1, threads)), &Rayon::new(&pool), &input);
                common::assert_same(&got, &first, None, &context);
                let fusions = [
                    (Fusion::Auto, false),
                    (Fusion::Auto, true),
                    (Fusion::Strips(2), false),
                    (Fusion::Strips(3), true),
                ];
                for (fusion, low_memory) in fusions {
                    let options = Options { fusion, low_memory, ..options(4, threads) };
                    let got = logits_on(&plan(network.clone(), options), &Rayon::new(&pool), &both);
                    common::assert_same(&got, &four, None, &format!("{context}, batch 4, {fusion:?}, {low_memory}"));
                }
            }
        }
    }
}

#[test]
fn fusion_and_low_memory_change_no_bit() {
    let paper = Network::new(Name::MobilenetV2, &Config::of(Name::MobilenetV2)).unwrap();
    // Without optimisation the portable tier takes minutes for the whole network.
    let paper = (!cfg!(debug_assertions)).then_some(paper);
    for network in small_networks().into_iter().chain(paper) {
        let input = image(&network);
        for kernels in every_isa() {
            let options = Options { isa: Some(kernels.isa()), fusion: Fusion::Off, ..Options::default() };
            let want = logits(&plan(network.clone(), options), &input);
            let fusions = [Fusion::Auto, Fusion::Strips(0), Fusion::Strips(2), Fusion::Strips(3), Fusion::Strips(1000)];
            for (fusion, low_memory) in fusions.into_iter().flat_map(|fusion| [(fusion, false), (fusion, true)]) {
                let got = logits(&plan(network.clone(), Options { fusion, low_memory, ..options }), &input);
                let context = format!("{} on {}: {fusion:?}, {low_memory}", network.name(), kernels.isa());
                common::assert_same(&got, &want, None, &context);
            }
            let observed = plan(network.clone(), Options { observed: true, ..options });
            let context = format!("{} on {}: observed", network.name(), kernels.isa());
            common::assert_same(&logits(&observed, &input), &want, None, &context);
        }
    }
}

/// MobileNet V2 at 224 pixels, whose layers one by one have a peak of 6.02 MB.
#[test]
fn activations_stay_small() {
    let paper = Network::new(Name::MobilenetV2, &Config::of(Name::MobilenetV2)).unwrap();
    for isa in every_isa().iter().map(|kernels| kernels.isa()) {
        let peak = |fusion, low_memory| {
            let options = Options { isa: Some(isa), fusion, low_memory, ..Options::default() };
            plan(paper.clone(), options).peak_bytes()
        };
        assert_eq!(peak(Fusion::Off, false), 6_021_120, "{isa}: layer by layer");
        assert!(peak(Fusion::Auto, false) <= 1_900_000, "{isa}: {}", peak(Fusion::Auto, false));
        assert!(peak(Fusion::Auto, true) <= 1_500_000, "{isa}, low_memory: {}", peak(Fusion::Auto, true));
    }
    // Xception's two largest max poolings are computed with the blocks before them.
    let xception = Network::new(Name::Xception, &Config { width: 0.25, ..Config::of(Name::Xception) }).unwrap();
    let pooled = plan(xception, Options { fusion: Fusion::Strips(2), ..Options::default() });
    let ends = |line: &sepconv::Description<'_>| line.kernels.last() == Some(&"max_pool") && line.kernels.len() > 1;
    assert!(pooled.describe().filter(ends).count() >= 2);
}

#[test]
fn a_backbone_gives_the_features() {
    for network in small_networks() {
        let input = image(&network);
        let observed = plan(network.clone(), Options { observed: true, ..Options::default() });
        let pooling = network.layers().iter().position(|layer| layer.op == Op::GlobalAveragePool).unwrap();
        let mut want = Vec::new();
        let mut output = vec![0.0; observed.output_len()];
        observed
            .run_observed(&mut observed.workspace().unwrap(), &input, &mut output, &mut |layer, views| {
                if layer + 1 == pooling {
                    let shape = views[0].layout();
                    let pixels = (0..shape.height).flat_map(|y| (0..shape.width).map(move |x| (y, x)));
                    want.extend(pixels.flat_map(|(y, x)| views[0].pixel(y, x)).copied());
                }
            })
            .unwrap();
        for fusion in [Fusion::Auto, Fusion::Strips(2)] {
            let options = Options { fusion, ..Options::default() };
            let features = logits(&plan(network.clone().backbone(), options), &input);
            common::assert_same(&features, &want, None, &format!("{}, {fusion:?}", network.name()));
        }
    }
}

/// The same bits on every ISA, thread count and emulator: `tests/data/bits.csv`, network and hash of its logits. A line
/// is printed for each that differs, so that the file can be made anew when a network is added.
#[test]
fn bits_are_those_of_the_committed_hashes() {
    let committed: BTreeMap<_, _> =
        rows(include_str!("data/bits.csv")).into_iter().map(|row| (row["network"], row["hash"])).collect();
    let mut wrong = Vec::new();
    let mut check = |name: &str, network: &Network| {
        for isa in every_isa().iter().map(|kernels| kernels.isa()).filter(|&isa| exact(isa)) {
            let got = logits(&plan(network.clone(), Options { isa: Some(isa), ..Options::default() }), &image(network));
            let hash = format!("{:016x}", hash_of_bits(&got));
            if committed.get(name) != Some(&hash.as_str()) {
                println!("{name},{hash} on {isa}");
                wrong.push(format!("{name} on {isa}"));
            }
        }
    };
    for row in golden() {
        check(row["network"], &network(row["network"]));
    }
    for network in small_networks() {
        check(network.name(), &network);
    }
    assert!(wrong.is_empty(), "other bits than tests/data/bits.csv: {wrong:?}");
}

/// Width, resolution, multiply-accumulates and parameters with 1000 classes: of TF-slim's READMEs, with their slips
/// mended (they leave biases and normalisation out of the parameters, and print 317 M for V1 0.75 at 224).
const MOBILENET_V1: [(f64, usize, u64, u64); 16] = [
    (1.0, 224, 568_740_352, 4_231_976),
    (1.0, 192, 418_121_728, 4_231_976),
    (1.0, 160, 290_675_200, 4_231_976),
    (1.0, 128, 186_400_768, 4_231_976),
    (0.75, 224, 325_400_448, 2_585_560),
    (0.75, 192, 239_273_472, 2_585_560),
    (0.75, 160, 166_396_800, 2_585_560),
    (0.75, 128, 106_770_432, 2_585_560),
    (0.5, 224, 149_497_088, 1_331_592),
    (0.5, 192, 109_970_432, 1_331_592),
    (0.5, 160, 76_524_800, 1_331_592),
    (0.5, 128, 49_160_192, 1_331_592),
    (0.25, 224, 41_030_272, 470_072),
    (0.25, 192, 30_212_608, 470_072),
    (0.25, 160, 21_059_200, 470_072),
    (0.25, 128, 13_570_048, 470_072),
];
const MOBILENET_V2: [(f64, usize, u64, u64); 22] = [
    (1.4, 224, 582_195_824, 6_108_776),
    (1.3, 224, 509_374_560, 5_386_792),
    (1.0, 224, 300_774_272, 3_504_872),
    (1.0, 192, 221_316_608, 3_504_872),
    (1.0, 160, 154_083_200, 3_504_872),
    (1.0, 128, 99_074_048, 3_504_872),
    (1.0, 96, 56_289_152, 3_504_872),
    (0.75, 224, 209_069_792, 2_636_424),
    (0.75, 192, 153_941_888, 2_636_424),
    (0.75, 160, 107_295_200, 2_636_424),
    (0.75, 128, 69_129_728, 2_636_424),
    (0.75, 96, 39_445_472, 2_636_424),
    (0.5, 224, 97_131_840, 1_968_680),
    (0.5, 192, 71_701_760, 1_968_680),
    (0.5, 160, 50_184_000, 1_968_680),
    (0.5, 128, 32_578_560, 1_968_680),
    (0.5, 96, 18_885_440, 1_968_680),
    (0.35, 224, 59_285_808, 1_677_128),
    (0.35, 192, 43_896_512, 1_677_128),
    (0.35, 160, 30_874_800, 1_677_128),
    (0.35, 128, 20_220_672, 1_677_128),
    (0.35, 96, 11_934_128, 1_677_128),
];

#[test]
fn counts_are_the_published_ones() {
    let v1 = MOBILENET_V1.map(|row| (Name::MobilenetV1, row));
    let v2 = MOBILENET_V2.map(|row| (Name::MobilenetV2, row));
    let xception = [(Name::Xception, (1.0, 299, 8_357_403_496, 22_855_952))];
    for (name, (width, resolution, macs, params)) in v1.into_iter().chain(v2).chain(xception) {
        for flavor in [Flavor::Torch, Flavor::Timm, Flavor::Tf, Flavor::Keras] {
            let network = Network::new(name, &Config { width, resolution, flavor, ..Config::of(name) }).unwrap();
            assert_eq!((network.macs(), network.params()), (macs, params), "{}", network.name());
        }
    }
    let digits = network("mobilenet_mnist_0.5");
    assert_eq!((digits.macs(), digits.params()), (99_403_776, 823_306));
}

#[test]
fn parameters_that_make_no_network_are_refused() {
    let of = |width, resolution, classes| {
        let config = Config { width, resolution, classes, ..Config::of(Name::MobilenetV1) };
        Network::new(Name::MobilenetV1, &config).map_err(|error| error.to_string())
    };
    assert!(of(0.0, 224, None).unwrap_err().contains("width 0: expected more than 0"));
    assert!(of(f64::NAN, 224, None).unwrap_err().contains("width NaN"));
    assert!(of(1.0, 0, None).unwrap_err().contains("resolution 0"));
    assert!(of(1.0, 1 << 20, None).unwrap_err().contains("8192"));
    assert!(of(1.0, 224, Some(0)).unwrap_err().contains("classes 0"));
    let keras = Config { resolution: 5, flavor: Flavor::Keras, ..Config::of(Name::MobilenetV1) };
    assert!(Network::new(Name::MobilenetV1, &keras).unwrap_err().to_string().contains("at least 32 pixels"));
}

#[test]
fn a_run_refuses_what_does_not_fit() {
    let network = small_networks().remove(0);
    let one = plan(network.clone(), Options::default());
    let (input, mut output) = (image(&network), vec![0.0; 11]);
    assert!(
        one.run(&mut one.workspace().unwrap(), &input[1..], &mut output)
            .unwrap_err()
            .to_string()
            .contains("28 x 28 x 1")
    );
    assert!(
        one.run(&mut one.workspace().unwrap(), &input, &mut output[1..]).unwrap_err().to_string().contains("1 x 11")
    );
    let two = plan(network, Options { batch: 2, ..Options::default() });
    assert!(
        one.run(&mut two.workspace().unwrap(), &input, &mut output)
            .unwrap_err()
            .to_string()
            .contains("Plan::workspace")
    );
    let observed = one.run_observed(&mut one.workspace().unwrap(), &input, &mut output, &mut |_, _| ());
    assert!(observed.unwrap_err().to_string().contains("observed"));
}

#[test]
fn an_unsupported_isa_is_refused() {
    for isa in Isa::ALL {
        let options = Options { isa: Some(isa), ..Options::default() };
        let built = Plan::new(small_networks().remove(0), &HashWeights, options);
        assert_eq!(built.is_ok(), Isa::supported().contains(&isa), "{isa}");
    }
    let error = "bogus".parse::<Isa>().unwrap_err().to_string();
    assert!(error.contains("bogus") && error.contains("portable, neon, avx2, avx512"), "{error}");
}
