//! Whole networks: against golden logits and layers, against the reference, and against committed hashes.
#![cfg(feature = "reference")]

mod common;

use std::collections::BTreeMap;

use common::{OnOutput, every_isa, exact, values};
use sepconv::models::{Architecture, Config, Flavor, Network};
#[cfg(feature = "rayon")]
use sepconv::parallel::Rayon;
use sepconv::parallel::{Parallel, Serial};
use sepconv::weights::{HashWeights, hash_of_bits};
use sepconv::{Fusion, Isa, Observer, Options, Plan, View};

/// The rows of a CSV file with a header, as maps from column to value.
fn rows(csv: &'static str) -> Vec<BTreeMap<&'static str, &'static str>> {
    let mut lines = csv.lines();
    let header: Vec<_> = lines.next().expect("a header").split(',').collect();
    lines.map(|line| header.iter().copied().zip(line.split(',')).collect()).collect()
}

/// Float64 logits of each network with the weights and the image of `HashWeights`, computed with PyTorch and Keras models.
/// `SEPCONV_MOST_MACS=N` leaves out those with more multiply-accumulates, for emulators.
fn golden() -> Vec<BTreeMap<&'static str, &'static str>> {
    let all = rows(include_str!("data/golden.csv")).into_iter();
    all.filter(|row| most_macs().is_none_or(|most| network(row["network"]).graph().macs() <= most)).collect()
}

fn most_macs() -> Option<u64> {
    std::env::var("SEPCONV_MOST_MACS").ok().map(|most| most.parse().expect("SEPCONV_MOST_MACS is a number"))
}

/// The network that a row of `golden.csv` names: `mobilenet_v1_0.5_160_tf`.
fn network(row: &str) -> Network {
    if row == "mobilenet_mnist_0.5" {
        return Network::new(Architecture::Digits, &Config::of(Architecture::Digits)).unwrap();
    }
    let parts: Vec<_> = row.split('_').collect();
    let (name, width, resolution, flavor) = match parts[..] {
        ["xception", flavor, resolution] => (Architecture::Xception, "1.0", resolution, flavor),
        ["mobilenet", version, width, resolution, flavor] => {
            (format!("mobilenet_{version}").parse().unwrap(), width, resolution, flavor)
        }
        ["shufflenet", "v1", groups, width, flavor] => {
            let config = Config {
                groups: Some(groups[1..].parse().unwrap()),
                width: width.trim_end_matches('x').parse().unwrap(),
                flavor: flavor.parse().unwrap(),
                ..Config::of(Architecture::ShufflenetV1)
            };
            return Network::new(Architecture::ShufflenetV1, &config).unwrap();
        }
        ["shufflenet", "v2", width, flavor] => {
            let flavor = if flavor == "tv" { "torch" } else { flavor };
            (Architecture::ShufflenetV2, width.trim_end_matches('x'), "224", flavor)
        }
        ["effnet", flavor] => (Architecture::Effnet, "1.0", "32", flavor),
        ["squeezenet", "1", version, resolution, flavor] => {
            (format!("squeezenet_1_{version}").parse().unwrap(), "1.0", resolution, flavor)
        }
        _ => panic!("{row} names no network"),
    };
    let (width, resolution) = (width.parse().unwrap(), resolution.parse().unwrap());
    Network::new(name, &Config { width, resolution, flavor: flavor.parse().unwrap(), ..Config::of(name) }).unwrap()
}

fn plan(network: &Network, options: Options) -> Plan {
    network.plan(&HashWeights, &Serial, options).unwrap()
}

fn image(network: &Network) -> Vec<f32> {
    let shape = network.input();
    HashWeights::image(shape.height, shape.width, shape.channels).unwrap()
}

fn logits(plan: &Plan, input: &[f32]) -> Vec<f32> {
    logits_on(plan, &Serial, input)
}

fn logits_on(plan: &Plan, parallel: &dyn Parallel, input: &[f32]) -> Vec<f32> {
    let mut output = vec![f32::NAN; plan.output_len()];
    plan.run(parallel, &mut plan.workspace().unwrap(), input, &mut output).unwrap();
    output
}

