//! Plans as bytes: what a plan was made of, and its packed weights.
//!
//! A blob begins with [`MAGIC`], the number of its format, the length of its head, two hashes, and what it was saved for; the
//! head goes on with the options, the graph and the lengths of the packed arrays. These follow, each on a cache line, in the
//! order in which the operators take them. There is no address in it: loading makes a plan of the graph as it was made the
//! first time, but for the arrays, which are taken as they are.
#![forbid(unsafe_code)]

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use super::options::{Fusion, Options};
use super::packed::{Plan, Source, check_batch};
use crate::blob::{Reader, Writer, hash};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::isa::Isa;
use crate::kernel::Kernels;
use crate::machine::Machine;
use crate::tensor::buffer::{LINE, room};
use crate::tensor::stored::Saved;

/// How a blob begins.
const MAGIC: &[u8; 8] = b"sepconv\0";
/// The format of what follows.
const FORMAT: u64 = 3;
/// Where the head has its length, the hash of what follows that in it, and the hash of the weights.
const LENGTH: Range<usize> = 16..24;
const HEAD_HASH: Range<usize> = 24..32;
const WEIGHTS_HASH: Range<usize> = 32..40;
/// Bytes of a cache line.
const ALIGN: usize = LINE * size_of::<f32>();

/// How to load a plan. [`Plan::load`] has an example.
#[derive(Debug, Clone, Copy, Default)]
pub struct LoadOptions {
    /// The ISA that the plan was saved for; `None` takes [`Isa::selected`].
    pub isa: Option<Isa>,
    /// Reads all weights, to compare their hash. Without it, damage to them goes unnoticed: it changes results, and no more
    /// than that.
    pub verify: bool,
}

impl Plan {
    /// The plan as a blob, which [`load`](Self::load) makes the same plan of: to the same bits, on machines for which the same
    /// plan would be built. Arrays that were given to the graph's builder are in it as they are packed alone.
    /// An error where there is no room, or the graph has more than 16 million channels that are taken in another order.
    pub fn save(&self) -> Result<Vec<u8>> {
        let head = self.head()?;
        let mut blob = room("saved plan", head.len() + self.packed_bytes())?;
        blob.extend(&head);
        for array in self.arrays() {
            blob.extend(bytemuck::cast_slice::<f32, u8>(array));
            blob.resize(blob.len().next_multiple_of(ALIGN), 0);
        }
        seal(&mut blob, head.len());
        Ok(blob)
    }

