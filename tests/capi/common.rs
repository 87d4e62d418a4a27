//! What the tests call the interface with.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use sepconv::capi::builder::{sepconv_builder, sepconv_builder_free, sepconv_builder_new};
use sepconv::capi::graph::{sepconv_graph, sepconv_graph_free, sepconv_graph_network, sepconv_network};
use sepconv::capi::layers::{sepconv_layer, sepconv_layer_free, sepconv_weights};
use sepconv::capi::plan::{sepconv_plan, sepconv_plan_free, sepconv_plan_workspace_bytes};
use sepconv::capi::status::{sepconv_last_message, sepconv_status};
use sepconv::capi::threads::{sepconv_task, sepconv_threads};
use sepconv::capi::types::{sepconv_batch, sepconv_batch_mut, sepconv_image, sepconv_image_mut};
use sepconv::{AlignedBuffer, Shape};

/// The system's allocator, which counts what each thread asks for, and what all have.
struct Counting;

/// Bytes that are allocated.
static HELD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are handed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What this thread has allocated so far.
pub fn allocations() -> usize {
    ALLOCATIONS.get()
}

/// Bytes that the process has allocated and not freed.
pub fn held() -> usize {
    HELD.load(Ordering::Relaxed)
}

/// The message of the last failure on this thread.
pub fn message() -> String {
    // SAFETY: the message ends in NUL, and no call fails meanwhile.
    unsafe { CStr::from_ptr(sepconv_last_message()) }.to_str().unwrap().to_string()
}

pub fn ok(status: sepconv_status) {
    assert_eq!(status, sepconv_status::Ok, "{}", message());
}

/// Numbers in -1..1, as `fill` of examples/c/threads.c makes them.
pub fn numbers(length: usize, mut seed: u32) -> Vec<f32> {
    let next = |_| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as f32 / 8_388_608.0 - 1.0
    };
    (0..length).map(next).collect()
}

pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// An image without gaps.
pub fn image(data: &[f32], shape: impl Into<Shape>) -> sepconv_image {
    let Shape { height, width, channels } = shape.into();
    let (data, length) = (data.as_ptr(), data.len());
    sepconv_image { data, length, height, width, channels, pixel_stride: 0, row_stride: 0 }
}

/// The same to write.
pub fn image_mut(data: &mut [f32], shape: impl Into<Shape>) -> sepconv_image_mut {
    let Shape { height, width, channels } = shape.into();
    let (data, length) = (data.as_mut_ptr(), data.len());
    sepconv_image_mut { data, length, height, width, channels, pixel_stride: 0, row_stride: 0 }
}

pub fn batch(data: &[f32], count: usize, shape: impl Into<Shape>) -> sepconv_batch {
    sepconv_batch { first: image(data, shape), count, image_stride: 0 }
}

pub fn batch_mut(data: &mut [f32], count: usize, shape: impl Into<Shape>) -> sepconv_batch_mut {
    sepconv_batch_mut { first: image_mut(data, shape), count, image_stride: 0 }
}

/// Weights and a bias, in one of `sepconv_order`.
pub fn weights(order: u32, weights: &[f32], bias: &[f32]) -> sepconv_weights {
    sepconv_weights {
        order,
        weights: weights.as_ptr(),
        weights_length: weights.len(),
        bias: if bias.is_empty() { ptr::null() } else { bias.as_ptr() },
        bias_length: bias.len(),
    }
}

/// A handle, freed at the end.
pub struct Handle<T: Free>(pub *mut T);

/// A kind of handle.
pub trait Free: Sized {
    const FREE: unsafe extern "C" fn(*mut Self) -> sepconv_status;
}

impl Free for sepconv_builder {
    const FREE: unsafe extern "C" fn(*mut Self) -> sepconv_status = sepconv_builder_free;
}

impl Free for sepconv_graph {
    const FREE: unsafe extern "C" fn(*mut Self) -> sepconv_status = sepconv_graph_free;
}

