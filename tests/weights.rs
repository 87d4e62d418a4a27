//! Weight files: every source's names and layouts, and files that are not what they should be.

mod common;
#[path = "common/files.rs"]
mod files;

use std::collections::HashMap;

use common::Numbers;
use files::{Tensor, file, torch};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorView, serialize};
use sepconv::graph::{Builder, Layer, Tensors};
use sepconv::models::{self, Activation, Architecture, Config, Flavor, Network, TensorNames, WeightFile};
use sepconv::parallel::Serial;
use sepconv::weights::{HashWeights, SafetensorsWeights, Weights};
use sepconv::{Error, Options, Plan, Shape};

fn network(name: Architecture, flavor: Flavor) -> Network {
    sized(name, 0.25, flavor)
}

fn sized(name: Architecture, width: f64, flavor: Flavor) -> Network {
    let config = Config { width, resolution: 71, flavor, classes: Some(7), ..Config::of(name) };
    Network::new(name, &config).unwrap()
}

/// O, I, kh, kw to kh, kw, I, O (depthwise kh, kw, C, 1), linear out, in to in, out.
fn to_tensorflow(shape: &[usize], values: &[f32]) -> (Vec<usize>, Vec<f32>) {
    let (outputs, inputs, taps) = match *shape {
        [outputs, inputs] => (outputs, inputs, 1),
        [outputs, inputs, height, width] => (outputs, inputs, height * width),
        _ => return (shape.to_vec(), values.to_vec()),
    };
    let mut moved = Vec::new();
    for tap in 0..taps {
        for input in 0..inputs {
            moved.extend((0..outputs).map(|output| values[(output * inputs + input) * taps + tap]));
        }
    }
    let shape = match *shape {
        [outputs, inputs] => vec![inputs, outputs],
        [outputs, 1, height, width] if height > 1 => vec![height, width, outputs, 1],
        [outputs, inputs, height, width] => vec![height, width, inputs, outputs],
        _ => unreachable!(),
    };
    (shape, moved)
}

