//! Every depthwise kernel of every ISA against the reference.

mod common;

use common::*;
use proptest::prelude::*;
use sepconv::ops::{Depthwise, DepthwiseParams, Epilogue};
use sepconv::{Clamp, DepthwiseKernel, Padding, Shape, View, ViewMut, Window, reference};

#[derive(Debug, Clone)]
struct Case {
    height: usize,
    width: usize,
    channels: usize,
    padding: Padding,
    gaps: Gaps,
    guard: Guard,
    shift: usize,
    kind: Kind,
    residual: bool,
    input_lo: Option<f32>,
    clamp: Clamp,
    seed: u64,
}

impl Case {
    fn new(height: usize, width: usize, channels: usize) -> Self {
        Case {
            height,
            width,
            channels,
            padding: Padding::all(1),
            gaps: Gaps::Runs,
            guard: Guard::After,
            shift: 0,
            kind: Kind::Floats,
            residual: false,
            input_lo: None,
            clamp: Clamp::NONE,
            seed: 1,
        }
    }

    /// The window of `kernel`, with the padding of the case.
    fn window(&self, kernel: &DepthwiseKernel) -> Window {
        let (height, width) = kernel.window();
        Window::new(height, width).stride(kernel.stride()).dilation(kernel.dilation()).padding(self.padding)
    }

    /// Whether the image holds a window.
    fn possible(&self, kernel: &DepthwiseKernel) -> bool {
        let Padding { top, bottom, left, right } = self.padding;
        let (window, extent) = (self.window(kernel), self.window(kernel).extent());
        let small = top.max(bottom) < extent.0 && left.max(right) < extent.1;
        small && window.output(self.height, self.width).is_some()
    }

    fn check(&self, kernel: &'static DepthwiseKernel) {
        let context = format!("{} {self:?}", kernel.name());
        let Case { height, width, channels, gaps, guard, shift, kind, input_lo, clamp, .. } = *self;
        let mut numbers = Numbers(self.seed);
        let (shape, window) = (Shape::new(height, width, channels), self.window(kernel));
        let input = numbers.take(height * width * channels, kind);
        let (weights, bias) = (numbers.take(channels * window.taps(), kind), numbers.take(channels, kind));
        let (out_height, out_width) = window.output(height, width).expect(&context);
        let (source, target) = (gaps.input(height, width, channels), gaps.output(out_height, out_width, channels));
        let beside = gaps.residual(out_height, out_width, channels);
        let residual = self.residual.then(|| numbers.take(target.pixels() * channels, kind));

        let params = DepthwiseParams { input_lo, ..DepthwiseParams::new(channels, window) };
        let packed = Depthwise::with_kernel(kernel, params, &weights, &bias).expect(&context);
        assert_eq!(
            (packed.kernel().name(), packed.params(), packed.channel_step()),
            (kernel.name(), params, kernel.lanes())
        );
        let (buffer, mut output) = (spread(&input, &source, guard, shift), Guarded::new(extent(&target), guard, shift));
        let residual_buffer = residual.as_ref().map(|residual| spread(residual, &beside, guard, shift));
        let epilogue = Epilogue {
            residual: residual_buffer.as_ref().map(|buffer| View::new(buffer, beside).expect(&context)),
            clamp,
        };
        let view = ViewMut::new(&mut output, target).expect(&context);
        packed.run(View::new(&buffer, source).expect(&context), epilogue, view).expect(&context);
        output.check(&target, &context);

        let want =
            reference::depthwise(&input, shape, &window, input_lo, (&weights, &bias), residual.as_deref(), clamp);
        let bounds = (!exact(kernel.isa())).then(|| {
            let (weights, bias) = (abs(&weights), abs(&bias));
            let residual = residual.as_deref().map(abs);
            let sums = reference::depthwise(
                &abs(&input),
                shape,
                &window,
                None,
                (&weights, &bias),
                residual.as_deref(),
                Clamp::NONE,
            );
            bound(sums, window.taps())
        });
        assert_same(&gather(&output, &target), &want, bounds.as_deref(), &context);
    }
}

