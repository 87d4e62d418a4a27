//! One operator shared by threads: any cut by rows and channels has the bits of the whole run, and each thread writes its
//! own part of one output that nobody initialised.
#![cfg(feature = "reference")]

mod common;

use std::mem::MaybeUninit;
use std::ops::Range;
use std::thread;

use common::*;
use sepconv::ops::{Conv, ConvParams, Depthwise, DepthwiseParams, Epilogue, Part, Pointwise, PointwiseParams};
use sepconv::{Clamp, Kernels, Layout, Padding, Result, Shape, View, ViewMut, Window, reference};

/// What writes the gaps of an output is found by them.
const CANARY: u32 = 0x7fc5_a5a5;

/// An image that threads write together.
struct Shared {
    memory: Vec<MaybeUninit<f32>>,
    layout: Layout,
}

/// An address that threads may have.
#[derive(Clone, Copy)]
struct Address(*mut f32);

// SAFETY: an address does nothing; each use says what it may touch.
unsafe impl Send for Address {}
// SAFETY: as above.
unsafe impl Sync for Address {}

impl Address {
    /// Where `part` of an image of `layout` begins, and its layout.
    fn part(self, layout: Layout, part: &Part) -> (*mut f32, Layout) {
        let pointer = self.0.wrapping_add(part.rows.start * layout.row_stride + part.channels.start);
        (pointer, Layout { height: part.rows.len(), channels: part.channels.len(), ..layout })
    }
}

impl Shared {
    /// Not initialised, or all canary.
    fn new(layout: Layout, canary: bool) -> Self {
        let value = if canary { MaybeUninit::new(f32::from_bits(CANARY)) } else { MaybeUninit::uninit() };
        Shared { memory: vec![value; extent(&layout)], layout }
    }

