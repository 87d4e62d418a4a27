//! What a plan says of its memory and its steps, and what it takes.

use sepconv::net::{Config, Name, Network};
use sepconv::parallel::Serial;
use sepconv::weights::{HashWeights, fold};
use sepconv::{Fusion, Options, Plan};

/// A MobileNet of at most 28 x 28 pixels and few channels.
fn plan(options: Options) -> Result<Plan, String> {
    let config = Config { width: 0.05, resolution: 28, ..Config::of(Name::MobilenetV1) };
    let network = Network::new(Name::MobilenetV1, &config).unwrap();
    Plan::new(network, &HashWeights, options).map_err(|error| error.to_string())
}

/// The image with the first layer's output, 28x28x3 and 14x14x8, is more than any two of the other tensors: of those the
/// largest are 14x14x8 both. Without the image the peak would be 12,544 bytes, with it to the end 21,952.
#[test]
fn the_peak_holds_the_images_until_they_were_read() {
    for batch in [1, 3] {
        let plan = plan(Options { batch, fusion: Fusion::Off, ..Options::default() }).unwrap();
        assert_eq!(plan.peak_bytes(), batch * 4 * (28 * 28 * 3 + 14 * 14 * 8));
        assert_eq!(plan.workspace_bytes(), batch * 4 * 2 * 14 * 14 * 8);
    }
}

#[test]
fn batch_and_threads_have_a_limit() {
    const LARGEST: usize = 1 << 16;
    for batch in [LARGEST, LARGEST - 1] {
        let plan = plan(Options { batch, ..Options::default() }).unwrap();
        assert_eq!((plan.batch(), plan.input_len()), (batch, batch * 28 * 28 * 3));
    }
    let threads = plan(Options { threads: LARGEST, ..Options::default() }).unwrap();
    assert_eq!((threads.batch(), threads.threads()), (1, LARGEST));
    for beyond in [LARGEST + 1, usize::MAX] {
        for options in
            [Options { batch: beyond, ..Options::default() }, Options { threads: beyond, ..Options::default() }]
        {
            let error = plan(options).unwrap_err();
            assert!(error.contains(&beyond.to_string()) && error.contains("at most 65536"), "{error}");
        }
    }
    let none = plan(Options { batch: 0, threads: 0, ..Options::default() }).unwrap();
    assert_eq!((none.batch(), none.threads()), (1, 1));
}

/// With all that there is to count: inverted residuals, a shortcut, batches.
fn inverted() -> Network {
    let config = Config { width: 0.35, resolution: 40, classes: Some(9), ..Config::of(Name::MobilenetV2) };
    Network::new(Name::MobilenetV2, &config).unwrap()
}

#[test]
fn steps_count_what_they_compute_and_move() {
    let (network, batch) = (inverted(), 2);
    for (fusion, low_memory) in
        [(Fusion::Auto, false), (Fusion::Off, false), (Fusion::Off, true), (Fusion::Strips(2), false)]
    {
        let options = Options { batch, fusion, low_memory, threads: 2, ..Options::default() };
        let plan = Plan::new(network.clone(), &HashWeights, options).unwrap();
        let macs: u64 = plan.describe().map(|step| step.macs).sum();
        assert_eq!(macs, batch as u64 * network.macs(), "{fusion:?}, {low_memory}");
        assert!(plan.describe().all(|step| step.layers.len() == step.kernels.len()));
    }
    let folded = fold(&network, &HashWeights).unwrap();
    let plan =
        Plan::from_folded(network.clone(), &folded, Options { batch, observed: true, ..Options::default() }).unwrap();
    let (steps, layers) = (plan.describe().collect::<Vec<_>>(), network.layers());
    assert_eq!(steps.len(), layers.len());
    for ((step, layer), folded) in steps.iter().zip(layers).zip(&folded) {
        assert_eq!(step.layers, [&layer.name]);
        assert_eq!((Some(step.input), step.output), (network.shape(layer.input), layer.output), "{}", layer.name);
        let shapes = [Some(layer.input), layer.residual].into_iter().flatten().filter_map(|at| network.shape(at));
        let tensors: usize = shapes.chain([layer.output]).map(|shape| shape.len()).sum();
        let weights = folded.as_ref().map_or(0, |folded| folded.weights.len() + folded.bias.len());
        assert_eq!(step.bytes, 4 * (batch * tensors + weights) as u64, "{}", layer.name);
    }
    assert!(layers.iter().any(|layer| layer.residual.is_some()));
}

#[test]
fn a_timed_run_is_a_run() {
    let network = inverted();
    let shape = network.input();
    let image = HashWeights::image(shape.height, shape.width, shape.channels).unwrap();
    let plan = Plan::new(network, &HashWeights, Options::default()).unwrap();
    let (mut want, mut got) = (vec![0.0; plan.output_len()], vec![0.0; plan.output_len()]);
    plan.run(&mut plan.workspace().unwrap(), &image, &mut want).unwrap();
    let mut steps = Vec::new();
    let time = &mut |step, work: &mut dyn FnMut()| {
        steps.push(step);
        work();
    };
    plan.run_timed(&Serial, &mut plan.workspace().unwrap(), &image, &mut got, time).unwrap();
    assert_eq!(steps, (0..plan.describe().count()).collect::<Vec<_>>());
    assert_eq!(got, want);
    let short = plan.run_timed(&Serial, &mut plan.workspace().unwrap(), &image[1..], &mut got, &mut |_, _| ());
    assert!(short.unwrap_err().to_string().contains("input"));
}

#[test]
fn weights_of_another_network_are_refused() {
    let (network, other) = (inverted(), plan(Options::default()).unwrap().network().clone());
    let folded = fold(&other, &HashWeights).unwrap();
    assert!(Plan::from_folded(network.clone(), &folded, Options::default()).is_err());
    let none = Plan::from_folded(network, &[], Options::default()).unwrap_err().to_string();
    assert!(none.contains("got none, expected folded weights"), "{none}");
}