/// Runs `test` on every kernel and asserts that each was reached, and that each stride has one to ship.
fn every_kernel(test: impl Fn(&'static DepthwiseKernel)) {
    let mut ran = 0;
    for kernels in every_isa() {
        for stride in [1, 2] {
            let shipped = |kernel: &&DepthwiseKernel| {
                (kernel.window(), kernel.stride(), kernel.dilation()) == ((3, 3), stride, 1) && !kernel.is_trial()
            };
            assert!(
                kernels.depthwise().iter().any(|kernel| shipped(&kernel)),
                "{} ships no stride {stride}",
                kernels.isa()
            );
        }
        for kernel in kernels.depthwise() {
            test(kernel);
            ran += 1;
        }
    }
    assert_eq!(ran, every_isa().iter().map(|kernels| kernels.depthwise().len()).sum::<usize>());
    assert!(ran > 0);
}

#[test]
fn exact_on_small_integers() {
    every_kernel(|kernel| {
        for channels in [1, kernel.lanes(), 3 * kernel.lanes() + 1] {
            Case { kind: Kind::Integers, ..Case::new(9, 11, channels) }.check(kernel);
        }
    });
}

#[test]
fn ordered_like_the_reference() {
    every_kernel(|kernel| {
        for (residual, input_lo) in [(false, None), (true, None), (true, Some(0.0))] {
            Case { residual, input_lo, clamp: Clamp::RELU6, ..Case::new(13, 14, 48) }.check(kernel);
        }
    });
}

#[test]
fn ragged_around_the_tile() {
    every_kernel(|kernel| {
        for channels in 1..=4 * kernel.lanes() + 1 {
            Case { gaps: Gaps::Everywhere, residual: channels % 2 == 0, ..Case::new(4, 5, channels) }.check(kernel);
        }
        for width in 1..=6 * kernel.columns() {
            Case { gaps: Gaps::Everywhere, input_lo: (width % 2 == 0).then_some(-0.25), ..Case::new(5, width, 9) }
                .check(kernel);
        }
        for height in 1..=4 * kernel.rows() + 3 {
            Case { gaps: Gaps::Everywhere, clamp: Clamp::RELU, ..Case::new(height, 6, kernel.lanes()) }.check(kernel);
        }
    });
}

#[test]
fn borders_alone_and_together() {
    every_kernel(|kernel| {
        let sides = 0..3usize.pow(4);
        for padding in sides.map(|i| Padding { top: i % 3, bottom: i / 3 % 3, left: i / 9 % 3, right: i / 27 }) {
            for height in [1, 2, 3, 4, 7, 8] {
                for width in [1, 2, 3, 5, 10] {
                    let case = Case {
                        padding,
                        residual: height % 2 == 0,
                        input_lo: (width % 2 == 0).then_some(0.0),
                        ..Case::new(height, width, kernel.lanes())
                    };
                    if case.possible(kernel) {
                        case.check(kernel);
                    }
                }
            }
        }
    });
}

#[test]
fn guards_untouched_at_every_alignment() {
    every_kernel(|kernel| {
        for guard in [Guard::Before, Guard::After] {
            for shift in 0..16 {
                let channels = kernel.lanes() + shift;
                Case { guard, shift, residual: true, ..Case::new(3 + shift % 3, 4 + shift % 5, channels) }
                    .check(kernel);
                Case { guard, shift, gaps: Gaps::Everywhere, ..Case::new(4, 5, 1 + shift) }.check(kernel);
            }
        }
    });
}

#[test]
fn specials_survive_both_clamps() {
    every_kernel(|kernel| {
        for seed in 0..8 {
            for clamp in [Clamp::NONE, Clamp::RELU, Clamp::RELU6] {
                let input_lo = [None, Some(0.0)][seed as usize % 2];
                Case { kind: Kind::Specials, seed, clamp, input_lo, ..Case::new(6, 7, kernel.lanes() + 3) }
                    .check(kernel);
            }
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]
    #[test]
    fn any_shape(
        (height, width) in (1usize..17, 1usize..23),
        channels in 1usize..50,
        (top, bottom, left, right) in (0usize..3, 0usize..3, 0usize..3, 0usize..3),
        (primes, after, residual, clamped) in any::<(bool, bool, bool, bool)>(),
        (lo, hi) in (-1.0f32..0.5, 0.5f32..8.0),
        shift in 0usize..16,
        seed in any::<u64>(),
    ) {
        let case = Case {
            height,
            width,
            channels,
            padding: Padding { top, bottom, left, right },
            gaps: if primes { Gaps::Everywhere } else { Gaps::Runs },
            guard: if after { Guard::After } else { Guard::Before },
            shift,
            kind: Kind::Floats,
            residual,
            input_lo: clamped.then_some(-0.1),
            clamp: Clamp { lo, hi },
            seed,
        };
        every_kernel(|kernel| {
            if case.possible(kernel) {
                case.check(kernel);
            }
        });
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let kernel = &every_isa()[0].depthwise()[0];
    let params = |padding| DepthwiseParams::new(2, Window::square(3).padding(padding));
    for (weights, bias) in [(17, 2), (19, 2), (18, 1), (18, 3)] {
        let params = params(Padding::NONE);
        assert!(Depthwise::with_kernel(kernel, params, &[0.0; 19][..weights], &[0.0; 3][..bias]).is_err());
    }
    for window in [
        Window::square(3).stride(2),
        Window::square(3).strides(1, 2),
        Window::square(3).dilation(2),
        Window::new(3, 2),
        Window::square(5),
    ] {
        let refused =
            Depthwise::with_kernel(kernel, DepthwiseParams::new(0, window), &[], &[]).unwrap_err().to_string();
        assert!(
            refused.contains(kernel.name()) && refused.contains("size (3, 3), stride 1 and dilation 1"),
            "{refused}"
        );
    }
    let packed = |padding| Depthwise::with_kernel(kernel, params(padding), &[0.0; 18], &[0.0; 2]).unwrap();
    let (input, mut output) = ([0.0; 18], [0.0; 128]);
    let mut run = |padding, (height, width)| {
        let output = ViewMut::tight(&mut output, height, width, 2).unwrap();
        let input = View::tight(&input, 3, 3, 2).unwrap();
        packed(padding).run(input, Epilogue::clamp(Clamp::NONE), output).map_err(|error| error.to_string())
    };
    for (padding, size) in one_sided(2).into_iter().zip([(3, 1), (3, 1), (1, 3), (1, 3)]) {
        assert_eq!(run(padding, size), Ok(()), "{padding:?}");
    }
    for (padding, size) in one_sided(3).into_iter().zip([(4, 1), (4, 1), (1, 4), (1, 4)]) {
        let text = format!("depthwise padding: got {padding:?}, expected less on each side than the window, 3x3");
        assert_eq!(run(padding, size), Err(text));
    }
    assert_eq!(run(Padding::all(1), (3, 3)), Ok(()));
    assert_eq!(run(Padding::all(2), (5, 5)), Ok(()));
    assert!(run(Padding::all(1), (3, 4)).unwrap_err().contains("expected 3x3x2"));
    assert!(run(Padding::all(1), (4, 3)).unwrap_err().contains("expected 3x3x2"));
    // A channel too many, in the input, the residual and the output.
    for (inputs, residuals, outputs, fits) in [(2, 2, 2, true), (3, 2, 2, false), (2, 3, 2, false), (2, 2, 3, false)] {
        let (input, residual, mut output) = (vec![0.0; 9 * inputs], vec![0.0; 9 * residuals], vec![0.0; 9 * outputs]);
        let residual = View::tight(&residual, 3, 3, residuals).unwrap();
        let output = ViewMut::tight(&mut output, 3, 3, outputs).unwrap();
        let input = View::tight(&input, 3, 3, inputs).unwrap();
        let ran = packed(Padding::all(1)).run(input, Epilogue::add(residual, Clamp::NONE), output);
        assert_eq!(ran.is_ok(), fits, "{inputs}, {residuals}, {outputs}");
        assert!(ran.err().is_none_or(|error| error.to_string().contains("got 3x3x3")));
    }
}
