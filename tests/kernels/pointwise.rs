//! Every pointwise kernel.

use std::ops::Range;

use sepconv::ops::{Part, Pointwise, PointwiseParams};
use sepconv::{Clamp, Epilogue, Kernels, Layout, PointwiseKernel, View, ViewMut};
use sepconv_check::{Case, Gaps, Group, Kind, Op, Scope, Tile};

use crate::common::every_isa;
use crate::subject::{Given, Kernel, any_shape, at_every_alignment, every_case, layout};

/// Each kernel, with K whole and with K cut somewhere.
pub fn kernels(kernels: &'static Kernels) -> Vec<Kernel> {
    let whole = kernels.pointwise().iter().map(|kernel| subject(kernel, "", |_| 0));
    let cut = kernels.pointwise().iter().map(|kernel| subject(kernel, ", K cut", cut_anywhere));
    whole.chain(cut).collect()
}

fn cut_anywhere(case: &Case) -> usize {
    case.seed as usize % case.inputs.max(1)
}

/// K is cut after `cut` input channels, if there are more.
fn subject(kernel: &'static PointwiseKernel, how: &str, cut: impl Fn(&Case) -> usize + 'static) -> Kernel {
    let mr = kernel.mr_by_vectors().iter().copied().max().expect("a tile");
    let scope = Scope {
        tile: Tile { height: 1, width: mr, channels: kernel.nr(), lanes: kernel.lanes() },
        strides: vec![(1, 1), (2, 2), (3, 3)],
        gaps: true,
        residual: true,
        empty: true,
        ..Scope::fixed(Op::Pointwise, (1, 1), (1, 1))
    };
    let record = (format!("{}{how}", kernel.name()), kernel.isa(), kernel.is_trial());
    Kernel::new(record, scope, move |given, output| {
        let Case { inputs, outputs, stride, .. } = *given.case;
        let params = PointwiseParams { stride: stride.0, ..PointwiseParams::new(inputs, outputs) };
        let packed = Pointwise::with_kernel(kernel, params, given.weights, given.bias)?;
        assert_eq!((packed.kernel().name(), packed.params()), (kernel.name(), params));
        assert_eq!(packed.channel_step(), kernel.nr());
        let cut = cut(given.case);
        if cut == 0 || cut >= inputs || given.input.is_empty() {
            return packed.run(given.input()?, given.epilogue()?, given.output(output)?);
        }
        run_inputs(&packed, 0..cut, given, Epilogue::clamp(Clamp::NONE), output)?;
        run_inputs(&packed, cut..inputs, given, given.epilogue()?, output)
    })
}

/// Sums over some `inputs`: a slice of the channels of the one image.
fn run_inputs(
    packed: &Pointwise,
    inputs: Range<usize>,
    given: &Given<'_>,
    epilogue: Epilogue<'_>,
    output: &mut [f32],
) -> sepconv::Result<()> {
    let slice = Layout { channels: inputs.len(), ..layout(given.case.input()) };
    let input = View::new(&given.input[inputs.start..], slice)?;
    let part = Part::all(packed.output(given.input()?.layout().shape())?);
    packed.run_inputs(inputs, &part, input, epilogue, given.output(output)?)
}

groups!(kernels);

/// Whole panels of any width, and tiles of every height: most have an epilogue of their own, for whole vectors without a
/// residual.
#[test]
fn whole_tiles_of_every_height() {
    use sepconv_check::Clamp;
    const CLAMPS: [Clamp; 4] = [Clamp::RELU6, Clamp::NONE, Clamp::RELU, Clamp { lo: -0.5, hi: 0.25 }];
    every_case(kernels, |kernel| {
        let Tile { width: mr, channels: nr, lanes, .. } = kernel.scope.tile;
        let mut cases = Vec::new();
        for n in (1..=nr / lanes).map(|vectors| vectors * lanes).chain([2 * nr]) {
            for (m, k) in (1..=2 * mr).flat_map(|m| (0..=9).map(move |k| (m, k))) {
                for (kind, residual) in
                    [Kind::Floats, Kind::Specials].into_iter().flat_map(|kind| [(kind, false), (kind, true)])
                {
                    let (seed, clamp) = ((m * 10 + k) as u64, CLAMPS[(m + k) % 4]);
                    cases.push(Case { kind, residual, clamp, seed, ..Case::pointwise(m, k, n) });
                }
            }
        }
        cases
    });
}

#[test]
fn deep_sums() {
    every_case(kernels, |kernel| {
        let Tile { width: mr, channels: nr, .. } = kernel.scope.tile;
        [255, 256, 257, 1031].into_iter().flat_map(move |k| {
            let case = Case { clamp: sepconv_check::Clamp::RELU6, ..Case::pointwise(3 * mr + 2, k, 2 * nr + 1) };
            [case, Case { residual: true, ..case }]
        })
    });
}

