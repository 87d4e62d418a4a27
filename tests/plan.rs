//! What a plan says of its memory, and which batches and threads it takes.

use sepconv::net::{Config, Name, Network};
use sepconv::weights::HashWeights;
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
