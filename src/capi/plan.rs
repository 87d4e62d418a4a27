//! Plans: graphs made ready to run.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_int, c_void};
use std::fmt::Write;
use std::slice;

use arrayvec::{ArrayString, ArrayVec};

use super::graph::{bytes, sepconv_graph};
use super::handle::{self, Opaque};
use super::library;
use super::pointer::{array, check, optional, optional_place, optional_text, place, text};
use super::status::{Checked, Failure, guard, sepconv_status};
use super::threads::{Threads, sepconv_threads};
use super::types::{expect_apart, sepconv_batch, sepconv_batch_mut, sepconv_shape};
use crate::error::Error;
use crate::plan::{Fusion, Inputs, Options, Outputs, Plan, Workspace};
use crate::tensor::{Batch, BatchMut, Shape};
use crate::weights::{HashWeights, SafetensorsWeights, Weights};

/// A graph with its weights packed for the kernels of one ISA. Any number of threads may run the same plan at the same time,
/// each with a workspace and outputs of its own.
pub struct sepconv_plan {
    _private: (),
}

impl Opaque for sepconv_plan {
    type Held = Held;
    const MAGIC: u64 = u64::from_le_bytes(*b"scplan_1");
    const NAME: &'static str = "plan";
}

/// What a plan holds.
pub(super) struct Held {
    pub plan: Plan,
    inputs: Vec<(CString, Shape)>,
    outputs: Vec<(CString, Shape)>,
}

/// The most inputs, and the most outputs, of a plan: a run has them on its stack.
const MOST: usize = 64;
/// The alignment of a workspace, `SEPCONV_WORKSPACE_ALIGNMENT` of the header: a cache line.
const ALIGNMENT: usize = 64;

/// Which layers a plan computes together, strip by strip, so that what is between them stays in a cache. The bits are the
/// same.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum sepconv_fusion {
    /// Those where it pays.
    Auto = 0,
    /// None.
    Off = 1,
}

/// How to make a plan. A struct of zeros, as a null pointer to one, is the default.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct sepconv_plan_options {
    /// The name of the ISA; null: see `sepconv_isa_chosen`.
    pub isa: *const c_char,
    /// Images a run: up to 65536; 0 stands for 1.
    pub batch: usize,
    /// One of `sepconv_fusion`.
    pub fusion: u32,
    /// Not 0: every chain of layers strip by strip where that takes less memory. The bits are the same.
    pub low_memory: c_int,
}

/// A tensor of weights by name: f32, row-major, with PyTorch's axes.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct sepconv_named_array {
    /// The name, such as `block.pw.weight`.
    pub name: *const c_char,
    /// Finite floats. They are copied.
    pub data: *const f32,
    /// How many there are.
    pub length: usize,
}

/// An input or an output of a plan.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct sepconv_port {
    /// The name that it has in the graph; lives as long as the plan.
    pub name: *const c_char,
    /// The shape of each image.
    pub shape: sepconv_shape,
}

/// Arrays by name as a source of weights.
struct Arrays<'a>(BTreeMap<&'a str, &'a [f32]>);

impl Weights for Arrays<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>, String> {
        let array = self.0.get(name).ok_or_else(|| format!("missing, expected shape {shape:?}"))?;
        let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
        if count != Some(array.len()) {
            return Err(format!("{} elements, expected shape {shape:?}", array.len()));
        }
        match array.iter().find(|value| !value.is_finite()) {
            Some(value) => Err(format!("an element is {value}, expected finite numbers")),
            None => Ok(Cow::Borrowed(array)),
        }
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().map(|name| name.to_string()).collect()
    }
}

/// # Safety
/// By the contract of the interface.
unsafe fn options(pointer: *const sepconv_plan_options) -> Checked<Options> {
    // SAFETY: by this function's own contract.
    let (options, isa) = unsafe {
        let Some(options) = optional(pointer, "options")? else { return Ok(Options::default()) };
        let isa = match optional_text(options.isa, "options.isa")? {
            Some(_) => Some(library::kernels(options.isa)?.isa()),
            None => None,
        };
        (options, isa)
    };
    let fusion = match options.fusion {
        0 => Fusion::Auto,
        1 => Fusion::Off,
        other => return Err(Failure::bad(format!("options.fusion: got {other}, expected one of sepconv_fusion"))),
    };
    Ok(Options { isa, batch: options.batch, fusion, low_memory: options.low_memory != 0, ..Options::default() })
}

/// The handle of a plan; an error where it has too many inputs or outputs.
pub(super) fn held(plan: Plan) -> Checked<*mut sepconv_plan> {
    let named = |(name, shape): (&str, Shape)| (CString::new(name.replace('\0', " ")).unwrap_or_default(), shape);
    let inputs: Vec<_> = plan.graph().inputs().map(named).collect();
    let outputs: Vec<_> = plan.graph().outputs().map(named).collect();
    for (what, count) in [("inputs", inputs.len()), ("outputs", outputs.len())] {
        if count > MOST {
            return Err(Failure::bad(format!("graph: got {count} {what}, expected at most {MOST}")));
        }
    }
    Ok(handle::new(Held { plan, inputs, outputs }))
}