/// A network in another source's flavor, and the names that it has there for a few tensors: (PyTorch, source).
type Named = (Architecture, Flavor, &'static [(&'static str, &'static str)]);

const NAMES: [Named; 6] = [
    (
        Architecture::MobilenetV1,
        Flavor::Keras,
        &[
            ("conv_stem.weight", "conv1/kernel"),
            ("bn1.running_var", "conv1_bn/moving_variance"),
            ("blocks.0.0.conv_dw.weight", "conv_dw_1/depthwise_kernel"),
            ("blocks.1.1.bn2.weight", "conv_pw_3_bn/gamma"),
            ("blocks.4.1.conv_pw.weight", "conv_pw_13/kernel"),
            ("classifier.bias", "conv_preds/bias"),
        ],
    ),
    (
        Architecture::MobilenetV1,
        Flavor::Slim,
        &[
            ("conv_stem.weight", "MobilenetV1/Conv2d_0/weights"),
            ("blocks.0.0.conv_dw.weight", "MobilenetV1/Conv2d_1_depthwise/depthwise_weights"),
            ("blocks.3.5.bn2.bias", "MobilenetV1/Conv2d_11_pointwise/BatchNorm/beta"),
            ("classifier.bias", "MobilenetV1/Logits/Conv2d_1c_1x1/biases"),
        ],
    ),
    (
        Architecture::MobilenetV2,
        Flavor::Keras,
        &[
            ("features.0.0.weight", "Conv1/kernel"),
            ("features.0.1.bias", "bn_Conv1/beta"),
            ("features.1.conv.0.0.weight", "expanded_conv_depthwise/depthwise_kernel"),
            ("features.1.conv.2.weight", "expanded_conv_project_BN/gamma"),
            ("features.17.conv.0.0.weight", "block_16_expand/kernel"),
            ("features.18.1.running_mean", "Conv_1_bn/moving_mean"),
            ("classifier.1.weight", "predictions/kernel"),
        ],
    ),
    (
        Architecture::MobilenetV2,
        Flavor::Slim,
        &[
            ("features.0.0.weight", "MobilenetV2/Conv/weights"),
            ("features.1.conv.1.weight", "MobilenetV2/expanded_conv/project/weights"),
            ("features.3.conv.1.0.weight", "MobilenetV2/expanded_conv_2/depthwise/depthwise_weights"),
            ("features.18.0.weight", "MobilenetV2/Conv_1/weights"),
        ],
    ),
    (
        Architecture::MobilenetV2,
        Flavor::Timm,
        &[
            ("features.0.0.weight", "conv_stem.weight"),
            ("features.1.conv.0.0.weight", "blocks.0.0.conv_dw.weight"),
            ("features.1.conv.2.weight", "blocks.0.0.bn2.weight"),
            ("features.4.conv.0.0.weight", "blocks.2.0.conv_pw.weight"),
            ("features.17.conv.2.weight", "blocks.6.0.conv_pwl.weight"),
            ("features.18.0.weight", "conv_head.weight"),
            ("classifier.1.bias", "classifier.bias"),
        ],
    ),
    (
        Architecture::Xception,
        Flavor::Keras,
        &[
            ("conv1.weight", "block1_conv1/kernel"),
            ("block1.skip.weight", "conv2d/kernel"),
            ("block12.skipbn.bias", "batch_normalization_3/beta"),
            ("block1.rep.3.conv1.weight", "block2_sepconv2/depthwise_kernel"),
            ("block4.rep.7.pointwise.weight", "block5_sepconv3/pointwise_kernel"),
            ("block4.rep.8.weight", "block5_sepconv3_bn/gamma"),
            ("conv4.pointwise.weight", "block14_sepconv2/pointwise_kernel"),
            ("fc.bias", "predictions/bias"),
        ],
    ),
];

/// Fills whatever a network asks for, and notes what it was.
struct Asked(std::cell::RefCell<Vec<(String, Vec<usize>)>>, Vec<String>);

impl Weights for Asked {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<std::borrow::Cow<'_, [f32]>, String> {
        self.0.borrow_mut().push((name.into(), shape.to_vec()));
        Ok(vec![1.0; shape.iter().product()].into())
    }

    fn names(&self) -> Vec<String> {
        self.1.clone()
    }
}

/// The tensors that `network` asks of a source that has those of `known`, in order.
fn asked(network: &Network, known: &str) -> Vec<(String, Vec<usize>)> {
    let source = Asked(Default::default(), vec![known.to_string()]);
    // The list of names is not whole, so folding may find fault; what counts is what was asked for.
    let _ = network.fold(&source);
    source.0.into_inner()
}

#[test]
fn every_source_gives_the_same_weights() {
    for (name, flavor, names) in NAMES {
        let network = network(name, flavor);
        let want = network.fold(&HashWeights).unwrap();
        let torch = torch(&network);
        let kernel = names.iter().find(|(_, other)| other.ends_with("kernel") || other.contains("weight")).unwrap().1;
        let other = asked(&network, kernel);
        assert_eq!(torch.len(), other.len(), "{name} {flavor}");
        for (ours, theirs) in names {
            let at = torch.iter().position(|(name, ..)| name == ours).unwrap_or_else(|| panic!("no {ours}"));
            assert_eq!(&other[at].0, theirs, "{name} {flavor}: {ours}");
        }
        let moved: Vec<Tensor> = torch
            .iter()
            .zip(&other)
            .map(|((_, shape, values), (theirs, their_shape))| {
                let (shape, values) = match flavor {
                    Flavor::Timm => (shape.clone(), values.clone()),
                    _ => to_tensorflow(shape, values),
                };
                assert_eq!(&shape, their_shape, "{theirs}");
                (theirs.clone(), shape, values)
            })
            .collect();
        let bytes = file(&moved, &[]);
        let weights = WeightFile::new(&bytes).unwrap();
        assert_eq!(weights.architecture().unwrap(), name);
        let names = match flavor {
            Flavor::Keras => TensorNames::Keras,
            Flavor::Slim => TensorNames::Slim,
            _ => TensorNames::Timm,
        };
        assert_eq!(weights.names_of(name), Ok(names), "{name} {flavor}");
        let config = weights.config(name).unwrap();
        assert_eq!((config.flavor, config.classes), (flavor, Some(7)));
        assert_eq!(network.fold(&*weights).unwrap(), want, "{name} {flavor}");
    }
}

