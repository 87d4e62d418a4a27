//! Any bytes as a file of weights: whatever they are, an error or tensors, never a panic, nor more memory than they take.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sepconv::models::{Architecture, WeightFile, load};
use sepconv::parallel::Serial;
use sepconv::weights::{SafetensorsWeights, Weights};

/// Networks with fewer weights are planned too.
const MOST_PARAMETERS: u64 = 500_000;

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    // The same with a length of the header that is right: up to the last brace.
    if let Some(end) = bytes.iter().rposition(|&byte| byte == b'}').filter(|&end| end >= 8) {
        let header = (end as u64 - 7).to_le_bytes();
        read(&[&header, &bytes[8..]].concat());
    }
});

fn read(bytes: &[u8]) {
    let Ok(file) = SafetensorsWeights::new(bytes) else { return };
    for name in file.tensor_names() {
        let shape = file.shape(&name).expect("a tensor that is there").to_vec();
        if let Ok(values) = file.tensor(&name, &shape) {
            assert_eq!(values.len(), shape.iter().product::<usize>(), "{name}");
            assert!(values.iter().all(|value| value.is_finite()), "{name}");
        }
        assert!(file.tensor(&name, &[shape.len(), usize::MAX]).is_err(), "{name}");
    }
    let file = WeightFile::new(bytes).expect("it was read before");
    for architecture in Architecture::ALL {
        // Errors, or answers: which, other tests say.
        let _ = (file.config(architecture), file.is_backbone(architecture), file.names_of(architecture));
    }
    let _ = file.background();
    if let Ok((network, weights)) = load(bytes) {
        if network.graph().params() <= MOST_PARAMETERS {
            let _ = network.plan(&*weights, &Serial, Default::default());
        }
    }
}
