//! Plans: the bits of the Rust interface on any threads, without an allocation.

use std::ffi::CStr;
use std::ptr;

use sepconv::capi::builder::{sepconv_builder_build, sepconv_builder_input, sepconv_tensor};
use sepconv::capi::graph::{sepconv_graph, sepconv_network};
use sepconv::capi::library::{sepconv_abi_version, sepconv_isa_chosen, sepconv_isa_supported, sepconv_version};
use sepconv::capi::nodes::sepconv_builder_pointwise;
use sepconv::capi::plan::*;
use sepconv::capi::saved::{sepconv_plan_load, sepconv_plan_save};
use sepconv::capi::status::sepconv_status_name;
use sepconv::capi::types::{sepconv_batch, sepconv_batch_mut, sepconv_image_mut, sepconv_shape};
use sepconv::models::{Architecture, Config, Network};
use sepconv::parallel::Serial;
use sepconv::weights::HashWeights;
use sepconv::{AlignedBuffer, Isa, Options, Shape};

use crate::common::*;
use crate::graphs::named;

const SIZE: usize = 64;

/// MobileNet V2, and the logits of three images in Rust.
fn mobilenet() -> (Handle<sepconv_graph>, Vec<f32>, Vec<f32>) {
    let config = Config { width: 0.35, resolution: SIZE, ..Config::of(Architecture::MobilenetV2) };
    let rust = Network::new(Architecture::MobilenetV2, &config).unwrap();
    let options = Options { batch: 3, ..Options::default() };
    let plan = rust.plan(&HashWeights, &Serial, options).unwrap();
    let (images, mut logits) = (numbers(plan.input_len(), 1), vec![0.0; plan.output_len()]);
    plan.run(&Serial, &mut plan.workspace().unwrap(), &images, &mut logits).unwrap();
    let network = sepconv_network { width: 0.35, resolution: SIZE, ..network(c"mobilenet_v2") };
    (graph_of(&network), images, logits)
}

/// A blob that lies on a cache line is read where it is, any other is copied.
#[test]
fn plans_are_saved_and_loaded() {
    let (graph, images, logits) = mobilenet();
    // SAFETY: the handles and all that is pointed to live.
    unsafe {
        let threads = three_in_turn();
        let plan = Handle::new(|place| sepconv_plan_from_names(graph.0, &threads, ptr::null(), place));
        let (mut bytes, mut length) = (0, 0);
        ok(sepconv_plan_save(plan.0, ptr::null_mut(), 0, &mut bytes));
        for skip in [0, 4] {
            let mut blob = AlignedBuffer::zeroed(bytes / 4 + 1).unwrap();
            let at = blob[skip / 4..].as_mut_ptr().cast::<std::ffi::c_void>();
            ok(sepconv_plan_save(plan.0, at, bytes, &mut length));
            assert_eq!(length, bytes);
            let loaded: Handle<sepconv_plan> = Handle::new(|place| sepconv_plan_load(at, bytes, ptr::null(), place));
            let three: Handle<sepconv_plan> = Handle::new(|place| sepconv_plan_with_batch(loaded.0, 3, place));
            drop(loaded);
            if skip > 0 {
                blob.fill(f32::NAN);
            }
            let mut memory = workspace(&three);
            let (start, size) = (memory.as_mut_ptr().cast(), memory.len() * 4);
            let mut own = vec![0.0; logits.len()];
            let (input, output) = (batch(&images, 3, (SIZE, SIZE, 3)), batch_mut(&mut own, 3, (1, 1, 1000)));
            let before = allocations();
            ok(sepconv_plan_run(three.0, ptr::null(), start, size, &input, 1, &output, 1));
            assert_eq!(allocations(), before);
            assert_eq!(bits(&own), bits(&logits), "byte {skip}");
            drop(three);
            drop(blob);
        }
    }
}