#[test]
fn a_classifier_may_be_a_convolution_and_a_convolution_have_a_bias() {
    let network = network(Architecture::MobilenetV1, Flavor::Torch);
    let mut tensors = torch(&network);
    for (name, shape, _) in &mut tensors {
        if name == "classifier.weight" {
            shape.extend([1, 1]);
        }
    }
    let count = tensors.iter().find(|(name, ..)| name == "bn1.weight").unwrap().1[0];
    tensors.push(("conv_stem.bias".into(), vec![count], vec![0.5; count]));
    tensors.push(("bn1.num_batches_tracked".into(), vec![], vec![3.0]));
    let bytes = file(&tensors, &[]);
    let got = network.fold(&SafetensorsWeights::new(&bytes).unwrap()).unwrap();
    let want = network.fold(&HashWeights).unwrap();
    assert_eq!(got[1..], want[1..]);
    let (got, want) = (got[0].as_ref().unwrap(), want[0].as_ref().unwrap());
    assert_eq!(got.weights, want.weights);
    assert!(got.bias.iter().zip(&want.bias).all(|(got, want)| got > want), "the bias counts");
}

#[test]
fn metadata_decide() {
    let network = network(Architecture::MobilenetV1, Flavor::Torch);
    let metadata = [
        ("sepconv.network", "mobilenet_v1"),
        ("sepconv.width", "0.25"),
        ("sepconv.resolution", "71"),
        ("sepconv.flavor", "keras"),
        ("sepconv.activation", "relu"),
        ("sepconv.bn_eps", "0.01"),
        ("sepconv.classes", "7"),
    ];
    let bytes = file(&torch(&network), &metadata);
    let weights = WeightFile::new(&bytes).unwrap();
    let config = weights.config(weights.architecture().unwrap()).unwrap();
    assert_eq!((config.width, config.resolution, config.flavor), (0.25, 71, Flavor::Keras));
    assert_eq!((config.epsilon, config.classes), (Some(0.01), Some(7)));
    assert_eq!(config.activation, Some(Activation::Relu));
    let (loaded, _) = models::load(&bytes).unwrap();
    assert_eq!(loaded.name(), Network::new(Architecture::MobilenetV1, &config).unwrap().name());
    for (key, bad, expected) in [
        (
            "sepconv.network",
            "mobilenet",
            "one of digits, mobilenet_v1, mobilenet_v2, xception, shufflenet_v1, shufflenet_v2, squeezenet_1_0, \
             squeezenet_1_1, effnet",
        ),
        ("sepconv.flavor", "sweet", "one of torch, timm, tf, keras, slim, paper, megvii, caffe"),
        ("sepconv.flavor", "caffe", "one of torch, timm, tf, keras, slim for mobilenet_v1"),
        ("sepconv.groups", "few", "a number of groups"),
        ("sepconv.groups", "3", "none for mobilenet_v1"),
        ("sepconv.activation", "tanh", "one of linear, relu, relu6"),
        ("sepconv.background", "yes", "true, 1, false or 0"),
        ("sepconv.width", "wide", "a number"),
        ("sepconv.width", "NaN", "more than 0, at most 16"),
        ("sepconv.resolution", "1.5", "a number of pixels"),
        ("sepconv.resolution", "8193", "1 to 8192 pixels"),
        ("sepconv.bn_eps", "1", "0 or more, below 1"),
        ("sepconv.bn_eps", "", "a number"),
        ("sepconv.classes", "-1", "a number of classes"),
        ("sepconv.classes", "0", "1 to 1048576"),
    ] {
        let bytes = file(&[], &[(key, bad)]);
        let weights = WeightFile::new(&bytes).unwrap();
        let read = match key {
            "sepconv.network" => weights.architecture().map(drop),
            "sepconv.background" => weights.background().map(drop),
            _ => weights.config(Architecture::MobilenetV1).map(drop),
        };
        assert_eq!(read.unwrap_err().to_string(), format!("{key} {bad:?}: expected {expected}"));
    }
    for (text, says) in [("true", true), ("1", true), ("false", false), ("0", false)] {
        let bytes = file(&[], &[("sepconv.background", text)]);
        assert_eq!(WeightFile::new(&bytes).unwrap().background(), Ok(Some(says)));
    }
    assert_eq!(weights.background(), Ok(None));
    let bytes = file(&[("a".into(), vec![1], vec![0.0])], &[]);
    let error = WeightFile::new(&bytes).unwrap().architecture().unwrap_err().to_string();
    assert!(error.contains("name the network"), "{error}");
}

