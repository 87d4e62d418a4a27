//! Plans saved and loaded again: the bits and the steps of the plan that was saved, whatever it was built for.

mod common;

use std::fs::{self, File};

use common::every_isa;
use memmap2::Mmap;
use sepconv::graph::{Builder, Layer, Tensors};
use sepconv::models::{Architecture, Config, Network};
use sepconv::parallel::{Parallel, Serial};
use sepconv::weights::{HashWeights, fold};
use sepconv::{Error, Fusion, Isa, LoadOptions, Options, Plan, Shape};

/// Any number of threads, whose tasks this one runs, the last first.
struct Threads(usize);

// SAFETY: one task after the other.
unsafe impl Parallel for Threads {
    fn threads(&self) -> usize {
        self.0
    }

    fn enter(&self, _: usize, work: &mut (dyn FnMut() + Send)) {
        work();
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..tasks).rev().for_each(task);
    }
}

fn output(plan: &Plan) -> Vec<u32> {
    let shape = plan.graph().inputs().next().unwrap().1;
    let input = HashWeights::image(plan.batch() * shape.height, shape.width, shape.channels).unwrap();
    let mut output = vec![0.0; plan.output_len()];
    plan.run(&Threads(3), &mut plan.workspace().unwrap(), &input, &mut output).unwrap();
    output.iter().map(|value| value.to_bits()).collect()
}

fn small(architecture: Architecture) -> Network {
    let (width, resolution) = match architecture {
        Architecture::Digits => (0.25, 28),
        Architecture::MobilenetV1 => (0.25, 51),
        Architecture::MobilenetV2 => (0.35, 47),
        Architecture::Xception => (0.125, 75),
        Architecture::ShufflenetV1 => (0.25, 67),
        Architecture::ShufflenetV2 => (0.5, 65),
        Architecture::Effnet => (0.35, 19),
        _ => (0.25, 61),
    };
    let config = Config { width, resolution, classes: Some(11), ..Config::of(architecture) };
    Network::new(architecture, &config).unwrap()
}

#[test]
fn every_network_is_loaded_as_it_was_saved() {
    for architecture in Architecture::ALL {
        let network = small(architecture);
        let folded = network.fold(&HashWeights).unwrap();
        for isa in every_isa().iter().map(|kernels| kernels.isa()) {
            for (batch, threads, fusion, low_memory, staged) in [
                (1, 1, Fusion::Auto, false, false),
                (2, 2, Fusion::Off, false, true),
                (1, 3, Fusion::Strips(3), false, false),
                (3, 1, Fusion::Auto, true, false),
            ] {
                let options = Options { isa: Some(isa), batch, fusion, low_memory, staged, ..Options::default() };
                let plan = Plan::from_folded(network.graph(), &folded, &Threads(threads), options).unwrap();
                let load = LoadOptions { isa: Some(isa), verify: true };
                let loaded = Plan::load(plan.save().unwrap(), load).unwrap();
                let facts = |plan: &Plan| {
                    let steps: Vec<String> = plan.describe().map(|step| format!("{step} {}", step.tasks)).collect();
                    let numbers = (plan.batch(), plan.threads(), plan.isa(), plan.workspace_len(), plan.peak_bytes());
                    (steps, numbers, plan.flushed_weights(), plan.graph().params(), plan.graph().macs())
                };
                assert_eq!(facts(&loaded), facts(&plan), "{}, {options:?}", network.name());
                assert_eq!(output(&loaded), output(&plan), "{}, {options:?}", network.name());
            }
        }
    }
}