    /// Computes `parts`, which do not overlap, on three threads.
    fn run(&mut self, parts: &[Part], run: &(dyn Fn(&Part, ViewMut<'_>) -> Result<()> + Sync)) {
        let (address, layout) = (Address(self.memory.as_mut_ptr().cast()), self.layout);
        thread::scope(|scope| {
            for first in 0..3.min(parts.len()) {
                scope.spawn(move || {
                    for part in parts.iter().skip(first).step_by(3) {
                        let (pointer, layout) = address.part(layout, part);
                        // SAFETY: the part lies inside the memory, and no other thread has it.
                        let view = unsafe { ViewMut::from_raw(pointer, layout) }.expect("a layout");
                        run(part, view).expect("a part");
                    }
                });
            }
        });
    }

    /// The image, which was written whole.
    fn values(&self) -> Vec<f32> {
        // SAFETY: every element of the image was written, and no gap is read.
        values(unsafe { View::from_raw(self.memory.as_ptr().cast(), self.layout) }.expect("a layout"))
    }

    /// The gaps of memory that was all canary still are.
    fn check_gaps(&self, context: &str) {
        let Layout { height, width, channels, pixel_stride, row_stride } = self.layout;
        for (at, value) in self.memory.iter().enumerate() {
            let (y, rest) = (at / row_stride, at % row_stride);
            let (x, c) = (rest / pixel_stride, rest % pixel_stride);
            // SAFETY: all of it was canary.
            let untouched = unsafe { value.assume_init() }.to_bits() == CANARY;
            assert!(untouched || (y < height && x < width && c < channels), "{context}: wrote element {at}");
        }
    }
}

/// 0..`count` in `parts` ranges, some of them empty, cut at multiples of `step`.
fn cut(numbers: &mut Numbers, count: usize, step: usize, parts: usize) -> Vec<Range<usize>> {
    let units = count.div_ceil(step);
    let mut bounds: Vec<usize> = (1..parts).map(|_| numbers.below(units + 1) * step).collect();
    bounds.extend([0, count]);
    bounds.iter_mut().for_each(|bound| *bound = (*bound).min(count));
    bounds.sort_unstable();
    bounds.windows(2).map(|pair| pair[0]..pair[1]).collect()
}

/// The cuts that are tried of an output: whole; each row, each channel step alone; some of both.
fn cuts(numbers: &mut Numbers, shape: Shape, step: usize) -> Vec<Vec<Part>> {
    let rows = |parts: Vec<Range<usize>>| parts.into_iter().map(|rows| Part::rows(rows, shape)).collect::<Vec<_>>();
    let steps = (0..shape.channels).step_by(step).map(|first| first..(first + step).min(shape.channels));
    let mut all = vec![
        vec![Part::all(shape)],
        rows((0..shape.height).map(|row| row..row + 1).collect()),
        rows(cut(numbers, shape.height, 1, 2)),
        steps.map(|channels| Part::channels(channels, shape)).collect(),
        cut(numbers, shape.channels, step, 2).into_iter().map(|channels| Part::channels(channels, shape)).collect(),
    ];
    for parts in 2..=4 {
        let (rows, channels) = (cut(numbers, shape.height, 1, parts), cut(numbers, shape.channels, step, parts));
        let grid = rows
            .iter()
            .flat_map(|rows| channels.iter().map(|channels| Part { rows: rows.clone(), channels: channels.clone() }));
        all.push(grid.collect());
    }
    all
}

/// Layouts of input, output and residual: without gaps, with different ones, with pixels of the input 2 KB apart.
fn layouts(input: Shape, output: Shape) -> [[Layout; 3]; 4] {
    let tight = |shape: Shape| Layout::tight(shape.height, shape.width, shape.channels);
    let far = Layout { pixel_stride: 512, row_stride: 512 * input.width, ..tight(input) };
    let gapped = |gaps: Gaps| {
        [
            gaps.input(input.height, input.width, input.channels),
            gaps.output(output.height, output.width, output.channels),
            gaps.residual(output.height, output.width, output.channels),
        ]
    };
    [
        [tight(input), tight(output), tight(output)],
        gapped(Gaps::Runs),
        gapped(Gaps::Everywhere),
        [far, tight(output), tight(output)],
    ]
}

/// An operator as these tests see it.
trait Operator: Sync {
    fn step(&self) -> usize;
    fn output(&self, shape: Shape) -> Shape;
    fn run(&self, input: View<'_>, epilogue: Epilogue<'_>, output: ViewMut<'_>) -> Result<()>;
    fn run_part(&self, part: &Part, input: View<'_>, epilogue: Epilogue<'_>, output: ViewMut<'_>) -> Result<()>;
    /// # Safety
    /// That of the operator's own.
    unsafe fn run_unchecked(&self, part: &Part, input: View<'_>, epilogue: Epilogue<'_>, output: ViewMut<'_>);
}

macro_rules! operator {
    ($($name:ident),*) => {$(
        impl Operator for $name {
            fn step(&self) -> usize {
                self.channel_step()
            }

            fn output(&self, shape: Shape) -> Shape {
                $name::output(self, shape).expect("an output")
            }

            fn run(&self, input: View<'_>, epilogue: Epilogue<'_>, output: ViewMut<'_>) -> Result<()> {
                $name::run(self, input, epilogue, output)
            }

            fn run_part(
                &self,
                part: &Part,
                input: View<'_>,
                epilogue: Epilogue<'_>,
                output: ViewMut<'_>,
            ) -> Result<()> {
                $name::run_part(self, part, input, epilogue, output)
            }

            unsafe fn run_unchecked(&self, part: &Part, input: View<'_>, epilogue: Epilogue<'_>, output: ViewMut<'_>) {
                // SAFETY: by this function's own contract.
                unsafe { $name::run_unchecked(self, part, input, epilogue, output) }
            }
        }
    )*};
}
operator!(Pointwise, Depthwise, Conv);

/// The residual of `part`, a part of the residual.
fn beside<'a>(residual: Option<&'a [f32]>, layout: Layout, part: &Part, clamp: Clamp) -> Epilogue<'a> {
    let residual = residual.map(|residual| {
        let (pointer, layout) = Address(residual.as_ptr().cast_mut()).part(layout, part);
        // SAFETY: the part lies inside the residual, which nobody writes.
        unsafe { View::from_raw(pointer, layout) }.expect("a layout")
    });
    Epilogue { residual, clamp }
}

/// What a residual and a clamp give by the reference; `None` on a tier that rounds twice.
type Want<'a> = &'a dyn Fn(Option<&[f32]>, Clamp) -> Option<Vec<f32>>;

/// Every cut of `operator` on an image, against the whole run, and that against `want`; without a residual and with one.
fn check(operator: &dyn Operator, context: &str, shape: Shape, input: &[f32], want: Want<'_>) {
    let output = operator.output(shape);
    let mut numbers = Numbers(7);
    let added = numbers.take(output.len(), Kind::Floats);
    for (index, [source, target, residual_layout]) in layouts(shape, output).into_iter().enumerate() {
        let buffer = spread(input, &source, Guard::After, 0);
        let view = || View::new(&buffer, source).expect("an input");
        for (residual, clamp) in [(false, Clamp::RELU6), (true, Clamp::new(-0.5, 0.75))] {
            let context = format!("{context}, layouts {index}, residual {residual}");
            let tight = residual.then_some(&added[..]);
            let spread = residual.then(|| spread(&added, &residual_layout, Guard::After, 0));
            let epilogue = |part: &Part| beside(spread.as_deref(), residual_layout, part, clamp);
            let mut whole = Guarded::new(extent(&target), Guard::After, 0);
            let all = ViewMut::new(&mut whole, target).expect("an output");
            operator.run(view(), epilogue(&Part::all(output)), all).expect(&context);
            whole.check(&target, &context);
            let whole = gather(&whole, &target);
            if let Some(want) = want(tight, clamp) {
                assert_same(&whole, &want, None, &context);
            }
            for (at, parts) in cuts(&mut numbers, output, operator.step()).iter().enumerate() {
                let context = format!("{context}, cut {parts:?}");
                let mut shared = Shared::new(target, at % 2 == 0);
                shared.run(parts, &|part, view_mut| operator.run_part(part, view(), epilogue(part), view_mut));
                assert_same(&shared.values(), &whole, None, &context);
                if at % 2 == 0 {
                    shared.check_gaps(&context);
                }
                // What is left without a check must hold an element.
                let some: Vec<Part> =
                    parts.iter().filter(|part| !part.rows.is_empty() && !part.channels.is_empty()).cloned().collect();
                let mut shared = Shared::new(target, at % 2 == 1);
                shared.run(&some, &|part, view_mut| {
                    // SAFETY: the parts that the call before took, those without elements left out.
                    unsafe { operator.run_unchecked(part, view(), epilogue(part), view_mut) };
                    Ok(())
                });
                assert_same(&shared.values(), &whole, None, &format!("{context}, unchecked"));
                if at % 2 == 1 {
                    shared.check_gaps(&context);
                }
            }
        }
    }
}

/// Runs `test` on the kernels of every ISA, and expects as many calls as there are kernels.
fn every_kernel<K>(list: fn(&'static Kernels) -> &'static [K], test: impl Fn(&'static K)) {
    let kernels = every_isa();
    let mut ran = 0;
    for kernel in kernels.iter().flat_map(|&kernels| list(kernels)) {
        test(kernel);
        ran += 1;
    }
    assert_eq!(ran, kernels.iter().map(|&kernels| list(kernels).len()).sum::<usize>());
    assert!(ran >= kernels.len());
}

/// Output channels: fewer than a step, whole steps, a few more.
fn channels(step: usize) -> [usize; 5] {
    [step - 1, step, step + 1, 3 * step, 3 * step + step / 2 + 1]
}

#[test]
fn pointwise_is_cut_anywhere() {
    every_kernel(Kernels::pointwise, |kernel| {
        for (height, width, k, stride) in [(5, 7, 9, 1), (6, 5, 4, 2), (1, 1, 33, 1)] {
            for n in channels(kernel.nr()) {
                let (shape, mut numbers) = (Shape::new(height, width, k), Numbers(n as u64));
                let input = numbers.take(shape.len(), Kind::Floats);
                let (weights, bias) = (numbers.take(n * k, Kind::Floats), numbers.take(n, Kind::Floats));
                let params = PointwiseParams { stride, ..PointwiseParams::new(k, n) };
                let packed = Pointwise::with_kernel(kernel, params, &weights, &bias).unwrap();
                let want = |residual: Option<&[f32]>, clamp| {
                    let window = Window::PIXEL.stride(stride);
                    let parameters = (&weights[..], &bias[..]);
                    let want = || reference::conv(&input, shape, &window, n, parameters, residual, clamp);
                    exact(kernel.isa()).then(want)
                };
                let context = format!("{} {shape} to {n}, stride {stride}", kernel.name());
                check(&packed, &context, shape, &input, &want);
            }
        }
    });
}

#[test]
fn depthwise_is_cut_anywhere() {
    every_kernel(Kernels::depthwise, |kernel| {
        let (rows, columns) = kernel.window();
        let window = Window::new(rows, columns).stride(kernel.stride()).dilation(kernel.dilation());
        let extent = window.extent();
        // At most one less than the window on each side.
        let most = |padding: usize, extent: usize| padding.min(extent - 1);
        let uneven = Padding {
            top: most(2, extent.0),
            bottom: most(1, extent.0),
            left: most(1, extent.1),
            right: most(2, extent.1),
        };
        let paddings = [Padding::NONE, window.symmetric().padding, uneven];
        for (at, padding) in paddings.into_iter().enumerate() {
            // The last ones are copied in more than one piece where pixels alias.
            for c in channels(kernel.lanes()).into_iter().chain([67, 83]) {
                let (shape, mut numbers) =
                    (Shape::new(rows + extent.0 + 2, columns + extent.1 + 5, c), Numbers(c as u64));
                let input = numbers.take(shape.len(), Kind::Floats);
                let weights = numbers.take(c * window.taps(), Kind::Floats);
                let bias = numbers.take(c, Kind::Floats);
                let (window, input_lo) = (window.padding(padding), (at == 1).then_some(-0.1));
                let params = DepthwiseParams { input_lo, ..DepthwiseParams::new(c, window) };
                let packed = Depthwise::with_kernel(kernel, params, &weights, &bias).unwrap();
                let want = |residual: Option<&[f32]>, clamp| {
                    let parameters = (&weights[..], &bias[..]);
                    let want = || reference::depthwise(&input, shape, &window, input_lo, parameters, residual, clamp);
                    exact(kernel.isa()).then(want)
                };
                check(&packed, &format!("{} {shape}, {padding:?}", kernel.name()), shape, &input, &want);
            }
        }
    });
}

#[test]
fn conv_is_cut_anywhere() {
    every_kernel(Kernels::conv, |kernel| {
        let odd = Padding { top: 1, bottom: 0, left: 2, right: 1 };
        for (inputs, window) in [
            (3, Window::square(3).stride(2).symmetric()),
            (3, Window::square(3).padding(odd)),
            (5, Window::new(2, 3).padding(odd)),
            (2, Window::new(4, 1).stride(3)),
        ] {
            if !kernel.serves(window.size, inputs) {
                assert!(kernel.stem());
                continue;
            }
            for n in channels(kernel.nr()) {
                let (shape, mut numbers) = (Shape::new(7, 9, inputs), Numbers(n as u64));
                let input = numbers.take(shape.len(), Kind::Floats);
                let weights = numbers.take(n * inputs * window.taps(), Kind::Floats);
                let bias = numbers.take(n, Kind::Floats);
                let params = ConvParams::new(inputs, n, window);
                let packed = Conv::with_kernel(kernel, params, &weights, &bias).unwrap();
                let want = |residual: Option<&[f32]>, clamp| {
                    let parameters = (&weights[..], &bias[..]);
                    let want = || reference::conv(&input, shape, &window, n, parameters, residual, clamp);
                    exact(kernel.isa()).then(want)
                };
                check(&packed, &format!("{} {shape} to {n}, {window:?}", kernel.name()), shape, &input, &want);
            }
        }
    });
}

/// Sums over some input channels at a time, each continued by all threads from what the one before wrote, on parts that
/// are cut anew each time.
#[test]
fn sums_continue_on_any_parts() {
    every_kernel(Kernels::pointwise, |kernel| {
        let (k, n) = (13, 2 * kernel.nr() + 3);
        for (height, width, stride) in [(3, 5, 1), (4, 5, 2)] {
            let (shape, mut numbers) = (Shape::new(height, width, k), Numbers(n as u64));
            let input = numbers.take(shape.len(), Kind::Floats);
            let (weights, bias) = (numbers.take(n * k, Kind::Floats), numbers.take(n, Kind::Floats));
            let params = PointwiseParams { stride, ..PointwiseParams::new(k, n) };
            let packed = Pointwise::with_kernel(kernel, params, &weights, &bias).unwrap();
            let output = packed.output(shape).unwrap();
            let added = numbers.take(output.len(), Kind::Floats);
            let clamp = Clamp::new(-1.0, 1.5);
            for [source, target, residual_layout] in layouts(shape, output) {
                let buffer = spread(&input, &source, Guard::After, 0);
                let residual = spread(&added, &residual_layout, Guard::After, 0);
                let epilogue = |part: &Part| beside(Some(&residual[..]), residual_layout, part, clamp);
                let mut whole = vec![0.0; extent(&target)];
                let all = ViewMut::new(&mut whole, target).unwrap();
                packed.run(View::new(&buffer, source).unwrap(), epilogue(&Part::all(output)), all).unwrap();
                for bounds in [&[0, 13][..], &[0, 1, 13], &[0, 4, 9, 13], &[0, 6, 6, 13]] {
                    let mut shared = Shared::new(target, false);
                    for inputs in bounds.windows(2).map(|pair| pair[0]..pair[1]) {
                        // A slice of the channels is a view of its own.
                        let slice = Layout { channels: inputs.len(), ..source };
                        let view = View::new(&buffer[inputs.start..], slice).unwrap();
                        let channels = cut(&mut numbers, n, kernel.nr(), 2);
                        let parts = cut(&mut numbers, output.height, 1, 2).into_iter().flat_map(|rows| {
                            channels.iter().map(move |channels| Part { rows: rows.clone(), channels: channels.clone() })
                        });
                        let last = inputs.end == k;
                        shared.run(&parts.collect::<Vec<_>>(), &|part, output| {
                            let epilogue = if last { epilogue(part) } else { Epilogue::clamp(Clamp::NONE) };
                            packed.run_inputs(inputs.clone(), part, view, epilogue, output)
                        });
                    }
                    let context = format!("{} {shape} to {n}, stride {stride}, {bounds:?}", kernel.name());
                    assert_same(&shared.values(), &gather(&whole, &target), None, &context);
                }
            }
        }
    });
}

/// Several threads run one operator, each on an image and into an output of its own.
#[test]
fn threads_share_an_operator() {
    let kernels = every_isa().pop().unwrap();
    let (weights, bias) = (Numbers(1).take(9 * 40, Kind::Floats), Numbers(2).take(40, Kind::Floats));
    let params = DepthwiseParams::new(40, Window::square(3).symmetric());
    let packed = Depthwise::new(kernels, params, &weights, &bias).unwrap();
    let run = |seed: u64| {
        let (input, mut output) = (Numbers(seed).take(6 * 7 * 40, Kind::Floats), vec![f32::NAN; 6 * 7 * 40]);
        let view = ViewMut::tight(&mut output, 6, 7, 40).unwrap();
        packed.run(View::tight(&input, 6, 7, 40).unwrap(), Epilogue::default(), view).unwrap();
        output
    };
    let want: Vec<Vec<f32>> = (0..4).map(run).collect();
    let got: Vec<Vec<f32>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|seed| scope.spawn(move || run(seed))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(got, want);
}
