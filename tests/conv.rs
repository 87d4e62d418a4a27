//! Every dense convolution kernel of every ISA against the reference.

mod common;

use common::*;
use proptest::prelude::*;
use sepconv::ops::{Conv, ConvParams, Epilogue};
use sepconv::{Clamp, ConvKernel, Padding, Shape, View, ViewMut, Window, reference};

#[derive(Debug, Clone)]
struct Case {
    height: usize,
    width: usize,
    inputs: usize,
    outputs: usize,
    window: (usize, usize),
    stride: usize,
    padding: Padding,
    gaps: Gaps,
    guard: Guard,
    shift: usize,
    kind: Kind,
    residual: bool,
    clamp: Clamp,
    seed: u64,
}

/// The stems: 3x3 stride 2 on three channels, 3x3 stride 1, 1x1 stride 2.
fn stems() -> [Case; 3] {
    let stem = Case {
        height: 17,
        width: 19,
        inputs: 3,
        outputs: 32,
        window: (3, 3),
        stride: 2,
        padding: Padding::all(1),
        gaps: Gaps::Runs,
        guard: Guard::After,
        shift: 0,
        kind: Kind::Floats,
        residual: false,
        clamp: Clamp::RELU6,
        seed: 1,
    };
    let second = Case { inputs: 32, outputs: 64, stride: 1, padding: Padding::default(), ..stem.clone() };
    let digits = Case { inputs: 1, outputs: 16, window: (1, 1), padding: Padding::default(), ..stem.clone() };
    [stem, second, digits]
}

impl Case {
    fn possible(&self) -> bool {
        let Padding { top, bottom, left, right } = self.padding;
        let small = top.max(bottom) < self.window.0 && left.max(right) < self.window.1;
        small && self.window().output(self.height, self.width).is_some()
    }

    fn window(&self) -> Window {
        Window::new(self.window.0, self.window.1).stride(self.stride).padding(self.padding)
    }

    /// Checks the case, or, on a kernel that serves stems alone, a stem that is like it.
    fn check(&self, kernel: &'static ConvKernel) {
        if kernel.serves(self.window, self.inputs) {
            return self.check_on(kernel);
        }
        let params = ConvParams::new(self.inputs, 0, self.window());
        let error = Conv::with_kernel(kernel, params, &[], &[]).unwrap_err().to_string();
        assert!(kernel.stem() && error.contains(&format!("one that {} computes", kernel.name())), "{error}");
        let stem = Case { window: (3, 3), inputs: 3, ..self.clone() };
        if stem.possible() {
            stem.check_on(kernel);
        }
    }