#[test]
fn a_plan_runs_from_a_mapped_file_and_from_bytes() {
    let plan = small(Architecture::MobilenetV2).plan(&HashWeights, &Serial, Options::default()).unwrap();
    let (path, blob) =
        (std::env::temp_dir().join(format!("sepconv-saved-{}", std::process::id())), plan.save().unwrap());
    fs::write(&path, &blob).unwrap();
    // SAFETY: nobody changes the file.
    let map = unsafe { Mmap::map(&File::open(&path).unwrap()) }.unwrap();
    let mapped = Plan::load(map, LoadOptions::default()).unwrap();
    fs::remove_file(&path).unwrap();
    let leaked: &'static [u8] = Box::leak(blob.clone().into_boxed_slice());
    for loaded in [mapped, Plan::load(leaked, LoadOptions::default()).unwrap()] {
        // The plans for other batches share the weights, and live without the first.
        let two = loaded.with_batch(2).unwrap();
        assert_eq!(output(&loaded), output(&plan));
        drop(loaded);
        assert_eq!(output(&two), output(&plan.with_batch(2).unwrap()));
    }
}

/// A graph of the same nodes, of some of them, with weights by name and as arrays.
#[test]
fn the_graph_of_a_loaded_plan_takes_other_weights_by_name() {
    let network = small(Architecture::ShufflenetV2);
    let features = network.graph().features([network.graph().nodes()[9].name()]).unwrap();
    for graph in [network.graph(), &features] {
        let plan = Plan::new(graph, &HashWeights, &Serial, Options::default()).unwrap();
        let loaded = Plan::load(plan.save().unwrap(), LoadOptions::default()).unwrap();
        let folded = fold(loaded.graph(), &HashWeights).unwrap();
        assert!(folded == fold(graph, &HashWeights).unwrap());
        let again = Plan::from_folded(loaded.graph(), &folded, &Serial, Options::default()).unwrap();
        assert_eq!(output(&again), output(&plan));
    }
    let mut net = Builder::new();
    let image = net.input("image", Shape::new(4, 4, 3)).unwrap();
    let x = net.pointwise("pw", image, 2, Layer::arrays([0.5; 6], [0.0; 2])).unwrap();
    let plan = Plan::new(&net.build(&[x]).unwrap(), &HashWeights, &Serial, Options::default()).unwrap();
    let loaded = Plan::load(plan.save().unwrap(), LoadOptions::default()).unwrap();
    assert_eq!(output(&loaded), output(&plan));
    assert_eq!(loaded.graph().nodes()[0].parameters().unwrap().weights(), &Tensors::Packed);
    let error = Plan::new(loaded.graph(), &HashWeights, &Serial, Options::default()).unwrap_err().to_string();
    assert!(error.contains("pw: its arrays are packed in a loaded plan"), "{error}");
}

#[test]
fn what_is_no_blob_for_this_machine_is_refused() {
    let plan = small(Architecture::Digits);
    let plan = |isa| plan.plan(&HashWeights, &Serial, Options { isa: Some(isa), ..Options::default() }).unwrap();
    for saved in Isa::supported() {
        let blob = plan(saved).save().unwrap();
        for isa in Isa::supported() {
            match Plan::load(blob.clone(), LoadOptions { isa: Some(isa), ..LoadOptions::default() }) {
                Ok(_) => assert_eq!(isa, saved),
                Err(error) => {
                    let ours = matches!(&error, Error::OtherBlob { what: "ISA", got, expected }
                        if *got == saved.to_string() && *expected == isa.to_string());
                    assert!(ours && isa != saved, "{error}");
                }
            }
        }
        let mut damaged = blob.clone();
        *damaged.last_mut().unwrap() ^= 1;
        let load = |verify| Plan::load(damaged.clone(), LoadOptions { isa: Some(saved), verify });
        assert!(load(false).is_ok());
        assert!(matches!(load(true), Err(Error::Blob { why }) if why.contains("weights are damaged")));
    }
    for bytes in [&b""[..], b"sepconv", b"sepconv\0", &[0; 4096]] {
        let refused = Plan::load(bytes, LoadOptions::default());
        assert!(matches!(refused, Err(Error::Blob { .. })), "{bytes:?}");
    }
}