/// Does what every call that makes a plan does, with the tensors of the source that `weights` gives.
///
/// # Safety
/// By the contract of the interface.
unsafe fn make<W: Weights>(
    graph: *const sepconv_graph,
    weights: impl FnOnce() -> Checked<W>,
    threads: *const sepconv_threads,
    choices: *const sepconv_plan_options,
    plan: *mut *mut sepconv_plan,
) -> sepconv_status {
    // SAFETY: by this function's own contract.
    guard(|| unsafe {
        let (graph, plan) = (handle::get(graph)?, place(plan, "plan")?);
        let (threads, options) = (Threads::read(threads)?, options(choices)?);
        plan.write(held(graph.plan(&weights()?, threads.parallel(), options)?)?);
        Ok(())
    })
}

/// Packs the weights of `graph` out of a safetensors file of `length` bytes (tensors of f32, f16 or bf16; names of
/// torchvision, timm, Keras or TF-slim for a network of the literature), and writes the handle of a plan, whose work is cut
/// for as many threads as `threads` has. It runs on any others too, to the same bits. The bytes are not kept.
///
/// An error where the weights do not fit, the ISA cannot run here, or a layer has no kernel.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_plan_new(
    graph: *const sepconv_graph,
    safetensors: *const u8,
    length: usize,
    threads: *const sepconv_threads,
    options: *const sepconv_plan_options,
    plan: *mut *mut sepconv_plan,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    unsafe { make(graph, || Ok(SafetensorsWeights::new(bytes(safetensors, length)?)?), threads, options, plan) }
}

/// As `sepconv_plan_new`, with `count` arrays by name; none where all parameters of the graph were given as arrays. An array
/// that the graph has no use for is an error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_plan_from_arrays(
    graph: *const sepconv_graph,
    arrays: *const sepconv_named_array,
    count: usize,
    threads: *const sepconv_threads,
    options: *const sepconv_plan_options,
    plan: *mut *mut sepconv_plan,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    let weights = || unsafe {
        let mut named = BTreeMap::new();
        for (at, given) in array(arrays, count, "arrays")?.iter().enumerate() {
            let name = text(given.name, &format!("arrays[{at}].name"))?;
            let data = array(given.data, given.length, &format!("arrays[{at}].data"))?;
            if named.insert(name, data).is_some() {
                return Err(Failure::bad(format!("arrays[{at}].name: got {name} again, expected each name once")));
            }
        }
        Ok(Arrays(named))
    };
    // SAFETY: by the contract of the interface.
    unsafe { make(graph, weights, threads, options, plan) }
}

/// As `sepconv_plan_new`, with weights that are made from their names, to run and to measure a network without a file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_plan_from_names(
    graph: *const sepconv_graph,
    threads: *const sepconv_threads,
    options: *const sepconv_plan_options,
    plan: *mut *mut sepconv_plan,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    unsafe { make(graph, || Ok(HashWeights), threads, options, plan) }
}

/// Writes the handle of the same plan for `batch` images a run (0 stands for 1). It shares the packed weights, which are
/// freed with the last of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_plan_with_batch(
    plan: *const sepconv_plan,
    batch: usize,
    other: *mut *mut sepconv_plan,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    guard(|| unsafe {
        let (plan, other) = (&handle::get(plan)?.plan, place(other, "other")?);
        other.write(held(plan.with_batch(batch)?)?);
        Ok(())
    })
}

/// Frees a plan, which no thread may be running. Null is nothing to free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_plan_free(plan: *mut sepconv_plan) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    guard(|| unsafe { handle::free(plan) })
}

/// Writes how many inputs and outputs there are; a null pointer is not written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_plan_counts(
    plan: *const sepconv_plan,
    inputs: *mut usize,
    outputs: *mut usize,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    guard(|| unsafe {
        let held = handle::get(plan)?;
        let (inputs, outputs) = (optional_place(inputs, "inputs")?, optional_place(outputs, "outputs")?);
        if let Some(inputs) = inputs {
            inputs.write(held.inputs.len());
        }
        if let Some(outputs) = outputs {
            outputs.write(held.outputs.len());
        }
        Ok(())
    })
}

/// Writes input or output `index` of `ports`.
///
/// # Safety
/// By the contract of the interface.
unsafe fn port(ports: &[(CString, Shape)], index: usize, what: &str, port: *mut sepconv_port) -> Checked<()> {
    let (place, count) = (place(port, what)?, ports.len());
    let (name, shape) =
        ports.get(index).ok_or_else(|| Failure::bad(format!("index: got {what} {index}, expected one of {count}")))?;
    // SAFETY: by this function's own contract.
    unsafe { place.write(sepconv_port { name: name.as_ptr(), shape: (*shape).into() }) };
    Ok(())
}