    fn check_on(&self, kernel: &'static ConvKernel) {
        let context = format!("{} {self:?}", kernel.name());
        let Case { height, width, inputs, outputs, gaps, guard, shift, kind, clamp, .. } = *self;
        let mut numbers = Numbers(self.seed);
        let (shape, window) = (Shape::new(height, width, inputs), self.window());
        let input = numbers.take(height * width * inputs, kind);
        let depth = window.taps() * inputs;
        let (weights, bias) = (numbers.take(outputs * depth, kind), numbers.take(outputs, kind));
        let (out_height, out_width) = window.output(height, width).expect(&context);
        let (source, target) = (gaps.input(height, width, inputs), gaps.output(out_height, out_width, outputs));
        let beside = gaps.residual(out_height, out_width, outputs);
        let residual = self.residual.then(|| numbers.take(target.pixels() * outputs, kind));

        let params = ConvParams::new(inputs, outputs, window);
        let packed = Conv::with_kernel(kernel, params, &weights, &bias).expect(&context);
        assert_eq!(
            (packed.kernel().name(), packed.params(), packed.channel_step()),
            (kernel.name(), params, kernel.nr())
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

        let want = reference::conv(&input, shape, &window, outputs, (&weights, &bias), residual.as_deref(), clamp);
        let bounds = (!exact(kernel.isa())).then(|| {
            let (weights, bias) = (abs(&weights), abs(&bias));
            let residual = residual.as_deref().map(abs);
            let sums = reference::conv(
                &abs(&input),
                shape,
                &window,
                outputs,
                (&weights, &bias),
                residual.as_deref(),
                Clamp::NONE,
            );
            bound(sums, depth)
        });
        assert_same(&gather(&output, &target), &want, bounds.as_deref(), &context);
    }
}

/// Runs `test` on every kernel and asserts that each was reached.
fn every_kernel(test: impl Fn(&'static ConvKernel)) {
    let mut ran = 0;
    for kernels in every_isa() {
        assert!(
            kernels.conv().iter().any(|kernel| !kernel.is_trial() && !kernel.stem()),
            "{} ships none",
            kernels.isa()
        );
        for kernel in kernels.conv() {
            test(kernel);
            ran += 1;
        }
    }
    assert_eq!(ran, every_isa().iter().map(|kernels| kernels.conv().len()).sum::<usize>());
    assert!(ran > 0);
}

#[test]
fn exact_on_small_integers() {
    every_kernel(|kernel| stems().iter().for_each(|stem| Case { kind: Kind::Integers, ..stem.clone() }.check(kernel)));
}

#[test]
fn ordered_like_the_reference() {
    every_kernel(|kernel| stems().iter().for_each(|stem| Case { residual: true, ..stem.clone() }.check(kernel)));
}

#[test]
fn ragged_around_the_tile() {
    every_kernel(|kernel| {
        for stem in stems() {
            for outputs in 1..=2 * kernel.nr() + 1 {
                Case { outputs, height: 4, width: 3 + outputs % 9, gaps: Gaps::Everywhere, ..stem.clone() }
                    .check(kernel);
            }
            for width in 3..4 * kernel.mr() {
                Case { width, height: 3, ..stem.clone() }.check(kernel);
            }
        }
    });
}

#[test]
fn borders_alone_and_together() {
    every_kernel(|kernel| {
        let sides = 0..3usize.pow(4);
        for padding in sides.map(|i| Padding { top: i % 3, bottom: i / 3 % 3, left: i / 9 % 3, right: i / 27 }) {
            for (height, width) in [(1, 1), (1, 5), (2, 2), (3, 3), (5, 4), (4, 9)] {
                for gaps in [Gaps::Runs, Gaps::Everywhere] {
                    for stem in &stems()[..2] {
                        let residual = height % 2 == 0;
                        let case =
                            Case { height, width, padding, gaps, residual, inputs: 2, outputs: 5, ..stem.clone() };
                        if case.possible() {
                            case.check(kernel);
                        }
                    }
                }
            }
        }
    });
}

/// Rows of three pixels of three channels have a loop of their own.
#[test]
fn stems_of_any_height_and_stride() {
    every_kernel(|kernel| {
        for stride in 1..=3 {
            for rows in 1..=4 {
                for top in 0..rows {
                    for (panels, residual) in [(1, false), (2, false), (2, true)] {
                        let case = Case {
                            height: 7,
                            width: (2 * kernel.mr() + 1) * stride,
                            outputs: panels * kernel.nr(),
                            window: (rows, 3),
                            stride,
                            padding: Padding { top, bottom: rows - 1 - top, left: 1, right: 1 },
                            residual,
                            ..stems()[0].clone()
                        };
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
                for stem in stems() {
                    let (height, width) = (3 + shift % 4, 3 + shift % 7);
                    Case { guard, shift, height, width, outputs: 1 + shift, residual: true, ..stem }.check(kernel);
                }
            }
        }
    });
}

#[test]
fn specials_survive_the_clamp() {
    every_kernel(|kernel| {
        for seed in 0..6 {
            for stem in stems() {
                let residual = seed % 2 == 0;
                let case = Case { kind: Kind::Specials, seed, residual, height: 5, width: 6, ..stem };
                Case { inputs: 1, ..case.clone() }.check(kernel);
                // A row of whole tiles.
                Case { width: 4 * kernel.mr(), ..case }.check(kernel);
            }
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn any_shape(
        (height, width) in (1usize..10, 1usize..20),
        (inputs, outputs) in (1usize..9, 1usize..40),
        window in (1usize..5, 1usize..5),
        stride in 1usize..4,
        (top, bottom, left, right) in (0usize..4, 0usize..4, 0usize..4, 0usize..4),
        (primes, after, residual) in any::<(bool, bool, bool)>(),
        (lo, hi) in (-1.0f32..0.5, 0.5f32..8.0),
        shift in 0usize..16,
        seed in any::<u64>(),
    ) {
        let case = Case {
            height,
            width,
            inputs,
            outputs,
            window,
            stride,
            padding: Padding { top, bottom, left, right },
            gaps: if primes { Gaps::Everywhere } else { Gaps::Runs },
            guard: if after { Guard::After } else { Guard::Before },
            shift,
            kind: Kind::Floats,
            residual,
            clamp: Clamp { lo, hi },
            seed,
        };
        if case.possible() {
            every_kernel(|kernel| case.check(kernel));
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let kernel = every_isa()[0].conv().iter().find(|kernel| !kernel.stem()).unwrap();
    let params = |padding| ConvParams::new(1, 2, Window::square(3).stride(2).padding(padding));
    let none = params(Padding::NONE);
    for window in [none.window.stride(0), none.window.strides(2, 1), none.window.dilation(2)] {
        assert!(Conv::with_kernel(kernel, ConvParams { window, ..none }, &[0.0; 18], &[0.0; 2]).is_err());
    }
    for (weights, bias) in [(17, 2), (19, 2), (18, 1), (18, 3)] {
        assert!(Conv::with_kernel(kernel, none, &[0.0; 19][..weights], &[0.0; 3][..bias]).is_err());
    }
    let packed = |padding| Conv::with_kernel(kernel, params(padding), &[0.0; 18], &[0.0; 2]).unwrap();
    let (input, mut output) = ([0.0; 9], [0.0; 8]);
    let mut run = |padding, (height, width)| {
        let output = ViewMut::tight(&mut output, height, width, 2).unwrap();
        let input = View::tight(&input, 3, 3, 1).unwrap();
        packed(padding).run(input, Epilogue::clamp(Clamp::NONE), output).map_err(|error| error.to_string())
    };
    for (padding, size) in one_sided(2).into_iter().zip([(2, 1), (2, 1), (1, 2), (1, 2)]) {
        assert_eq!(run(padding, size), Ok(()), "{padding:?}");
    }
    for (padding, size) in one_sided(3).into_iter().zip([(2, 1), (2, 1), (1, 2), (1, 2)]) {
        let text = format!("conv padding: got {padding:?}, expected less on each side than the window, 3x3");
        assert_eq!(run(padding, size), Err(text));
    }
    assert_eq!(run(Padding::all(1), (2, 2)), Ok(()));
    assert!(run(Padding::all(1), (1, 2)).unwrap_err().contains("expected 2x2x2"));
    assert!(run(Padding::all(1), (2, 1)).unwrap_err().contains("expected 2x2x2"));
    // A channel too many, in the input, the residual and the output.
    for (inputs, residuals, outputs, fits) in [(1, 2, 2, true), (2, 2, 2, false), (1, 3, 2, false), (1, 2, 3, false)] {
        let (input, residual, mut output) = (vec![0.0; 9 * inputs], vec![0.0; 4 * residuals], vec![0.0; 4 * outputs]);
        let residual = View::tight(&residual, 2, 2, residuals).unwrap();
        let output = ViewMut::tight(&mut output, 2, 2, outputs).unwrap();
        let input = View::tight(&input, 3, 3, inputs).unwrap();
        let ran = packed(Padding::all(1)).run(input, Epilogue::add(residual, Clamp::NONE), output);
        assert_eq!(ran.is_ok(), fits, "{inputs}, {residuals}, {outputs}");
    }
}
