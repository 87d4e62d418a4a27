//! Every pointwise kernel of every ISA against the reference.

mod common;

use common::*;
use proptest::prelude::*;
use sepconv::ops::{Epilogue, Part, Pointwise, PointwiseParams};
use sepconv::{Clamp, PointwiseKernel, View, ViewMut, reference};

#[derive(Debug, Clone)]
struct Case {
    height: usize,
    width: usize,
    k: usize,
    n: usize,
    stride: usize,
    gaps: Gaps,
    guard: Guard,
    shift: usize,
    kind: Kind,
    residual: bool,
    clamp: Clamp,
    /// Where K is cut; 0 leaves it whole.
    cut: usize,
    seed: u64,
}

impl Case {
    fn new(m: usize, k: usize, n: usize) -> Self {
        Case {
            height: 1,
            width: m,
            k,
            n,
            stride: 1,
            gaps: Gaps::Runs,
            guard: Guard::After,
            shift: 0,
            kind: Kind::Floats,
            residual: false,
            clamp: Clamp::NONE,
            cut: 0,
            seed: 1,
        }
    }

    fn check(&self, kernel: &'static PointwiseKernel) {
        let context = format!("{} {self:?}", kernel.name());
        let Case { height, width, k, n, stride, gaps, guard, shift, kind, clamp, .. } = *self;
        let mut numbers = Numbers(self.seed);
        let (input, weights) = (numbers.take(height * width * k, kind), numbers.take(n * k, kind));
        let bias = numbers.take(n, kind);
        let (out_height, out_width) = (height.div_ceil(stride), width.div_ceil(stride));
        let (target, beside) = (gaps.output(out_height, out_width, n), gaps.residual(out_height, out_width, n));
        let m = target.pixels();
        let residual = self.residual.then(|| numbers.take(m * n, kind));

        let params = PointwiseParams { stride, ..PointwiseParams::new(k, n) };
        let packed = Pointwise::with_kernel(kernel, params, &weights, &bias).expect(&context);
        assert_eq!(
            (packed.kernel().name(), packed.params(), packed.channel_step()),
            (kernel.name(), params, kernel.nr())
        );
        let residual_buffer = residual.as_ref().map(|residual| spread(residual, &beside, guard, shift));
        let mut output = Guarded::new(extent(&target), guard, shift);
        let cut = if self.cut > 0 { self.cut } else { k };
        for channels in [Some(0..cut), (cut < k).then_some(cut..k)].into_iter().flatten() {
            let source = gaps.input(height, width, channels.len());
            let part: Vec<f32> =
                input.chunks_exact(k.max(1)).flat_map(|pixel| pixel[channels.clone()].to_vec()).collect();
            let buffer = spread(&part, &source, guard, shift);
            let epilogue = Epilogue {
                residual: residual_buffer.as_ref().map(|buffer| View::new(buffer, beside).expect(&context)),
                clamp,
            };
            let epilogue = if channels.end == k { epilogue } else { Epilogue::clamp(Clamp::NONE) };
            let output = ViewMut::new(&mut output, target).expect(&context);
            let input = View::new(&buffer, source).expect(&context);
            packed.run_inputs(channels, &Part::all(target.shape()), input, epilogue, output).expect(&context);
        }
        output.check(&target, &context);

        // The reference has no stride: it gets the pixels that are read.
        let read: Vec<f32> = (0..height)
            .step_by(stride)
            .flat_map(|y| (0..width).step_by(stride).map(move |x| y * width + x))
            .flat_map(|pixel| input[pixel * k..][..k].to_vec())
            .collect();
        let want = reference::pointwise(&read, (m, k, n), (&weights, &bias), residual.as_deref(), clamp);
        let bounds = (!exact(kernel.isa())).then(|| {
            let residual = residual.as_deref().map(abs);
            bound(
                reference::pointwise(
                    &abs(&read),
                    (m, k, n),
                    (&abs(&weights), &abs(&bias)),
                    residual.as_deref(),
                    Clamp::NONE,
                ),
                k,
            )
        });
        assert_same(&gather(&output, &target), &want, bounds.as_deref(), &context);
    }
}