/// Writes the name and the shape of input `index`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_plan_input(
    plan: *const sepconv_plan,
    index: usize,
    input: *mut sepconv_port,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    guard(|| unsafe { port(&handle::get(plan)?.inputs, index, "input", input) })
}

/// Writes the name and the shape of output `index`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_plan_output(
    plan: *const sepconv_plan,
    index: usize,
    output: *mut sepconv_port,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    guard(|| unsafe { port(&handle::get(plan)?.outputs, index, "output", output) })
}

/// Writes the name of the ISA whose kernels run. It lives for ever.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_plan_isa(plan: *const sepconv_plan, isa: *mut *const c_char) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    guard(|| unsafe {
        let (plan, isa) = (&handle::get(plan)?.plan, place(isa, "isa")?);
        isa.write(library::name(plan.isa()).as_ptr());
        Ok(())
    })
}

/// Writes how many bytes of workspace a run needs. Inputs and outputs are no part of it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_plan_workspace_bytes(plan: *const sepconv_plan, bytes: *mut usize) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    guard(|| unsafe {
        let (plan, bytes) = (&handle::get(plan)?.plan, place(bytes, "bytes")?);
        bytes.write(plan.workspace_bytes());
        Ok(())
    })
}

/// Runs a plan on the caller's threads (null: the calling one) in the caller's memory: `workspace` is at a multiple of
/// `SEPCONV_WORKSPACE_ALIGNMENT` bytes and holds at least `sepconv_plan_workspace_bytes`; its contents do not matter before
/// and after, and it may be null where that is 0 bytes. `inputs` and `outputs` are one batch for each of the plan's, of as
/// many images as it was made for. Outputs must overlap neither inputs nor each other, which is not found; inputs and
/// outputs in the workspace are.
///
/// Allocates nothing, unless it fails. An error, before anything is computed, where a count or a shape is not the plan's, or
/// memory is too small.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_plan_run(
    plan: *const sepconv_plan,
    threads: *const sepconv_threads,
    workspace: *mut c_void,
    workspace_bytes: usize,
    inputs: *const sepconv_batch,
    input_count: usize,
    outputs: *const sepconv_batch_mut,
    output_count: usize,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    guard(|| unsafe {
        let (plan, threads) = (&handle::get(plan)?.plan, Threads::read(threads)?);
        let workspace = memory(workspace, workspace_bytes, plan.workspace_bytes())?;
        let start = workspace.as_ptr().addr();
        let span = (start, start + size_of_val(workspace));
        let (mut read, mut written) = (ArrayVec::<Batch<'_>, MOST>::new(), ArrayVec::<BatchMut<'_>, MOST>::new());
        for (at, batch) in array(inputs, input_count, "inputs")?.iter().enumerate() {
            let what = numbered("inputs", at);
            read.try_push(batch.batch(&what)?).map_err(|_| too_many("inputs", input_count))?;
            expect_apart(&what, &batch.first, span)?;
        }
        for (at, batch) in array(outputs, output_count, "outputs")?.iter().enumerate() {
            let what = numbered("outputs", at);
            written.try_push(batch.batch(&what)?).map_err(|_| too_many("outputs", output_count))?;
            expect_apart(&what, &batch.first.read(), span)?;
        }
        let (inputs, outputs) = (Inputs::Batches(&read), Outputs::Batches(&mut written));
        Ok(plan.run(threads.parallel(), &mut Workspace::over(workspace), inputs, outputs)?)
    })
}

/// The name of one of `what`, without an allocation.
fn numbered(what: &str, at: usize) -> ArrayString<32> {
    let mut name = ArrayString::new();
    // It holds every number.
    let _ = write!(name, "{what}[{at}]");
    name
}

fn too_many(what: &str, count: usize) -> Failure {
    Error::shape(what, count, format!("at most {MOST}")).into()
}

/// A workspace of `bytes` bytes, of which `needed` are used.
///
/// # Safety
/// By the contract of the interface.
unsafe fn memory<'a>(workspace: *mut c_void, bytes: usize, needed: usize) -> Checked<&'a mut [f32]> {
    if bytes < needed {
        let expected = format!("at least {needed} bytes");
        let message = format!("workspace: got {bytes} bytes, expected {expected}");
        return Err(Failure::new(sepconv_status::Length, message));
    }
    if needed == 0 {
        return Ok(&mut []);
    }
    let start = workspace.cast::<f32>();
    check(start, "workspace", format_args!("{needed} bytes"))?;
    if !start.addr().is_multiple_of(ALIGNMENT) {
        let message = format!("workspace: got the address {start:p}, expected a multiple of {ALIGNMENT} bytes");
        return Err(Failure::new(sepconv_status::Misaligned, message));
    }
    // SAFETY: by this function's own contract; any bytes are floats.
    Ok(unsafe { slice::from_raw_parts_mut(start, needed / size_of::<f32>()) })
}