/// Images of any size, whose last rows and columns no pixel may be read from.
#[test]
fn strided_like_a_shortcut() {
    every_case(kernels, |_| {
        let mut cases = Vec::new();
        for (height, width) in [(1, 1), (2, 2), (3, 5), (7, 7), (6, 9), (8, 4)] {
            for (stride, gaps) in [2, 3].into_iter().flat_map(|stride| {
                [Gaps::NONE, Gaps::RUNS, Gaps::RESIDUAL_ROWS, Gaps::EVERYWHERE].map(|gaps| (stride, gaps))
            }) {
                let case = Case { height, width, stride: (stride, stride), gaps, ..Case::pointwise(0, 9, 17) };
                cases.extend([case, Case { residual: true, ..case }]);
            }
        }
        cases
    });
}

#[test]
fn continued_where_k_is_cut() {
    for cut in [1, 4, 7, 12] {
        for kernel in every_isa().into_iter().flat_map(|kernels| kernels.pointwise()) {
            let subject = subject(kernel, &format!(", K cut at {cut}"), move |_| cut);
            for n in [kernel.nr(), kernel.nr() + 5] {
                let case = Case { clamp: sepconv_check::Clamp::RELU, ..Case::pointwise(11, 13, n) };
                let cases = [Gaps::NONE, Gaps::RUNS, Gaps::EVERYWHERE].map(|gaps| Case { gaps, ..case });
                subject.assert(cases.into_iter().flat_map(|case| [case, Case { residual: true, ..case }]));
            }
        }
    }
}

#[test]
fn guards_at_every_alignment() {
    every_case(kernels, |kernel| {
        let nr = kernel.scope.tile.channels;
        let mut cases = at_every_alignment(|shift| Case::pointwise(1 + shift, 4 + shift, nr + 1 + shift % 7));
        cases.extend(at_every_alignment(|shift| Case::pointwise(5, 9, 1 + shift)));
        cases
    });
}

#[test]
fn more_specials() {
    every_case(kernels, |kernel| {
        (2..=4).flat_map(|seed| Group::Specials.cases(&kernel.scope, seed)).collect::<Vec<_>>()
    });
}

#[test]
fn any_shape_anew() {
    any_shape(kernels, 128, |kernel| kernel.scope.clone());
}

#[test]
fn what_does_not_fit_is_refused() {
    let kernel = &every_isa()[0].pointwise()[0];
    let pack = |params, weights: usize, bias: usize| {
        Pointwise::with_kernel(kernel, params, &[0.0; 7][..weights], &[0.0; 3][..bias])
            .map_err(|error| error.to_string())
    };
    let params = PointwiseParams::new(3, 2);
    for (weights, bias) in [(5, 2), (7, 2), (6, 1), (6, 3)] {
        assert!(pack(params, weights, bias).is_err());
    }
    assert!(pack(PointwiseParams::new(usize::MAX, 2), 6, 2).is_err());
    assert!(pack(PointwiseParams { stride: 0, ..params }, 6, 2).unwrap_err().contains("stride"));
    let (packed, halved) = (pack(params, 6, 2).unwrap(), pack(PointwiseParams { stride: 2, ..params }, 6, 2).unwrap());
    let (input, mut output) = ([0.0; 12], [0.0; 12]);
    let mut run = |packed: &Pointwise, inputs: Range<usize>, (height, width, outputs)| {
        let input = View::tight(&input, 2, 2, 3).unwrap();
        let part = Part::all(packed.output(input.layout().shape()).unwrap());
        let output = ViewMut::tight(&mut output, height, width, outputs).unwrap();
        let ran = packed.run_inputs(inputs, &part, input, Epilogue::clamp(Clamp::NONE), output);
        ran.map_err(|error| error.to_string())
    };
    assert_eq!(run(&packed, 0..3, (2, 2, 2)), Ok(()));
    assert!(run(&packed, 0..4, (2, 2, 2)).unwrap_err().contains("0..4"));
    assert!(run(&packed, Range { start: 2, end: 1 }, (2, 2, 2)).unwrap_err().contains("2..1"));
    // The input holds three channels.
    assert!(run(&packed, 0..2, (2, 2, 2)).unwrap_err().contains("expected 2 channels"));
    assert!(run(&packed, 0..3, (2, 2, 3)).unwrap_err().contains("expected 2x2x2"));
    assert_eq!(run(&halved, 0..3, (1, 1, 2)), Ok(()));
    assert!(run(&halved, 0..3, (2, 2, 2)).unwrap_err().contains("expected 1x1x2"));
    // A pixel or a channel too many or too few in the residual.
    for (height, width, outputs, fits) in [(2, 2, 2, true), (1, 2, 2, false), (2, 3, 2, false), (2, 2, 1, false)] {
        let residual = vec![0.0; height * width * outputs];
        let residual = View::tight(&residual, height, width, outputs).unwrap();
        let input = View::tight(&input, 2, 2, 3).unwrap();
        let output = ViewMut::tight(&mut output[..8], 2, 2, 2).unwrap();
        let ran = packed.run(input, Epilogue::add(residual, Clamp::NONE), output);
        assert_eq!(ran.is_ok(), fits, "{height}x{width}x{outputs}");
        assert!(ran.err().is_none_or(|error| error.to_string().contains("residual")));
    }
}