/// The logits of a plan with [`Options::observed`], and the output of every node.
fn observed(plan: &Plan, input: &[f32]) -> (Vec<f32>, Vec<Vec<f32>>) {
    let (mut output, mut nodes) = (vec![f32::NAN; plan.output_len()], Vec::new());
    let mut observer = OnOutput(|node, images: &[View<'_>]| {
        assert_eq!((node, images.len()), (nodes.len(), 1), "every node, one after the other");
        nodes.push(values(images[0]));
    });
    plan.run_observed(&Serial, &mut plan.workspace().unwrap(), input, &mut output, &mut observer).unwrap();
    (output, nodes)
}

#[test]
fn logits_are_golden() {
    for row in golden() {
        let network = network(row["network"]);
        let input = image(&network);
        for kernels in every_isa() {
            let y = logits(&plan(&network, Options { isa: Some(kernels.isa()), ..Options::default() }), &input);
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
fn every_layer_is_golden() {
    let known: Vec<&str> = golden().iter().map(|row| row["network"]).collect();
    let mut layers = rows(include_str!("data/golden_layers.csv"));
    layers.retain(|row| known.contains(&row["network"]));
    let mut compared = 0;
    for name in layers.iter().map(|row| row["network"]).collect::<std::collections::BTreeSet<_>>() {
        let network = network(name);
        let expected: BTreeMap<_, _> =
            layers.iter().filter(|row| row["network"] == name).map(|row| (row["layer"], row)).collect();
        let (_, nodes) = observed(&plan(&network, Options { observed: true, ..Options::default() }), &image(&network));
        assert_eq!(nodes.len(), network.graph().nodes().len(), "{name}");
        let missing: Vec<_> = expected.keys().filter(|layer| network.graph().node(layer).is_none()).collect();
        assert!(missing.is_empty(), "{name} lacks {missing:?}");
        for (node, got) in network.graph().nodes().iter().zip(&nodes) {
            let Some(row) = expected.get(node.name()) else { continue };
            let want: f64 = row["l2"].parse().unwrap();
            let shape = node.output();
            let size = ["c", "h", "w"].map(|column| row[column].parse::<usize>().unwrap());
            assert_eq!(
                [shape.channels, shape.height, shape.width],
                size,
                "{name}: first difference at {}",
                node.name()
            );
            assert_eq!(got.len(), shape.len(), "{name}: {}", node.name());
            let l2 = got.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
            let context = format!("{name}: first difference at {}: L2 {l2}, expected {want}", node.name());
            assert!((l2 - want).abs() <= 2e-5 * want, "{context}");
            compared += 1;
        }
    }
    assert_eq!(compared, layers.len(), "layers compared");
}

/// Small enough for the reference and for emulators, odd enough for every border.
fn small_networks() -> Vec<Network> {
    let small = |name, width, resolution, flavor| {
        Network::new(name, &Config { width, resolution, flavor, classes: Some(11), ..Config::of(name) }).unwrap()
    };
    vec![
        small(Architecture::Digits, 0.25, 28, Flavor::Torch),
        small(Architecture::MobilenetV1, 0.25, 48, Flavor::Torch),
        small(Architecture::MobilenetV1, 0.25, 51, Flavor::Slim),
        small(Architecture::MobilenetV1, 0.35, 64, Flavor::Keras),
        small(Architecture::MobilenetV2, 0.35, 47, Flavor::Torch),
        small(Architecture::MobilenetV2, 0.25, 64, Flavor::Keras),
        small(Architecture::Xception, 0.125, 75, Flavor::Keras),
        small(Architecture::Xception, 0.125, 48, Flavor::Timm),
        small(Architecture::ShufflenetV1, 0.25, 67, Flavor::Paper),
        small(Architecture::ShufflenetV1, 0.5, 64, Flavor::Megvii),
        small(Architecture::ShufflenetV2, 0.5, 65, Flavor::Torch),
        small(Architecture::ShufflenetV2, 0.5, 64, Flavor::Megvii),
        small(Architecture::Squeezenet1_0, 0.25, 61, Flavor::Caffe),
        small(Architecture::Squeezenet1_1, 0.25, 54, Flavor::Torch),
        small(Architecture::Effnet, 0.35, 19, Flavor::Torch),
        small(Architecture::Effnet, 0.3, 22, Flavor::Keras),
    ]
}

#[test]
fn networks_have_the_references_bits() {
    for network in small_networks() {
        let folded = network.fold(&HashWeights).unwrap();
        let input = image(&network);
        let computed = network.graph().reference(&HashWeights, &[&input]).unwrap();
        let (want, logits_wanted) = (&computed.nodes, &computed.outputs[0]);
        for kernels in every_isa().into_iter().filter(|kernels| exact(kernels.isa())) {
            let context = format!("{} on {}", network.name(), kernels.isa());
            let options = Options { isa: Some(kernels.isa()), ..Options::default() };
            let got = logits(&Plan::from_folded(network.graph(), &folded, &Serial, options).unwrap(), &input);
            common::assert_same(&got, logits_wanted, None, &context);
            // Every node, too.
            let options = Options { observed: true, ..options };
            let plan = Plan::from_folded(network.graph(), &folded, &Serial, options).unwrap();
            let (got, nodes) = observed(&plan, &input);
            common::assert_same(&got, logits_wanted, None, &context);
            assert_eq!(nodes.len(), want.len(), "{context}");
            for ((got, want), node) in nodes.iter().zip(want).zip(network.graph().nodes()) {
                common::assert_same(got, want, None, &format!("{context}, {}", node.name()));
            }
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
            let options = |batch| Options { isa, batch, ..Options::default() };
            let one = plan(&network, options(1));
            let (first, second) = (logits(&one, &input), logits(&one, &reversed));
            let four = [&first[..], &second, &first, &second].concat();
            for threads in 1..=4 {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let parallel = Rayon::new(pool);
                let plan = |options| network.plan(&HashWeights, &parallel, options).unwrap();
                let context = format!("{} on {}, {threads} threads", network.name(), kernels.isa());
                let cut = plan(options(1));
                assert_eq!(cut.threads(), threads, "{context}");
                let got = logits_on(&cut, &parallel, &input);
                common::assert_same(&got, &first, None, &context);
                let fusions = [
                    (Fusion::Auto, false),
                    (Fusion::Auto, true),
                    (Fusion::Strips(2), false),
                    (Fusion::Strips(3), true),
                ];
                for (fusion, low_memory) in fusions {
                    let options = Options { fusion, low_memory, ..options(4) };
                    let got = logits_on(&plan(options), &parallel, &both);
                    common::assert_same(&got, &four, None, &format!("{context}, batch 4, {fusion:?}, {low_memory}"));
                }
            }
        }
    }
}

#[test]
fn fusion_and_low_memory_change_no_bit() {
    let paper = Network::new(Architecture::MobilenetV2, &Config::of(Architecture::MobilenetV2)).unwrap();
    // Without optimisation the portable tier takes minutes for the whole network.
    let paper = (!cfg!(debug_assertions)).then_some(paper);
    for network in small_networks().into_iter().chain(paper) {
        let input = image(&network);
        for kernels in every_isa() {
            let options = Options { isa: Some(kernels.isa()), fusion: Fusion::Off, ..Options::default() };
            let want = logits(&plan(&network, options), &input);
            let fusions = [Fusion::Auto, Fusion::Strips(0), Fusion::Strips(2), Fusion::Strips(3), Fusion::Strips(1000)];
            for (fusion, low_memory) in fusions.into_iter().flat_map(|fusion| [(fusion, false), (fusion, true)]) {
                let got = logits(&plan(&network, Options { fusion, low_memory, ..options }), &input);
                let context = format!("{} on {}: {fusion:?}, {low_memory}", network.name(), kernels.isa());
                common::assert_same(&got, &want, None, &context);
            }
            let observed = plan(&network, Options { observed: true, ..options });
            let context = format!("{} on {}: observed", network.name(), kernels.isa());
            common::assert_same(&logits(&observed, &input), &want, None, &context);
        }
    }
}

/// MobileNet V2 at 224 pixels, whose layers one by one have a peak of 6.02 MB.
#[test]
fn activations_stay_small() {
    let paper = Network::new(Architecture::MobilenetV2, &Config::of(Architecture::MobilenetV2)).unwrap();
    for isa in every_isa().iter().map(|kernels| kernels.isa()) {
        let peak = |fusion, low_memory| {
            let options = Options { isa: Some(isa), fusion, low_memory, ..Options::default() };
            plan(&paper, options).peak_bytes()
        };
        assert_eq!(peak(Fusion::Off, false), 6_021_120, "{isa}: layer by layer");
        // Strips are larger where the second-level cache is, 2 MB and more.
        assert!(peak(Fusion::Auto, false) <= 2_400_000, "{isa}: {}", peak(Fusion::Auto, false));
        assert!(peak(Fusion::Auto, true) <= 1_500_000, "{isa}, low_memory: {}", peak(Fusion::Auto, true));
    }
    // Xception's two largest max poolings are computed with the blocks before them.
    let xception =
        Network::new(Architecture::Xception, &Config { width: 0.25, ..Config::of(Architecture::Xception) }).unwrap();
    let pooled = plan(&xception, Options { fusion: Fusion::Strips(2), ..Options::default() });
    let ends = |line: &sepconv::Description<'_>| line.kernels.last() == Some(&"max_pool") && line.kernels.len() > 1;
    assert!(pooled.describe().filter(ends).count() >= 2);
    // So is the first one of a SqueezeNet, behind its stem: the stem's output never exists as a whole.
    let squeezenet = Network::new(Architecture::Squeezenet1_1, &Config::of(Architecture::Squeezenet1_1)).unwrap();
    let pooled = plan(&squeezenet, Options { fusion: Fusion::Strips(2), ..Options::default() });
    assert_eq!(pooled.describe().filter(ends).count(), 1);
    let off = plan(&squeezenet, Options { fusion: Fusion::Off, ..Options::default() });
    assert!(2 * pooled.peak_bytes() < off.peak_bytes(), "{} and {}", pooled.peak_bytes(), off.peak_bytes());
}

#[test]
fn a_backbone_gives_the_features() {
    for network in small_networks() {
        let input = image(&network);
        let (_, nodes) = observed(&plan(&network, Options { observed: true, ..Options::default() }), &input);
        let all = network.graph().nodes();
        let backbone = network.clone().backbone().unwrap();
        // What is left is the pooling with the classifier, before it or behind it; EffNet has no pooling.
        let head = backbone.graph().nodes().len();
        let pools = network.architecture() != Architecture::Effnet;
        assert_eq!(head + 1 + usize::from(pools), all.len(), "{}", network.name());
        assert_eq!(all[head..].iter().any(|node| node.kind() == "global_average_pool"), pools, "{}", network.name());
        assert_eq!(backbone.output(), all[head].input(), "{}", network.name());
        // A concatenation is no node.
        let concatenated = all[head - 1].output() != backbone.output();
        let by_reference = || backbone.graph().reference(&HashWeights, &[&input]).unwrap().outputs.remove(0);
        let want = if concatenated { by_reference() } else { nodes[head - 1].clone() };
        if concatenated && !every_isa().iter().all(|kernels| exact(kernels.isa())) {
            continue;
        }
        for fusion in [Fusion::Auto, Fusion::Strips(2)] {
            let options = Options { fusion, ..Options::default() };
            let features = logits(&plan(&backbone, options), &input);
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
            let got = logits(&plan(network, Options { isa: Some(isa), ..Options::default() }), &image(network));
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
    let v1 = MOBILENET_V1.map(|row| (Architecture::MobilenetV1, row));
    let v2 = MOBILENET_V2.map(|row| (Architecture::MobilenetV2, row));
    let xception = [(Architecture::Xception, (1.0, 299, 8_357_403_496, 22_855_952))];
    for (name, (width, resolution, macs, params)) in v1.into_iter().chain(v2).chain(xception) {
        for flavor in [Flavor::Torch, Flavor::Timm, Flavor::Tf, Flavor::Keras] {
            let network = Network::new(name, &Config { width, resolution, flavor, ..Config::of(name) }).unwrap();
            let graph = network.graph();
            assert_eq!((graph.macs(), graph.params()), (macs, params), "{}", network.name());
        }
    }
    let digits = network("mobilenet_mnist_0.5");
    assert_eq!((digits.graph().macs(), digits.graph().params()), (99_403_776, 823_306));
}

#[test]
fn parameters_that_make_no_network_are_refused() {
    let of = |width, resolution, classes| {
        let config = Config { width, resolution, classes, ..Config::of(Architecture::MobilenetV1) };
        Network::new(Architecture::MobilenetV1, &config).map_err(|error| error.to_string())
    };
    assert!(of(0.0, 224, None).unwrap_err().contains("width 0: expected more than 0"));
    assert!(of(f64::NAN, 224, None).unwrap_err().contains("width NaN"));
    assert!(of(1.0, 0, None).unwrap_err().contains("resolution 0"));
    assert!(of(1.0, 1 << 20, None).unwrap_err().contains("8192"));
    assert!(of(1.0, 224, Some(0)).unwrap_err().contains("classes 0"));
    let keras = Config { resolution: 5, flavor: Flavor::Keras, ..Config::of(Architecture::MobilenetV1) };
    assert!(Network::new(Architecture::MobilenetV1, &keras).unwrap_err().to_string().contains("at least 32 pixels"));
}

#[test]
fn a_run_refuses_what_does_not_fit() {
    let network = small_networks().remove(0);
    let one = plan(&network, Options::default());
    let (input, mut output) = (image(&network), vec![0.0; 11]);
    let refused = |input: &[f32], output: &mut [f32]| {
        one.run(&Serial, &mut one.workspace().unwrap(), input, output).unwrap_err().to_string()
    };
    assert_eq!(refused(&input[1..], &mut output), "input: got 783 elements, expected 784 (1 x 28 x 28 x 1, NHWC)");
    assert_eq!(refused(&input, &mut output[1..]), "output: got 10 elements, expected 11 (1 x 11)");
    let two = plan(&network, Options { batch: 2, ..Options::default() });
    let small = two.run(&Serial, &mut one.workspace().unwrap(), &input.repeat(2), &mut vec![0.0; 22]);
    let (got, expected) = (one.workspace_len(), two.workspace_len());
    let text = format!("workspace: got {got} elements, expected {expected} (make it with `Plan::workspace`)");
    assert_eq!(small.unwrap_err().to_string(), text);
    // One that is larger will do.
    one.run(&Serial, &mut two.workspace().unwrap(), &input, &mut output).unwrap();
    common::assert_same(&output, &logits(&one, &input), None, "a larger workspace");
}

/// Steps are shown always, outputs only by plans that have memory for them.
#[test]
fn only_observed_plans_show_outputs() {
    #[derive(Default)]
    struct Seen {
        steps: Vec<usize>,
        nodes: Vec<usize>,
    }
    impl Observer for Seen {
        fn step(&mut self, index: usize, work: &mut dyn FnMut()) {
            self.steps.push(index);
            work();
        }

        fn output(&mut self, node: usize, _: &[View<'_>]) {
            self.nodes.push(node);
        }
    }
    let network = small_networks().remove(0);
    let input = image(&network);
    for observed in [false, true] {
        let plan = plan(&network, Options { observed, ..Options::default() });
        let (mut seen, mut output) = (Seen::default(), vec![0.0; 11]);
        plan.run_observed(&Serial, &mut plan.workspace().unwrap(), &input, &mut output, &mut seen).unwrap();
        assert_eq!(seen.steps, (0..plan.describe().count()).collect::<Vec<_>>());
        let nodes = if observed { network.graph().nodes().len() } else { 0 };
        assert_eq!(seen.nodes, (0..nodes).collect::<Vec<_>>());
    }
}

#[test]
fn an_unsupported_isa_is_refused() {
    for isa in Isa::ALL {
        let options = Options { isa: Some(isa), ..Options::default() };
        let built = small_networks().remove(0).plan(&HashWeights, &Serial, options);
        assert_eq!(built.is_ok(), Isa::supported().contains(&isa), "{isa}");
    }
    let error = "bogus".parse::<Isa>().unwrap_err().to_string();
    assert!(error.contains("bogus") && error.contains("portable, neon, avx2, avx512"), "{error}");
}
