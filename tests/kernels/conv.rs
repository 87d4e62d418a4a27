//! Every kernel of dense convolutions: those that take any window, and those for stems alone.

use sepconv::ops::{Conv, ConvParams};
use sepconv::{ConvKernel, Epilogue, Kernels, View, ViewMut, Window};
use sepconv_check::{Case, Clamp, Gaps, Kind, Op, Padding, Scope, Tile};

use crate::common::{every_isa, one_sided};
use crate::subject::{Kernel, any_shape, at_every_alignment, every_case, window};

/// The window and the input channels of a stem.
const STEM: ((usize, usize), usize) = ((3, 3), 3);

pub fn kernels(kernels: &'static Kernels) -> Vec<Kernel> {
    let any = |kernel: &ConvKernel| kernel.serves((2, 5), 7) && !kernel.is_trial();
    assert!(kernels.conv().iter().any(any), "{} ships none for any window", kernels.isa());
    kernels.conv().iter().map(subject).collect()
}

fn subject(kernel: &'static ConvKernel) -> Kernel {
    let windows = [(3, 3), (1, 1), (2, 3), (5, 5), (1, 2), (2, 1)];
    let (windows, inputs) = match kernel.stem() {
        true => (vec![STEM.0], Some(STEM.1)),
        false => (windows.to_vec(), None),
    };
    let scope = Scope {
        tile: Tile { height: 1, width: kernel.mr(), channels: kernel.nr(), lanes: kernel.lanes() },
        windows,
        inputs,
        strides: vec![(1, 1), (2, 2), (3, 3), (1, 2), (2, 1)],
        padding: 4,
        gaps: true,
        residual: true,
        ..Scope::fixed(Op::Conv, (1, 1), (1, 1))
    };
    Kernel::new((kernel.name(), kernel.isa(), kernel.is_trial()), scope, move |given, output| {
        let Case { inputs, outputs, .. } = *given.case;
        let params = ConvParams::new(inputs, outputs, window(given.case));
        let packed = Conv::with_kernel(kernel, params, given.weights, given.bias)?;
        assert_eq!((packed.kernel().name(), packed.params()), (kernel.name(), params));
        assert_eq!(packed.channel_step(), kernel.nr());
        packed.run(given.input()?, given.epilogue()?, given.output(output)?)
    })
}

/// Those of `cases` that are for this kernel.
fn served(kernel: &Kernel, mut cases: Vec<Case>) -> Vec<Case> {
    let only = kernel.scope.inputs;
    cases.retain(|case| only.is_none_or(|inputs| (case.window, case.inputs) == (STEM.0, inputs)));
    cases
}

/// The stems of the built-in networks: 3x3 stride 2 on three channels, 3x3 stride 1, 1x1 stride 2.
fn stems() -> [Case; 3] {
    let stem = Case { stride: (2, 2), clamp: Clamp::RELU6, ..Case::conv(17, 19, 3, 32) };
    let second = Case { inputs: 32, outputs: 64, stride: (1, 1), padding: Padding::NONE, ..stem };
    let digits = Case { inputs: 1, outputs: 16, window: (1, 1), padding: Padding::NONE, ..stem };
    [stem, second, digits]
}

groups!(kernels);

#[test]
fn stems_of_networks() {
    every_case(kernels, |kernel| {
        let mut cases = Vec::new();
        for stem in stems() {
            cases.push(Case { kind: Kind::Integers, ..stem });
            for residual in [false, true] {
                cases.extend([Gaps::NONE, Gaps::RUNS, Gaps::EVERYWHERE].map(|gaps| Case { residual, gaps, ..stem }));
            }
            for outputs in 1..=2 * kernel.scope.tile.channels + 1 {
                let width = 3 + outputs % 9;
                cases.push(Case { outputs, height: 4, width, gaps: Gaps::EVERYWHERE, ..stem });
            }
            cases.extend((3..4 * kernel.scope.tile.width).map(|width| Case { width, height: 3, ..stem }));
        }
        served(kernel, cases)
    });
}

/// Rows of three pixels of three channels have a loop of their own, where they touch.
#[test]
fn rows_of_three_pixels_touching_or_not() {
    every_case(kernels, |kernel| {
        let Tile { width: mr, channels: nr, .. } = kernel.scope.tile;
        let mut cases = Vec::new();
        for (stride, rows) in (1..=3).flat_map(|stride| (1..=4).map(move |rows| (stride, rows))) {
            for (top, gaps) in (0..rows)
                .flat_map(|top| [Gaps::NONE, Gaps::RUNS, Gaps::EVERYWHERE].into_iter().map(move |gaps| (top, gaps)))
            {
                for (outputs, residual) in [(nr, false), (2 * nr, false), (2 * nr, true)] {
                    cases.push(Case {
                        height: 7,
                        width: (2 * mr + 1) * stride,
                        outputs,
                        window: (rows, 3),
                        stride: (stride, stride),
                        padding: Padding { top, bottom: rows - 1 - top, left: 1, right: 1 },
                        residual,
                        gaps,
                        ..stems()[0]
                    });
                }
            }
        }
        served(kernel, cases)
    });
}

#[test]
fn borders_alone_and_together() {
    every_case(kernels, |kernel| {
        let mut cases = Vec::new();
        for padding in (0..3usize.pow(4)).map(|i| [i % 3, i / 3 % 3, i / 9 % 3, i / 27]) {
            let [top, bottom, left, right] = padding;
            for (height, width) in [(1, 1), (1, 5), (2, 2), (3, 3), (5, 4), (4, 9)] {
                for (gaps, stem) in [Gaps::NONE, Gaps::RUNS, Gaps::EVERYWHERE]
                    .into_iter()
                    .flat_map(|gaps| stems().into_iter().take(2).map(move |stem| (gaps, stem)))
                {
                    cases.extend([2, 3].map(|inputs| Case {
                        height,
                        width,
                        inputs,
                        outputs: 5,
                        padding: Padding { top, bottom, left, right },
                        gaps,
                        residual: height % 2 == 0,
                        ..stem
                    }));
                }
            }
        }
        served(kernel, cases)
    });
}