#[test]
fn plans_have_the_bits_of_rust_on_any_threads() {
    let (graph, images, logits) = mobilenet();
    let image = (SIZE, SIZE, 3);
    for isa in Isa::supported() {
        let isa = std::ffi::CString::new(isa.as_str()).unwrap();
        let [few, many] = bad_threads();
        for (threads, fusion, low_memory) in
            [(three_threads(), 0, 0), (three_in_turn(), 1, 0), (three_threads(), 0, 1), (few, 0, 0), (many, 0, 0)]
        {
            let options = sepconv_plan_options { isa: isa.as_ptr(), batch: 0, fusion, low_memory };
            // SAFETY: the handles and all that is pointed to live.
            unsafe {
                let one = Handle::new(|place| sepconv_plan_from_names(graph.0, &threads, &options, place));
                let three: Handle<sepconv_plan> = Handle::new(|place| sepconv_plan_with_batch(one.0, 3, place));
                let mut name = ptr::null();
                ok(sepconv_plan_isa(three.0, &mut name));
                assert_eq!(CStr::from_ptr(name), &*isa);
                for (plan, count) in [(&one, 1), (&three, 3)] {
                    let mut memory = workspace(plan);
                    memory.fill(f32::NAN);
                    let (start, bytes) = (memory.as_mut_ptr().cast(), memory.len() * 4);
                    for threads in [ptr::null(), ptr::from_ref(&threads)] {
                        let mut own = vec![f32::NAN; count * 1004];
                        let input = batch(&images[..count * SIZE * SIZE * 3], count, image);
                        let output =
                            sepconv_batch_mut { image_stride: 1004, ..batch_mut(&mut own, count, (1, 1, 1000)) };
                        ok(sepconv_plan_run(plan.0, threads, start, bytes, &input, 1, &output, 1));
                        for (own, expected) in own.chunks_exact(1004).zip(logits.chunks_exact(1000)) {
                            assert_eq!(bits(&own[..1000]), bits(expected), "{isa:?}, {count} images");
                            assert!(own[1000..].iter().all(|gap| gap.is_nan()));
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_run_allocates_nothing() {
    let (graph, images, _) = mobilenet();
    let threads = three_in_turn();
    // SAFETY: the handles and all that is pointed to live.
    unsafe {
        let plan: Handle<sepconv_plan> =
            Handle::new(|place| sepconv_plan_from_names(graph.0, &threads, ptr::null(), place));
        let (mut memory, mut logits) = (workspace(&plan), vec![0.0; 1000]);
        let (start, bytes) = (memory.as_mut_ptr().cast(), memory.len() * 4);
        let input = batch(&images[..SIZE * SIZE * 3], 1, (SIZE, SIZE, 3));
        let output = batch_mut(&mut logits, 1, (1, 1, 1000));
        for threads in [ptr::null(), ptr::from_ref(&threads)] {
            ok(sepconv_plan_run(plan.0, threads, start, bytes, &input, 1, &output, 1));
            let before = allocations();
            ok(sepconv_plan_run(plan.0, threads, start, bytes, &input, 1, &output, 1));
            assert_eq!(allocations(), before);
        }
    }
}

#[test]
fn two_threads_run_one_plan_at_the_same_time() {
    let (graph, images, logits) = mobilenet();
    // SAFETY: the handles and all that is pointed to live.
    let plan: Handle<sepconv_plan> =
        Handle::new(|place| unsafe { sepconv_plan_from_names(graph.0, &three_threads(), ptr::null(), place) });
    let (at, start) = (plan.0.expose_provenance(), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        for mut memory in [workspace(&plan), workspace(&plan)] {
            let (images, logits, start) = (&images, &logits, &start);
            scope.spawn(move || {
                let plan: *const sepconv_plan = ptr::with_exposed_provenance(at);
                let threads = three_threads();
                let input = batch(&images[..SIZE * SIZE * 3], 1, (SIZE, SIZE, 3));
                let bytes = memory.len() * 4;
                for threads in [ptr::null(), ptr::from_ref(&threads)].repeat(3) {
                    let mut own = [f32::NAN; 1000];
                    let output = batch_mut(&mut own, 1, (1, 1, 1000));
                    start.wait();
                    let memory = memory.as_mut_ptr().cast();
                    // SAFETY: the plan lives, and all else is this thread's own.
                    ok(unsafe { sepconv_plan_run(plan, threads, memory, bytes, &input, 1, &output, 1) });
                    assert_eq!(bits(&own), bits(&logits[..1000]));
                }
            });
        }
    });
}

/// A pointwise layer with the weights `pw.weight` of an array, and images with gaps.
#[test]
fn arrays_by_name_are_weights() {
    let net = builder();
    let none = sepconv_tensor { builder: 0, index: 0 };
    let shape = sepconv_shape { height: 2, width: 2, channels: 3 };
    let (mut x, weights) = (none, [1.0, 10.0, 100.0, 0.0, 0.0, 1.0]);
    // SAFETY: the handles and all that is pointed to live.
    unsafe {
        ok(sepconv_builder_input(net.0, c"image".as_ptr(), shape, &mut x));
        ok(sepconv_builder_pointwise(net.0, c"pw".as_ptr(), x, 2, 1, &named(c"pw"), ptr::null(), &mut x));
        let graph: Handle<sepconv_graph> = Handle::new(|place| sepconv_builder_build(net.0, &x, 1, place));
        drop(net);
        let array = sepconv_named_array { name: c"pw.weight".as_ptr(), data: weights.as_ptr(), length: 6 };
        let plan = Handle::new(|place| sepconv_plan_from_arrays(graph.0, &array, 1, ptr::null(), ptr::null(), place));
        drop(graph);
        let mut port = sepconv_port { name: ptr::null(), shape };
        ok(sepconv_plan_input(plan.0, 0, &mut port));
        assert_eq!((CStr::from_ptr(port.name), Shape::from(port.shape)), (c"image", Shape::new(2, 2, 3)));
        let (input, mut output) = ([1.0, 2.0, 3.0].repeat(4), [0.0; 12]);
        let to = sepconv_image_mut { pixel_stride: 3, row_stride: 6, ..image_mut(&mut output, (2, 2, 2)) };
        let to = sepconv_batch_mut { first: to, count: 1, image_stride: 0 };
        let from = sepconv_batch { first: image(&input, (2, 2, 3)), count: 1, image_stride: 0 };
        let mut memory = workspace(&plan);
        let (start, bytes) = (memory.as_mut_ptr().cast(), memory.len() * 4);
        ok(sepconv_plan_run(plan.0, ptr::null(), start, bytes, &from, 1, &to, 1));
        assert_eq!(output, [321.0, 3.0, 0.0].repeat(4)[..]);
    }
}

#[test]
fn the_library_says_what_it_is() {
    // SAFETY: the texts live for ever, and the place is a local one.
    unsafe {
        assert_eq!(CStr::from_ptr(sepconv_version()).to_str(), Ok(env!("CARGO_PKG_VERSION")));
        assert_eq!(sepconv_abi_version(), 1);
        let supported = (0..).map(|index| sepconv_isa_supported(index)).take_while(|name| !name.is_null());
        let supported: Vec<_> = supported.map(|name| CStr::from_ptr(name).to_str().unwrap()).collect();
        assert_eq!(supported, Isa::supported().iter().map(|isa| isa.as_str()).collect::<Vec<_>>());
        let mut chosen = ptr::null();
        ok(sepconv_isa_chosen(ptr::null(), &mut chosen));
        assert_eq!(CStr::from_ptr(chosen).to_str(), Ok(Isa::selected().unwrap().as_str()));
        ok(sepconv_isa_chosen(c"portable".as_ptr(), &mut chosen));
        assert_eq!(CStr::from_ptr(chosen), c"portable");
        assert_eq!(CStr::from_ptr(sepconv_status_name(9)), c"SEPCONV_STATUS_NOT_A_HANDLE");
        for none in [-1, 13, i32::MIN] {
            assert_eq!(CStr::from_ptr(sepconv_status_name(none)), c"unknown");
        }
    }
}