#[test]
fn what_does_not_fit_is_listed_by_name() {
    let network = network(Architecture::MobilenetV2, Flavor::Torch);
    let error = |change: &dyn Fn(&mut Vec<Tensor>)| {
        let mut tensors = torch(&network);
        change(&mut tensors);
        let bytes = file(&tensors, &[]);
        network.fold(&SafetensorsWeights::new(&bytes).unwrap()).unwrap_err().to_string()
    };
    let missing = error(&|tensors| tensors.retain(|(name, ..)| !name.starts_with("features.1.conv.1")));
    assert!(missing.contains("features.1.conv.1.weight: missing, expected shape"), "{missing}");
    let unexpected = error(&|tensors| tensors.push(("extra.weight".into(), vec![1], vec![0.0])));
    assert!(unexpected.contains("extra.weight: unexpected"), "{unexpected}");
    let misshapen = error(&|tensors| tensors[0].1.swap(0, 1));
    assert!(misshapen.contains("features.0.0.weight: shape [3, 8, 3, 3], expected [8, 3, 3, 3]"), "{misshapen}");
    let infinite = error(&|tensors| tensors[3].2[2] = f32::INFINITY);
    assert!(infinite.contains("element 2 is inf, expected a finite number"), "{infinite}");
    let negative = error(&|tensors| tensors[4].2[1] = -1.0);
    assert!(negative.contains("features.0.1.running_var: element 1 is -1, expected one above 0"), "{negative}");
    let both = error(&|tensors| {
        tensors[0].1.swap(0, 1);
        tensors[1].1 = vec![2, 4];
    });
    assert!(both.contains("features.0.0.weight") && both.contains("features.0.1.weight"), "{both}");

    let bytes = serialize([("a", TensorView::new(Dtype::I32, vec![1], &[0; 4]).unwrap())], None).unwrap();
    let mistyped = SafetensorsWeights::new(&bytes).unwrap().tensor("a", &[1]).unwrap_err();
    assert!(mistyped.contains("I32, expected F32, F16 or BF16"), "{mistyped}");
}