#[test]
fn guards_at_every_alignment() {
    every_case(kernels, |kernel| {
        let sized = |shift| (3 + shift % 4, 3 + shift % 7, 1 + shift);
        let all = stems().into_iter().flat_map(|stem| {
            at_every_alignment(|shift| {
                let (height, width, outputs) = sized(shift);
                Case { height, width, outputs, ..stem }
            })
        });
        served(kernel, all.collect())
    });
}

#[test]
fn specials_survive_the_clamp() {
    every_case(kernels, |kernel| {
        let mut cases = Vec::new();
        for (seed, stem) in (0..6).flat_map(|seed| stems().map(|stem| (seed, stem))) {
            let residual = seed % 2 == 0;
            let case = Case { kind: Kind::Specials, seed, residual, height: 5, width: 6, ..stem };
            // Few channels, as given; a row of whole tiles.
            let wide = Case { width: 4 * kernel.scope.tile.width, ..case };
            cases.extend([Case { inputs: 1, ..case }, case, wide]);
        }
        served(kernel, cases)
    });
}

/// Of any window of up to 4x4 too.
#[test]
fn any_shape_anew() {
    any_shape(kernels, 192, |kernel| match kernel.scope.inputs {
        Some(_) => kernel.scope.clone(),
        None => {
            let windows = (1..=4).flat_map(|rows| (1..=4).map(move |columns| (rows, columns))).collect();
            Scope { windows, ..kernel.scope.clone() }
        }
    });
}

#[test]
fn what_does_not_fit_is_refused() {
    let kernel = every_isa()[0].conv().iter().find(|kernel| !kernel.stem()).unwrap();
    let pack = |window, weights: usize, bias: usize| {
        let params = ConvParams::new(1, 2, window);
        let packed = Conv::with_kernel(kernel, params, &[0.0; 19][..weights], &[0.0; 3][..bias]);
        packed.map_err(|error| error.to_string())
    };
    let plain = Window::square(3).stride(2);
    for other in [plain.stride(0), plain.strides(0, 2), plain.strides(2, 0), plain.dilation(2), Window::new(0, 3)] {
        assert!(pack(other, 18, 2).unwrap_err().contains("window"), "{other:?}");
    }
    for (weights, bias) in [(17, 2), (19, 2), (18, 1), (18, 3)] {
        assert!(pack(plain, weights, bias).is_err());
    }
    let (input, mut output) = ([0.0; 9], [0.0; 8]);
    let mut run = |padding, (height, width)| {
        let packed = pack(plain.padding(padding), 18, 2).unwrap();
        let output = ViewMut::tight(&mut output, height, width, 2).unwrap();
        let input = View::tight(&input, 3, 3, 1).unwrap();
        packed.run(input, Epilogue::clamp(sepconv::Clamp::NONE), output).map_err(|error| error.to_string())
    };
    for (padding, size) in one_sided(2).into_iter().zip([(2, 1), (2, 1), (1, 2), (1, 2)]) {
        assert_eq!(run(padding, size), Ok(()), "{padding:?}");
    }
    for (padding, size) in one_sided(4).into_iter().zip([(2, 1), (2, 1), (1, 2), (1, 2)]) {
        assert!(run(padding, size).unwrap_err().contains("at most the window on each side"), "{padding:?}");
    }
    let all = sepconv::Padding::all;
    assert_eq!(run(all(1), (2, 2)), Ok(()));
    assert!(run(all(1), (1, 2)).unwrap_err().contains("expected 2x2x2"));
    assert!(run(all(1), (2, 1)).unwrap_err().contains("expected 2x2x2"));
    // A channel too many, in the input, the residual and the output.
    let packed = pack(plain.symmetric(), 18, 2).unwrap();
    for (inputs, residuals, outputs, fits) in [(1, 2, 2, true), (2, 2, 2, false), (1, 3, 2, false), (1, 2, 3, false)] {
        let (input, residual, mut output) = (vec![0.0; 9 * inputs], vec![0.0; 4 * residuals], vec![0.0; 4 * outputs]);
        let residual = View::tight(&residual, 2, 2, residuals).unwrap();
        let output = ViewMut::tight(&mut output, 2, 2, outputs).unwrap();
        let input = View::tight(&input, 3, 3, inputs).unwrap();
        let ran = packed.run(input, Epilogue::add(residual, sepconv::Clamp::NONE), output);
        assert_eq!(ran.is_ok(), fits, "{inputs}, {residuals}, {outputs}");
    }
}

#[test]
fn stems_take_nothing_else() {
    for kernel in every_isa().into_iter().flat_map(|kernels| kernels.conv()).filter(|kernel| kernel.stem()) {
        for (size, inputs) in [(STEM.0, 1), ((3, 2), 3), ((2, 3), 3), ((5, 5), 3), ((1, 1), 9)] {
            assert!(!kernel.serves(size, inputs));
            let params = ConvParams::new(inputs, 1, Window::new(size.0, size.1));
            let error = Conv::with_kernel(kernel, params, &vec![0.0; size.0 * size.1 * inputs], &[0.0]).unwrap_err();
            assert!(error.to_string().contains(kernel.name()), "{error}");
        }
    }
}