impl Free for sepconv_layer {
    const FREE: unsafe extern "C" fn(*mut Self) -> sepconv_status = sepconv_layer_free;
}

impl Free for sepconv_plan {
    const FREE: unsafe extern "C" fn(*mut Self) -> sepconv_status = sepconv_plan_free;
}

impl<T: Free> Handle<T> {
    /// The handle that `call` writes.
    pub fn new(call: impl FnOnce(*mut *mut T) -> sepconv_status) -> Self {
        let mut handle = ptr::null_mut();
        ok(call(&mut handle));
        Handle(handle)
    }
}

impl<T: Free> Drop for Handle<T> {
    fn drop(&mut self) {
        // SAFETY: the handle is freed here alone.
        ok(unsafe { T::FREE(self.0) });
    }
}

pub fn builder() -> Handle<sepconv_builder> {
    // SAFETY: the place is a local one.
    Handle::new(|place| unsafe { sepconv_builder_new(place) })
}

/// The network that a struct of zeros with this name stands for.
pub fn network(name: &CStr) -> sepconv_network {
    let (flavor, name) = (ptr::null(), name.as_ptr());
    sepconv_network { name, flavor, width: 0.0, resolution: 0, classes: 0, groups: 0, backbone: 0 }
}

pub fn graph_of(network: &sepconv_network) -> Handle<sepconv_graph> {
    // SAFETY: the network's names live, and the place is a local one.
    Handle::new(|place| unsafe { sepconv_graph_network(network, place) })
}

/// A workspace for `plan`.
pub fn workspace(plan: &Handle<sepconv_plan>) -> AlignedBuffer {
    let mut bytes = 0;
    // SAFETY: the handle lives, and the place is a local one.
    ok(unsafe { sepconv_plan_workspace_bytes(plan.0, &mut bytes) });
    AlignedBuffer::zeroed(bytes / 4).unwrap()
}

unsafe extern "C" fn three(_: *mut c_void) -> usize {
    3
}

/// Calls every task on a thread of its own, the last first.
unsafe extern "C" fn apart(_: *mut c_void, tasks: usize, task: sepconv_task, argument: *mut c_void) {
    let (task, argument) = (task.unwrap(), argument.expose_provenance());
    std::thread::scope(|scope| {
        for index in (0..tasks).rev() {
            // SAFETY: as the library asks.
            scope.spawn(move || unsafe { task(ptr::with_exposed_provenance_mut(argument), index) });
        }
    });
}

/// Calls every task on the calling thread.
unsafe extern "C" fn in_turn(_: *mut c_void, tasks: usize, task: sepconv_task, argument: *mut c_void) {
    for index in 0..tasks {
        // SAFETY: as the library asks.
        unsafe { task.unwrap()(argument, index) };
    }
}

/// Calls no task, or the first over and over.
unsafe extern "C" fn badly(context: *mut c_void, tasks: usize, task: sepconv_task, argument: *mut c_void) {
    for _ in 0..if context.is_null() { 0 } else { 3 * tasks } {
        // SAFETY: what the library asks for, too often and with the wrong index.
        unsafe { task.unwrap()(argument, 0) };
    }
}

fn threads(
    context: *mut c_void,
    parallel_for: unsafe extern "C" fn(*mut c_void, usize, sepconv_task, *mut c_void),
) -> sepconv_threads {
    sepconv_threads { context, count: Some(three), parallel_for: Some(parallel_for) }
}

pub fn three_threads() -> sepconv_threads {
    threads(ptr::null_mut(), apart)
}

pub fn three_in_turn() -> sepconv_threads {
    threads(ptr::null_mut(), in_turn)
}

/// Threads that call too few tasks, or too many.
pub fn bad_threads() -> [sepconv_threads; 2] {
    [ptr::null_mut(), ptr::dangling_mut::<u8>().cast()].map(|context| threads(context, badly))
}