#[test]
fn long_lists_are_cut_and_another_network_is_named() {
    let v2 = network(Architecture::MobilenetV2, Flavor::Torch);
    let mut tensors = torch(&v2);
    for (_, shape, _) in &mut tensors {
        shape.insert(0, 1);
    }
    let bytes = file(&tensors, &[]);
    let error = v2.fold(&SafetensorsWeights::new(&bytes).unwrap()).unwrap_err();
    let text = error.to_string();
    let Error::Weights { problems, .. } = error else { panic!("{error:?}") };
    assert_eq!(problems.len(), tensors.len());
    assert_eq!(text.lines().count(), 12, "{text}");
    assert_eq!(text.lines().nth(10).unwrap().trim(), problems[9]);
    assert_eq!(text.lines().last().unwrap().trim(), format!("and {} more", problems.len() - 10));

    for (name, flavor) in [
        (Architecture::MobilenetV1, Flavor::Torch),
        (Architecture::Xception, Flavor::Keras),
        (Architecture::Digits, Flavor::Tf),
    ] {
        let other = network(name, flavor);
        for other in [other.clone(), other.backbone().unwrap()] {
            let error = other.fold(&SafetensorsWeights::new(&bytes).unwrap()).unwrap_err();
            assert_eq!(error, Error::OtherNetwork { network: other.name().into(), looks_like: "mobilenet_v2" });
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }
}

#[test]
fn a_file_without_the_classifier_is_a_backbone() {
    let is_backbone = |tensors: &[Tensor], name: Architecture| {
        let bytes = file(tensors, &[]);
        WeightFile::new(&bytes).unwrap().is_backbone(name).unwrap()
    };
    for name in Architecture::ALL {
        let (width, flavor) = match name {
            Architecture::ShufflenetV1 => (0.5, Flavor::Megvii),
            Architecture::ShufflenetV2 => (0.5, Flavor::Torch),
            _ => (0.25, Flavor::Torch),
        };
        let network = sized(name, width, flavor);
        let (classifier, others): (Vec<_>, Vec<_>) = torch(&network)
            .into_iter()
            .partition(|(name, ..)| ["classifier", "fc", "linear"].iter().any(|c| name.starts_with(c)));
        let without_bias = name == Architecture::ShufflenetV1;
        assert_eq!(classifier.len(), if without_bias { 1 } else { 2 }, "{name}");
        assert!(is_backbone(&others, name), "{name}");
        for tensor in &classifier {
            assert!(
                !is_backbone(&[&others[..], std::slice::from_ref(tensor)].concat(), name),
                "{name} with {}",
                tensor.0
            );
        }
        assert!(!is_backbone(&[("other".into(), vec![1], vec![0.0])], name), "{name}");
        let bytes = file(&others, &[]);
        let metadata = [("sepconv.resolution", "71"), ("sepconv.flavor", flavor.as_str())];
        let loaded = |tensors: &[Tensor]| models::load(&file(tensors, &metadata)).unwrap().0;
        let whole = loaded(&torch(&network));
        assert_eq!((whole.name(), whole.graph().to_string()), (network.name(), network.graph().to_string()), "{name}");
        let backbone = network.backbone().unwrap();
        assert_eq!(loaded(&others).graph().to_string(), backbone.graph().to_string(), "{name}");
        let got = backbone.fold(&SafetensorsWeights::new(&bytes).unwrap()).unwrap();
        assert_eq!(got, backbone.fold(&HashWeights).unwrap(), "{name}");
    }
    // Older Keras has another name for the classifier, whose classes count too.
    let older = |name: &str, classes| -> Tensor { (name.into(), vec![classes], vec![0.0; classes]) };
    let tensors = [older("Conv1/kernel", 1), older("Logits/bias", 5)];
    assert!(!is_backbone(&tensors, Architecture::MobilenetV2));
    assert!(is_backbone(&tensors[..1], Architecture::MobilenetV2));
    let bytes = file(&tensors, &[]);
    assert_eq!(WeightFile::new(&bytes).unwrap().config(Architecture::MobilenetV2).unwrap().classes, Some(5));
}

#[test]
fn files_of_the_smaller_networks_tell_their_sizes() {
    let config = |name: Architecture| Config { resolution: 64, classes: Some(9), ..Config::of(name) };
    let (v1, v2) = (config(Architecture::ShufflenetV1), config(Architecture::ShufflenetV2));
    let (old, new) = (config(Architecture::Squeezenet1_0), config(Architecture::Squeezenet1_1));
    for (name, config) in [
        (Architecture::ShufflenetV1, Config { flavor: Flavor::Megvii, groups: Some(3), ..v1 }),
        (Architecture::ShufflenetV1, Config { flavor: Flavor::Megvii, groups: Some(8), width: 0.5, ..v1 }),
        (Architecture::ShufflenetV1, Config { flavor: Flavor::Megvii, groups: Some(4), width: 0.25, ..v1 }),
        (Architecture::ShufflenetV2, Config { width: 0.5, ..v2 }),
        (Architecture::ShufflenetV2, Config { flavor: Flavor::Megvii, width: 1.5, ..v2 }),
        (Architecture::Squeezenet1_0, Config { width: 0.5, ..old }),
        (Architecture::Squeezenet1_1, new),
        (Architecture::Effnet, Config { width: 0.5, ..config(Architecture::Effnet) }),
    ] {
        let network = Network::new(name, &config).unwrap();
        let bytes = file(&torch(&network), &[("sepconv.resolution", "64")]);
        let weights = WeightFile::new(&bytes).unwrap();
        assert_eq!(weights.architecture(), Ok(name), "{}", network.name());
        assert_eq!(weights.config(name), Ok(config), "{}", network.name());
        assert_eq!(models::load(&bytes).unwrap().0.name(), network.name());
    }
}

#[test]
fn a_squeezenet_under_keras_names_is_caffes() {
    let config = Config { classes: Some(9), ..Config::in_flavor(Architecture::Squeezenet1_1, Flavor::Caffe) };
    let network = Network::new(Architecture::Squeezenet1_1, &config).unwrap();
    assert_eq!(network.input().height, 227);
    let named: HashMap<&str, String> = network
        .graph()
        .nodes()
        .iter()
        .filter_map(|node| match node.parameters()?.weights() {
            Tensors::Named(name) => Some((&**name, node.name().replace('_', "/"))),
            _ => None,
        })
        .collect();
    let keras = |(name, shape, values): Tensor| -> Tensor {
        let (layer, field) = name.rsplit_once('.').unwrap();
        let (shape, values) = if field == "weight" { to_tensorflow(&shape, &values) } else { (shape, values) };
        (format!("{}/{}", named[layer], if field == "weight" { "kernel" } else { field }), shape, values)
    };
    let tensors: Vec<Tensor> = torch(&network).into_iter().map(keras).collect();
    assert!(tensors.iter().any(|(name, ..)| name == "fire2/expand3x3/kernel"));
    let bytes = file(&tensors, &[]);
    let (loaded, weights) = models::load(&bytes).unwrap();
    assert_eq!(
        (loaded.name(), weights.names_of(Architecture::Squeezenet1_1)),
        (network.name(), Ok(TensorNames::Keras))
    );
    assert_eq!(loaded.fold(&*weights).unwrap(), network.fold(&HashWeights).unwrap());
}

#[test]
fn halves_are_read() {
    let values = [1.5f32, -0.25, 65504.0, 6e-5];
    let f16s: Vec<u8> = values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect();
    let bf16s: Vec<u8> = values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect();
    let views = [
        ("f16", TensorView::new(Dtype::F16, vec![4], &f16s).unwrap()),
        ("bf16", TensorView::new(Dtype::BF16, vec![4], &bf16s).unwrap()),
    ];
    let bytes = serialize(views, None).unwrap();
    let weights = SafetensorsWeights::new(&bytes).unwrap();
    assert_eq!(*weights.tensor("f16", &[4]).unwrap(), values.map(|value| f16::from_f32(value).to_f32()));
    assert_eq!(*weights.tensor("bf16", &[4]).unwrap(), values.map(|value| bf16::from_f32(value).to_f32()));
}

#[test]
fn subnormal_weights_are_flushed_and_counted() {
    let network = network(Architecture::MobilenetV1, Flavor::Torch);
    let mut tensors = torch(&network);
    tensors[0].2[..3].copy_from_slice(&[1e-40, -1e-39, 1e-41]);
    let bytes = file(&tensors, &[]);
    let folded = network.fold(&SafetensorsWeights::new(&bytes).unwrap()).unwrap();
    let stem = folded[0].as_ref().unwrap();
    assert_eq!(stem.flushed, 3);
    assert!(stem.weights[..3].iter().all(|weight| weight.to_bits() == 0));
}

/// Weights that nothing is done to are packed as they are, but for those to be flushed.
#[test]
fn plans_flush_weights_without_a_factor() {
    let run = |weights: [f32; 4]| {
        let mut net = Builder::new();
        let image = net.input("image", Shape::new(1, 1, 2)).unwrap();
        let x = net.pointwise("pw", image, 2, Layer::arrays(weights, [0.5, 0.25])).unwrap();
        let plan = Plan::new(&net.build(&[x]).unwrap(), &(), &Serial, Options::default()).unwrap();
        let (mut workspace, mut output) = (plan.workspace().unwrap(), [0.0; 2]);
        plan.run(&Serial, &mut workspace, &[1e38, 2.0][..], &mut output[..]).unwrap();
        (plan.flushed_weights(), output)
    };
    assert_eq!(run([0.0, 1.0, -0.0, 3.0]), (0, [2.5, 6.25]));
    // A large input would make hundredths of the first and the third.
    assert_eq!(run([1e-40, 1.0, -1e-40, 3.0]), (2, [2.5, 6.25]));
}

/// Each weight is rounded once, after its product with a scale of double precision.
#[test]
fn folded_weights_are_rounded_once() {
    let weights: Vec<f32> = (1..=64u8).map(|at| f32::from(at) / 7.0).collect();
    let (gamma, variance, epsilon) = (0.3f32, 0.7f32, 1e-5);
    let layer = Layer::arrays(weights.clone(), [0.0]).norm_arrays([gamma], [0.0], [0.0], [variance], epsilon);
    let mut net = Builder::new();
    let image = net.input("image", Shape::new(1, 1, 64)).unwrap();
    let x = net.pointwise("pw", image, 1, layer).unwrap();
    let folded = sepconv::weights::fold(&net.build(&[x]).unwrap(), &()).unwrap();
    let scale = f64::from(gamma) / (f64::from(variance) + epsilon).sqrt();
    let once: Vec<f32> = weights.iter().map(|&weight| (f64::from(weight) * scale) as f32).collect();
    assert_eq!(folded[0].as_ref().unwrap().weights, once);
    assert_ne!(once, weights.iter().map(|weight| weight * scale as f32).collect::<Vec<_>>());
}

/// gamma (w x + b - mean) / sqrt(variance + epsilon) + beta.
#[test]
fn a_norm_behind_a_bias_moves_into_both() {
    let layer =
        Layer::arrays([1.0, -3.0], [0.5, 2.0]).norm_arrays([2.0, 0.5], [0.25, -1.0], [4.0, -6.0], [3.5, 0.5], 0.5);
    let mut net = Builder::new();
    let image = net.input("image", Shape::new(1, 1, 1)).unwrap();
    let x = net.pointwise("pw", image, 2, layer).unwrap();
    let folded = sepconv::weights::fold(&net.build(&[x]).unwrap(), &()).unwrap();
    let folded = folded[0].as_ref().unwrap();
    // Factors of 2 / 2 and 0.5 / 1.
    assert_eq!(folded.weights, [1.0, -1.5]);
    assert_eq!(folded.bias, [0.25 + (0.5 - 4.0), -1.0 + (2.0 + 6.0) * 0.5]);
}

#[test]
fn the_source_of_no_tensors_has_none() {
    assert_eq!(().tensor("pw.weight", &[1]).unwrap_err(), "missing, expected shape [1]");
}

#[test]
fn a_damaged_file_is_an_error_or_the_right_answer() {
    let config = Config { width: 0.25, resolution: 28, classes: Some(3), ..Config::of(Architecture::Digits) };
    let network = Network::new(Architecture::Digits, &config).unwrap();
    let bytes = file(&torch(&network), &[("sepconv.network", "digits")]);
    let want = network.fold(&SafetensorsWeights::new(&bytes).unwrap()).unwrap();
    let check = |bytes: &[u8]| -> bool {
        let Ok(weights) = WeightFile::new(bytes) else { return true };
        let _ = weights.architecture().and_then(|name| weights.config(name));
        network.fold(&*weights).map_or(true, |got| got == want)
    };
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut numbers = Numbers(5);
    let cuts =
        (0..header).step_by(7).chain((0..500).map(|_| numbers.below(bytes.len()))).chain([0, 1, 7, 8, bytes.len() - 1]);
    let mut tried = 0;
    for cut in cuts {
        assert!(check(&bytes[..cut]), "cut at {cut}");
        assert!(SafetensorsWeights::new(&bytes[..cut]).is_err(), "cut at {cut}");
        tried += 1;
    }
    for at in 0..header {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (numbers.below(8));
        // A bit of a name or of the metadata may turn it into another that is not asked for; never into other weights,
        // unless an offset or a shape changes to one that is just as valid, which the shapes of the network then
        // refuse.
        let _ = check(&damaged);
        if at % 16 == 0 {
            let _ = models::load(&damaged);
        }
        tried += 1;
    }
    assert!(tried > 4000, "{tried}");
}