/// Runs `test` on every kernel and asserts that each was reached.
fn every_kernel(test: impl Fn(&'static PointwiseKernel)) {
    let mut ran = 0;
    for kernels in every_isa() {
        assert!(kernels.pointwise().iter().any(|kernel| !kernel.is_trial()), "{} ships none", kernels.isa());
        for kernel in kernels.pointwise() {
            test(kernel);
            ran += 1;
        }
    }
    assert_eq!(ran, every_isa().iter().map(|kernels| kernels.pointwise().len()).sum::<usize>());
    assert!(ran > 0);
}

#[test]
fn exact_on_small_integers() {
    every_kernel(|kernel| {
        for k in [0, 1, 3, 4, 5, 16, 33] {
            Case { kind: Kind::Integers, ..Case::new(2 * kernel.mr() + 1, k, kernel.nr() + 3) }.check(kernel);
        }
    });
}

#[test]
fn ordered_like_the_reference() {
    every_kernel(|kernel| {
        for (k, residual) in [(7, false), (64, true), (257, true)] {
            Case { residual, clamp: Clamp::RELU6, ..Case::new(3 * kernel.mr() + 2, k, 2 * kernel.nr() + 1) }
                .check(kernel);
        }
    });
}

#[test]
fn ragged_around_the_tile() {
    every_kernel(|kernel| {
        for m in 0..=2 * kernel.mr() + 13 {
            Case { gaps: Gaps::Everywhere, residual: m % 2 == 0, ..Case::new(m, 5, kernel.lanes() + 1) }.check(kernel);
        }
        for n in 1..=2 * kernel.nr() + 1 {
            let m = 1 + n % 13;
            Case { gaps: Gaps::Everywhere, residual: n % 2 == 0, clamp: Clamp::RELU, ..Case::new(m, 6, n) }
                .check(kernel);
        }
    });
}

#[test]
fn strided_like_a_shortcut() {
    every_kernel(|kernel| {
        for (height, width) in [(1, 1), (2, 2), (3, 5), (7, 7), (6, 9)] {
            for gaps in [Gaps::Runs, Gaps::ResidualRows, Gaps::Everywhere] {
                Case { height, width, stride: 2, gaps, residual: true, ..Case::new(0, 9, 17) }.check(kernel);
            }
        }
    });
}

/// Whole panels, and tiles of every height: most have an epilogue of their own, for whole vectors without a residual.
#[test]
fn whole_tiles_of_every_height() {
    every_kernel(|kernel| {
        for m in 1..=2 * kernel.mr() {
            for (k, residual) in (0..=9).flat_map(|k| [(k, false), (k, true)]) {
                let case = Case { clamp: Clamp::RELU6, residual, ..Case::new(m, k, 2 * kernel.nr()) };
                case.check(kernel);
                Case { kind: Kind::Specials, seed: (m + k) as u64, ..case }.check(kernel);
            }
        }
    });
}

#[test]
fn continued_where_k_is_cut() {
    every_kernel(|kernel| {
        for (cut, residual) in [1, 4, 7, 12].into_iter().flat_map(|cut| [(cut, false), (cut, true)]) {
            for n in [kernel.nr(), kernel.nr() + 5] {
                Case { cut, residual, clamp: Clamp::RELU, ..Case::new(11, 13, n) }.check(kernel);
            }
        }
    });
}

#[test]
fn guards_untouched_at_every_alignment() {
    every_kernel(|kernel| {
        for guard in [Guard::Before, Guard::After] {
            for shift in 0..16 {
                let n = kernel.nr() + 1 + shift % 7;
                Case { guard, shift, residual: true, ..Case::new(1 + shift, 4 + shift, n) }.check(kernel);
                let case = Case { guard, shift, gaps: Gaps::Everywhere, ..Case::new(5, 9, 1 + shift) };
                case.check(kernel);
            }
        }
    });
}

#[test]
fn specials_survive_the_clamp() {
    every_kernel(|kernel| {
        for seed in 0..8 {
            for clamp in [Clamp::NONE, Clamp::RELU, Clamp::RELU6, Clamp { lo: -0.5, hi: 0.25 }] {
                for (m, n) in [(9, 21), (kernel.mr(), kernel.nr())] {
                    Case { kind: Kind::Specials, seed, clamp, residual: seed % 2 == 0, ..Case::new(m, 2, n) }
                        .check(kernel);
                }
            }
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]
    #[test]
    fn any_shape(
        height in 1usize..6,
        width in 1usize..20,
        k in 0usize..70,
        n in 1usize..80,
        stride in 1usize..3,
        (primes, after, residual) in any::<(bool, bool, bool)>(),
        (lo, hi) in (-1.0f32..0.5, 0.5f32..8.0),
        cut in 0usize..70,
        shift in 0usize..16,
        seed in any::<u64>(),
    ) {
        let case = Case {
            height,
            width,
            k,
            n,
            stride,
            gaps: if primes { Gaps::Everywhere } else { Gaps::Runs },
            guard: if after { Guard::After } else { Guard::Before },
            shift,
            kind: Kind::Floats,
            residual,
            clamp: Clamp { lo, hi },
            cut: if cut < k { cut } else { 0 },
            seed,
        };
        every_kernel(|kernel| case.check(kernel));
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let kernel = &every_isa()[0].pointwise()[0];
    let params = PointwiseParams::new(3, 2);
    for (weights, bias) in [(5, 2), (7, 2), (6, 1), (6, 3)] {
        assert!(Pointwise::with_kernel(kernel, params, &[0.0; 7][..weights], &[0.0; 3][..bias]).is_err());
    }
    assert!(Pointwise::with_kernel(kernel, PointwiseParams::new(usize::MAX, 2), &[0.0; 6], &[0.0; 2]).is_err());
    let packed = |stride| Pointwise::with_kernel(kernel, PointwiseParams { stride, ..params }, &[0.0; 6], &[0.0; 2]);
    assert!(packed(0).unwrap_err().to_string().contains("stride"));
    let (input, mut output) = ([0.0; 12], [0.0; 8]);
    let mut run = |channels: std::ops::Range<usize>, stride, (height, width, outputs)| {
        let packed = packed(stride).unwrap();
        let input = View::tight(&input, 2, 2, 3).unwrap();
        let part = Part::all(packed.output(input.layout().shape()).unwrap());
        let output = ViewMut::tight(&mut output, height, width, outputs).unwrap();
        let ran = packed.run_inputs(channels, &part, input, Epilogue::clamp(Clamp::NONE), output);
        ran.map_err(|error| error.to_string())
    };
    assert_eq!(run(0..3, 1, (2, 2, 2)), Ok(()));
    assert_eq!(run(0..4, 1, (2, 2, 2)).unwrap_err(), "pointwise input channels: got 0..4, expected a part of 0..3");
    assert_eq!(run(0..2, 1, (2, 2, 2)).unwrap_err(), "pointwise input: got 2x2x3, expected 2 channels");
    assert!(run(0..3, 2, (2, 2, 2)).unwrap_err().contains("expected 1x1x2"));
    assert_eq!(run(0..3, 2, (1, 1, 2)), Ok(()));
    // A pixel or a channel too many or too few in the residual.
    let packed = packed(1).unwrap();
    for (height, width, outputs, fits) in [(2, 2, 2, true), (1, 2, 2, false), (2, 3, 2, false), (2, 2, 1, false)] {
        let residual = vec![0.0; height * width * outputs];
        let residual = View::tight(&residual, height, width, outputs).unwrap();
        let input = View::tight(&input, 2, 2, 3).unwrap();
        let output = ViewMut::tight(&mut output, 2, 2, 2).unwrap();
        let ran = packed.run(input, Epilogue::add(residual, Clamp::NONE), output);
        assert_eq!(ran.is_ok(), fits, "{height}x{width}x{outputs}");
        assert!(ran.err().is_none_or(|error| error.to_string().contains("residual")));
    }
}