    /// The plan that [`save`](Self::save) made `blob` of. Its weights stay in the blob, a map of a file for example, which the
    /// plan keeps; only where that does not start on a cache line (64 bytes) they are copied. The plan is cut for as many
    /// threads, and has as many images a run, as the one that was saved.
    ///
    /// [`Error::OtherBlob`] where the blob was saved by another version of this crate, for another ISA, for other kernels, or on
    /// a machine for which another plan would be built; [`Error::Blob`] where it is damaged. Whatever the bytes are, nothing
    /// outside them is read: their head is checked as the calls of a builder are, and its hash is compared. Both hashes are
    /// against accidents, not against forgers. Who changes a mapped file while a plan reads it, changes its results.
    ///
    /// ```
    /// use sepconv::models::{Architecture, Config, Network};
    /// use sepconv::parallel::Serial;
    /// use sepconv::weights::HashWeights;
    /// use sepconv::{Error, LoadOptions, Options, Plan};
    ///
    /// let network = Network::new(Architecture::Digits, &Config::of(Architecture::Digits))?;
    /// let plan = network.plan(&HashWeights, &Serial, Options::default())?;
    /// let path = std::env::temp_dir().join(format!("sepconv-digits-{}.plan", std::process::id()));
    /// std::fs::write(&path, plan.save()?)?;
    ///
    /// // SAFETY: nobody cuts the file short.
    /// let map = unsafe { memmap2::Mmap::map(&std::fs::File::open(&path)?)? };
    /// let loaded = Plan::load(map, LoadOptions { verify: true, ..LoadOptions::default() })?;
    /// let (image, mut logits, mut again) = (HashWeights::image(28, 28, 1)?, [0.0; 10], [0.0; 10]);
    /// plan.run(&Serial, &mut plan.workspace()?, &image, &mut logits[..])?;
    /// loaded.run(&Serial, &mut loaded.workspace()?, &image, &mut again[..])?;
    /// assert_eq!(logits, again);
    ///
    /// let error = Plan::load("no plan", LoadOptions::default()).unwrap_err();
    /// assert!(matches!(error, Error::Blob { .. }));
    /// # std::fs::remove_file(path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn load(blob: impl AsRef<[u8]> + Send + Sync + 'static, options: LoadOptions) -> Result<Plan> {
        load(Arc::new(blob), options).map_err(Error::of_blob)
    }

    /// Bytes of the blob that [`save`](Self::save) makes; errors as there.
    pub fn saved_bytes(&self) -> Result<usize> {
        Ok(self.head()?.len() + self.packed_bytes())
    }

    /// The packed weights of every operator, in the order in which they take them.
    fn arrays(&self) -> impl Iterator<Item = &[f32]> {
        self.shared.packed.iter().flatten().flat_map(|packed| packed.arrays())
    }

    fn packed_bytes(&self) -> usize {
        self.arrays().map(|array| size_of_val(array).next_multiple_of(ALIGN)).sum()
    }

    /// All that stands before the weights, without the hashes.
    fn head(&self) -> Result<Vec<u8>> {
        let shared = &*self.shared;
        let mut to = Writer(MAGIC.to_vec());
        to.bits(FORMAT);
        to.0.resize(WEIGHTS_HASH.end, 0);
        for (_, own) in saved_for(shared.kernels) {
            to.text(&own);
        }
        let Options { isa: _, batch, observed, staged, fusion, low_memory } = shared.options;
        to.numbers([shared.threads, shared.flushed, self.batch, batch]);
        [observed, staged, low_memory].into_iter().for_each(|flag| to.flag(flag));
        let (fusion, rows) = match fusion {
            Fusion::Auto => (0, 0),
            Fusion::Off => (1, 0),
            Fusion::Strips(rows) => (2, rows),
        };
        to.numbers([fusion, rows]);
        shared.graph.write(&mut to)?;
        to.number(self.arrays().count());
        to.numbers(self.arrays().map(<[f32]>::len));
        let length = to.0.len().next_multiple_of(ALIGN);
        to.0.resize(length, 0);
        to.0[LENGTH].copy_from_slice(&(length as u64).to_le_bytes());
        Ok(to.0)
    }
}

/// Writes the hashes of a blob whose head has `length` bytes.
fn seal(blob: &mut [u8], length: usize) {
    let weights_hash = hash(&blob[length..]);
    blob[WEIGHTS_HASH].copy_from_slice(&weights_hash.to_le_bytes());
    let head_hash = hash(&blob[HEAD_HASH.end..length]);
    blob[HEAD_HASH].copy_from_slice(&head_hash.to_le_bytes());
}

