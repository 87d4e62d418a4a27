//! Saved plans with any bytes in their heads, under hashes that say they are right: each is refused, or runs as a plan does.
#![no_main]

use std::sync::OnceLock;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sepconv::graph::{Builder, Layer};
use sepconv::parallel::Serial;
use sepconv::weights::HashWeights;
use sepconv::{
    AlignedBuffer, Batch, BatchMut, Clamp, Error, Isa, LoadOptions, Options, Plan, Shape, Window, Workspace,
};

/// Bytes put in the place of others, at a place of the head or of all of the blob.
#[derive(Debug, Arbitrary)]
struct Edit<'a> {
    at: u16,
    anywhere: bool,
    bytes: &'a [u8],
}

#[derive(Debug, Arbitrary)]
struct Case<'a> {
    verify: bool,
    low_memory: bool,
    edits: Vec<Edit<'a>>,
    cut: Option<u16>,
}

/// Bytes that begin on a cache line.
struct Lines(AlignedBuffer, usize);

impl AsRef<[u8]> for Lines {
    fn as_ref(&self) -> &[u8] {
        let bytes = self.0.as_ptr().cast::<u8>();
        // SAFETY: the buffer has so many bytes, and they are initialised.
        unsafe { std::slice::from_raw_parts(bytes, self.1) }
    }
}

impl Lines {
    fn new(bytes: &[u8]) -> Lines {
        let mut buffer = AlignedBuffer::zeroed(bytes.len().div_ceil(4)).expect("there is room");
        for (element, bytes) in buffer.iter_mut().zip(bytes.chunks(4)) {
            let mut four = [0; 4];
            four[..bytes.len()].copy_from_slice(bytes);
            *element = f32::from_ne_bytes(four);
        }
        Lines(buffer, bytes.len())
    }
}

/// The blob of an inverted residual with a shortcut, a shuffle and two outputs.
fn blob(low_memory: bool) -> &'static [u8] {
    static BLOBS: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    let save = |low_memory| {
        let mut net = Builder::new();
        let window = Window::square(3).symmetric();
        let layer = |name: &str| Layer::named(name).norm(format!("{name}.bn"), 1e-3).clamp(Clamp::RELU6);
        let image = net.input("image", Shape::new(9, 7, 3))?;
        let x = net.conv("stem", image, 8, window.stride(2), layer("stem"))?;
        let y = net.pointwise("expand", x, 48, layer("expand"))?;
        let y = net.depthwise("filter", y, window, layer("filter"))?;
        let y = net.pointwise("project", y, 8, Layer::named("project"))?;
        let sum = net.add("sum", x, y, Clamp::RELU)?;
        let shuffled = net.shuffle(sum, 2)?;
        let halves = net.split(shuffled, &[3, 5])?;
        let y = net.pointwise("odd", halves[1], 6, Layer::named("odd").bias())?;
        let y = net.concat(&[y, halves[0]])?;
        let y = net.max_pool("max", y, Window::square(2))?;
        let y = net.global_average_pool("mean", y)?;
        let y = net.fully_connected("classes", y, 10, Layer::named("classes").bias())?;
        let options = Options { low_memory, batch: 2, ..Options::default() };
        Plan::new(&net.build(&[y, sum])?, &HashWeights, &Serial, options)?.save()
    };
    &BLOBS.get_or_init(|| [false, true].map(|low_memory| save(low_memory).expect("a plan")))[usize::from(low_memory)]
}

/// As `src/blob.rs` has it.
fn hash(bytes: &[u8]) -> [u8; 8] {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let words = words.iter().chain([&last]).map(|word| u64::from_le_bytes(*word));
    let hash = words.fold(bytes.len() as u64, |hash, word| {
        let mixed = (hash ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed ^ mixed >> 29
    });
    hash.to_le_bytes()
}

/// Writes the hashes anew, where the head says how long it is.
fn seal(blob: &mut [u8]) -> Option<()> {
    let length = u64::from_le_bytes(blob.get(16..24)?.try_into().ok()?);
    let length = usize::try_from(length).ok().filter(|&length| length >= 40 && length <= blob.len())?;
    let weights = hash(&blob[length..]);
    blob[32..40].copy_from_slice(&weights);
    let head = hash(&blob[32..length]);
    blob[24..32].copy_from_slice(&head);
    Some(())
}

fn run(plan: &Plan) {
    let batch = plan.batch();
    let elements = |shape: Shape| shape.len().saturating_mul(batch);
    let shapes = plan.graph().inputs().chain(plan.graph().outputs()).map(|(_, shape)| elements(shape));
    let all = shapes.fold(plan.workspace_len(), usize::saturating_add);
    let work = plan.describe().map(|step| step.macs + step.bytes).fold(0, u64::saturating_add);
    if all > 1 << 20 || work > 1 << 26 {
        return;
    }
    let inputs: Vec<(Vec<f32>, Shape)> =
        plan.graph().inputs().map(|(_, shape)| (vec![0.5; elements(shape)], shape)).collect();
    let given: Vec<Batch<'_>> =
        inputs.iter().map(|(data, shape)| Batch::tight(data, batch, *shape).expect("the input fits")).collect();
    let mut outputs: Vec<(Vec<f32>, Shape)> =
        plan.graph().outputs().map(|(_, shape)| (vec![0.0; elements(shape)], shape)).collect();
    let mut taken: Vec<BatchMut<'_>> = outputs
        .iter_mut()
        .map(|(data, shape)| BatchMut::tight(data, batch, *shape).expect("the output fits"))
        .collect();
    // Of its size to the element: the sanitizer watches its ends.
    let mut memory = vec![0.0; plan.workspace_len()];
    plan.run(&Serial, &mut Workspace::over(&mut memory), &given[..], &mut taken[..]).expect("all sizes are the plan's");
}

fuzz_target!(|case: Case<'_>| {
    let mut bytes = blob(case.low_memory).to_vec();
    let head = usize::from(bytes[16]) | usize::from(bytes[17]) << 8;
    for edit in &case.edits {
        let end = if edit.anywhere { bytes.len() } else { head };
        let at = usize::from(edit.at) % end;
        let length = edit.bytes.len().min(end - at);
        bytes[at..at + length].copy_from_slice(&edit.bytes[..length]);
    }
    if let Some(cut) = case.cut {
        bytes.truncate(usize::from(cut) % bytes.len());
    }
    let _ = seal(&mut bytes);
    let options = LoadOptions { isa: Isa::selected().ok(), verify: case.verify };
    match Plan::load(Lines::new(&bytes), options) {
        Ok(plan) => run(&plan),
        Err(Error::Blob { .. } | Error::OtherBlob { .. } | Error::Memory { .. }) => {}
        Err(error) => panic!("{error:?}"),
    }
});