/// What a plan depends on beside its graph and its options, and the text for it.
fn saved_for(kernels: &Kernels) -> [(&'static str, String); 4] {
    [
        ("version", env!("CARGO_PKG_VERSION").into()),
        ("ISA", kernels.isa().to_string()),
        ("machine", Machine::this().facts()),
        ("kernels", format!("{:016x}", hash(kernels.rows().as_bytes()))),
    ]
}

fn load<T: AsRef<[u8]> + Send + Sync + 'static>(blob: Arc<T>, options: LoadOptions) -> Result<Plan> {
    let kernels = options.isa.map_or_else(Isa::selected, Ok)?.kernels()?;
    let bytes = (*blob).as_ref();
    let mut from = Reader(bytes);
    if from.bytes(MAGIC.len())? != MAGIC {
        return Err(Error::blob("it does not begin as one does"));
    }
    let other =
        |what, got: &str, expected: &str| Err(Error::OtherBlob { what, got: got.into(), expected: expected.into() });
    match from.bits()? {
        FORMAT => {}
        format => return other("format", &format.to_string(), &FORMAT.to_string()),
    }
    let (length, head_hash, weights_hash) = (from.number()?, from.bits()?, from.bits()?);
    let head = bytes.get(HEAD_HASH.end..length).filter(|_| length.is_multiple_of(ALIGN));
    let head =
        head.ok_or_else(|| Error::blob(format!("its head has {length} bytes, and all of it {}", bytes.len())))?;
    let mut from = Reader(&head[WEIGHTS_HASH.len()..]);
    for (what, own) in saved_for(kernels) {
        match from.text()? {
            got if got != own => return other(what, got, &own),
            _ => {}
        }
    }
    if hash(head) != head_hash {
        return Err(Error::blob("its head is damaged"));
    }
    if options.verify && hash(&bytes[length..]) != weights_hash {
        return Err(Error::blob("its weights are damaged"));
    }
    let (threads, flushed, batch, packed_batch) = (from.number()?, from.number()?, from.number()?, from.number()?);
    let (observed, staged, low_memory) = (from.flag()?, from.flag()?, from.flag()?);
    let fusion = match (from.number()?, from.number()?) {
        (0, _) => Fusion::Auto,
        (1, _) => Fusion::Off,
        (2, rows) => Fusion::Strips(rows),
        (fusion, _) => return Err(Error::blob(format!("there is no fusion {fusion}"))),
    };
    let isa = Some(kernels.isa());
    let options = Options { isa, batch: packed_batch, observed, staged, fusion, low_memory };
    let graph = Graph::read(&mut from)?;
    let saved = Saved::new(blob.clone(), length..bytes.len(), from.list(Reader::number)?)?;
    if from.0.len() >= ALIGN {
        return Err(Error::blob(format!("its head has {} bytes that nothing reads", from.0.len())));
    }
    let shared = Plan::shared(graph, Source::Saved(saved, flushed), kernels, threads, options)?;
    check_batch(batch)?;
    Plan::compiled(shared, batch.max(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::graph::{Builder, Flatten, Layer};
    use crate::parallel::Serial;
    use crate::tensor::{AlignedBuffer, Batch, BatchMut, Clamp, Shape, Window};
    use crate::weights::HashWeights;

    /// Bytes that start so many bytes behind a cache line.
    struct Bytes(AlignedBuffer, Range<usize>);

    impl Bytes {
        fn new(bytes: &[u8], skip: usize) -> Bytes {
            let mut buffer = AlignedBuffer::zeroed((skip + bytes.len()).div_ceil(4)).unwrap();
            let range = skip..skip + bytes.len();
            bytemuck::cast_slice_mut::<f32, u8>(&mut buffer)[range.clone()].copy_from_slice(bytes);
            Bytes(buffer, range)
        }
    }

    impl AsRef<[u8]> for Bytes {
        fn as_ref(&self) -> &[u8] {
            &bytemuck::cast_slice(&self.0)[self.1.clone()]
        }
    }

    /// A graph with every operator, and with channels that are written and read in another order than the network's.
    fn graph() -> Graph {
        let mut net = Builder::new();
        let (image, other) = (net.input("image", Shape::new(6, 5, 4)), net.input("other", Shape::new(6, 5, 4)));
        let (image, other) = (image.unwrap(), other.unwrap());
        let window = Window::square(3).symmetric();
        let named = |name: &str| Layer::named(name).norm(format!("{name}.bn"), 1e-3);
        let x = net.conv("conv", image, 8, window, named("conv").clamp(Clamp::RELU6)).unwrap();
        let x = net.shuffle(x, 4).unwrap();
        let halves = net.split(x, &[3, 5]).unwrap();
        let x = net.depthwise("dw", halves[1], window, Layer::arrays([0.25; 5 * 9], [0.5; 5])).unwrap();
        let x = net.concat(&[x, halves[0]]).unwrap();
        let x = net.grouped_pointwise("grouped", x, 4, 2, named("grouped").bias()).unwrap();
        let sum = net.add("sum", x, other, Clamp::new(-0.5, 3.0)).unwrap();
        let x = net.clamp("relu", sum, Clamp::RELU).unwrap();
        let x = net.max_pool("max", x, Window::square(2).stride(2)).unwrap();
        let x = net.average_pool("average", x, Window::square(3).symmetric(), true).unwrap();
        let norm = Layer::without_weights().norm_arrays([1.0; 4], [0.5; 4], [0.1; 4], [2.0; 4], 1e-5);
        let x = net.leaky_norm("leaky", x, 0.1, norm).unwrap();
        let flat = net.flattened("flat", x, Flatten::ChannelsLast, 3, Layer::named("flat")).unwrap();
        let x = net.global_average_pool("mean", sum).unwrap();
        let x = net.fully_connected("classes", x, 17, Layer::named("classes").bias()).unwrap();
        net.build(&[flat, x, sum]).unwrap()
    }

    fn plan(isa: Isa) -> Plan {
        let options = Options { isa: Some(isa), ..Options::default() };
        Plan::new(&graph(), &HashWeights, &Serial, options).unwrap()
    }

    /// Runs `plan` in a workspace of exactly its size, between elements that must stay what they are; the outputs.
    fn run(plan: &Plan) -> Vec<Vec<u32>> {
        let (batch, margin) = (plan.batch(), 1024);
        let image = |(_, shape): (&str, Shape)| {
            let Shape { height, width, channels } = shape;
            HashWeights::image(batch * height, width, channels).unwrap()
        };
        let inputs: Vec<Vec<f32>> = plan.graph().inputs().map(image).collect();
        let shapes = plan.graph().inputs().map(|(_, shape)| shape);
        let given: Vec<Batch<'_>> =
            inputs.iter().zip(shapes).map(|(data, shape)| Batch::tight(data, batch, shape).unwrap()).collect();
        let shapes: Vec<Shape> = plan.graph().outputs().map(|(_, shape)| shape).collect();
        let mut outputs: Vec<Vec<f32>> = shapes.iter().map(|shape| vec![f32::NAN; batch * shape.len()]).collect();
        let mut taken: Vec<BatchMut<'_>> = outputs
            .iter_mut()
            .zip(&shapes)
            .map(|(data, &shape)| BatchMut::tight(data, batch, shape).unwrap())
            .collect();
        let mut memory = vec![7.5; plan.workspace_len() + 2 * margin];
        let end = memory.len() - margin;
        let mut workspace = super::super::Workspace::over(&mut memory[margin..end]);
        plan.run(&Serial, &mut workspace, &given[..], &mut taken[..]).unwrap();
        drop(taken);
        assert!(memory[..margin].iter().chain(&memory[end..]).all(|&element| element == 7.5), "outside the workspace");
        outputs.iter().map(|output| output.iter().map(|value| value.to_bits()).collect()).collect()
    }

    fn load_for(isa: Isa, blob: &[u8]) -> Result<Plan> {
        Plan::load(Bytes::new(blob, 0), LoadOptions { isa: Some(isa), verify: true })
    }

    fn head_length(blob: &[u8]) -> usize {
        u64::from_le_bytes(blob[LENGTH].try_into().unwrap()) as usize
    }

    /// The blob with other bytes in its head, under a hash that says they are right.
    fn forged(blob: &[u8], edit: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let (mut blob, length) = (blob.to_vec(), head_length(blob));
        edit(&mut blob);
        seal(&mut blob, length);
        blob
    }

    #[test]
    fn a_loaded_plan_is_the_one_that_was_saved() {
        for isa in Isa::supported() {
            let plan = plan(isa);
            let blob = plan.save().unwrap();
            assert_eq!(blob.len(), plan.saved_bytes().unwrap());
            let lines = |plan: &Plan| plan.describe().map(|line| line.to_string()).collect::<Vec<_>>();
            for skip in if cfg!(miri) { &[0, 1][..] } else { &[0, 1, 4, 64] }.iter().copied() {
                let loaded = Plan::load(Bytes::new(&blob, skip), LoadOptions { isa: Some(isa), verify: true }).unwrap();
                assert_eq!(run(&loaded), run(&plan), "{isa}, byte {skip}");
                assert_eq!(lines(&loaded), lines(&plan));
                assert_eq!(loaded.graph().to_string(), plan.graph().to_string());
                // Nothing is lost but the arrays of the builder, which the graph of the plan is without already.
                assert!(loaded.save().unwrap() == blob, "{isa}, byte {skip}");
            }
            // For another batch, and with what was packed for it.
            let two = plan.with_batch(2).unwrap();
            let loaded = load_for(isa, &two.save().unwrap()).unwrap();
            assert_eq!((loaded.batch(), run(&loaded)), (2, run(&two)));
            assert_eq!(run(&loaded.with_batch(1).unwrap()), run(&plan));
        }
    }

    #[test]
    fn weights_stay_in_the_blob() {
        let blob = plan(Isa::Portable).save().unwrap();
        let bytes = Arc::new(Bytes::new(&blob, 0));
        let range = (*bytes).as_ref().as_ptr_range();
        let plan = load(bytes, LoadOptions { isa: Some(Isa::Portable), verify: false }).unwrap();
        let mut arrays = plan.arrays().filter(|array| !array.is_empty()).map(|array| array.as_ptr().cast());
        assert!(arrays.all(|start| range.contains(&start)));
    }

    #[test]
    fn other_versions_isas_machines_and_kernels_are_refused() {
        let blob = plan(Isa::Portable).save().unwrap();
        let what = |result: Result<Plan>| match result {
            Err(Error::OtherBlob { what, .. }) => what,
            result => panic!("{:?}", result.map(|_| "loaded")),
        };
        for (what_differs, own) in saved_for(Isa::Portable.kernels().unwrap()) {
            let at = blob.windows(own.len()).position(|bytes| bytes == own.as_bytes()).unwrap();
            let mut other = blob.clone();
            other[at] ^= 1;
            assert_eq!(what(load_for(Isa::Portable, &other)), what_differs);
        }
        let mut other = blob.clone();
        other[8] += 1;
        assert_eq!(what(load_for(Isa::Portable, &other)), "format");
        for isa in Isa::supported().into_iter().filter(|&isa| isa != Isa::Portable) {
            assert_eq!(what(load_for(isa, &blob)), "ISA");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "an interpreter takes too long")]
    fn damage_is_an_error_at_every_byte_and_every_length() {
        let blob = plan(Isa::Portable).save().unwrap();
        let length = head_length(&blob);
        for at in 0..blob.len() {
            let mut damaged = blob.clone();
            damaged[at] ^= 1 << (at % 8);
            let error = load_for(Isa::Portable, &damaged).expect_err("the hashes differ");
            assert!(matches!(error, Error::Blob { .. } | Error::OtherBlob { .. }), "byte {at}: {error}");
            // Weights that nobody compares change results and nothing else.
            let unchecked =
                Plan::load(Bytes::new(&damaged, 0), LoadOptions { isa: Some(Isa::Portable), verify: false });
            assert_eq!(unchecked.is_ok(), at >= length, "byte {at}");
            if at % 1009 == 0 {
                let _ = unchecked.map(|plan| run(&plan));
            }
        }
        for length in 0..blob.len() {
            let short = load_for(Isa::Portable, &blob[..length]);
            assert!(matches!(short, Err(Error::Blob { .. })), "{length} bytes: {:?}", short.map(|_| "loaded"));
        }
        assert!(load_for(Isa::Portable, &[&blob[..], &[0]].concat()).is_err());
    }

    /// What a forger's blob may do: be refused, or run as a plan does.
    fn survives(blob: &[u8]) {
        match load_for(Isa::Portable, blob) {
            Err(Error::Blob { .. } | Error::OtherBlob { .. } | Error::Memory { .. }) => {}
            Err(error) => panic!("{error:?}"),
            Ok(plan) => {
                let lengths = plan.graph().inputs().chain(plan.graph().outputs()).map(|(_, shape)| shape.len());
                let all = lengths.fold(plan.workspace_len(), usize::saturating_add).saturating_mul(plan.batch());
                let _ = (plan.describe().count(), plan.graph().params(), plan.graph().macs(), plan.save());
                if all < 1 << 20 && plan.graph().macs() < 1 << 24 {
                    run(&plan);
                }
            }
        }
    }

    #[test]
    fn a_forged_number_anywhere_is_refused_or_runs() {
        let blob = plan(Isa::Portable).save().unwrap();
        let length = head_length(&blob);
        let (step, values) =
            if cfg!(miri) { (length / 8, &[0x81][..]) } else { (1, &[0x00, 0x01, 0x02, 0x80, 0xff][..]) };
        for at in (WEIGHTS_HASH.end..length).step_by(step) {
            for &value in values {
                survives(&forged(&blob, |bytes| bytes[at] = value));
                survives(&forged(&blob, |bytes| bytes[at] = bytes[at].wrapping_add(value)));
            }
        }
    }

    #[test]
    fn forged_counts_and_orders_are_refused() {
        let blob = plan(Isa::Portable).save().unwrap();
        // An order is there to be forged: the first node's outputs stand in another than the network's.
        assert!(graph().nodes()[0].output_order.is_some());
        let mut whole = Reader(&blob[WEIGHTS_HASH.end..head_length(&blob)]);
        (0..4).for_each(|_| _ = whole.text());
        let options = head_length(&blob) - whole.0.len();
        // Threads, flushed weights, images of a run and of the packing; then flags and the fusion.
        for (number, value, expected) in
            [(2, usize::MAX as u64, "batch"), (3, 1 << 20, "batch"), (4, 2, "0 or 1"), (7, 3, "no fusion 3")]
        {
            let at = options + 8 * number;
            let other = forged(&blob, |bytes| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes()));
            let error = load_for(Isa::Portable, &other).expect_err("it was forged");
            assert!(matches!(&error, Error::Blob { why } if why.contains(expected)), "{error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..Default::default() })]

        #[test]
        #[cfg_attr(miri, ignore = "an interpreter takes too long")]
        fn random_edits_are_refused_or_run(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
            let blob = plan(Isa::Portable).save().unwrap();
            let length = head_length(&blob);
            survives(&forged(&blob, |bytes| {
                for (at, value) in &edits {
                    bytes[WEIGHTS_HASH.end + at.index(length - WEIGHTS_HASH.end)] = *value;
                }
            }));
        }
    }
}
