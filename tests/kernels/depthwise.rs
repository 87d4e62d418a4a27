//! Every depthwise kernel, with the window, stride and dilation that it has.

use sepconv::ops::{Depthwise, DepthwiseParams};
use sepconv::{DepthwiseKernel, Epilogue, Kernels, Shape, View, ViewMut, Window};
use sepconv_check::{Case, Clamp, Gaps, Kind, Op, Padding, Scope, Tile};

use crate::common::{every_isa, one_sided};
use crate::subject::{Kernel, any_shape, at_every_alignment, every_case, window};

pub fn kernels(kernels: &'static Kernels) -> Vec<Kernel> {
    for stride in [1, 2] {
        let shipped = |kernel: &DepthwiseKernel| {
            (kernel.window(), kernel.stride(), kernel.dilation()) == ((3, 3), stride, 1) && !kernel.is_trial()
        };
        assert!(kernels.depthwise().iter().any(shipped), "{} ships no 3x3 of stride {stride}", kernels.isa());
    }
    kernels.depthwise().iter().map(subject).collect()
}

fn subject(kernel: &'static DepthwiseKernel) -> Kernel {
    let (stride, dilation) = (kernel.stride(), kernel.dilation());
    let (rows, columns) = Window::new(kernel.window().0, kernel.window().1).dilation(dilation).extent();
    let scope = Scope {
        // Sizes go to twice the tile: two vectors of channels.
        tile: Tile {
            height: kernel.rows(),
            width: kernel.columns(),
            channels: 2 * kernel.lanes(),
            lanes: kernel.lanes(),
        },
        dilations: vec![(dilation, dilation)],
        padding: rows.max(columns) - 1,
        gaps: true,
        residual: true,
        input_lo: true,
        ..Scope::fixed(Op::Depthwise, kernel.window(), (stride, stride))
    };
    Kernel::new((kernel.name(), kernel.isa(), kernel.is_trial()), scope, move |given, output| {
        let Case { outputs, input_lo, .. } = *given.case;
        let params = DepthwiseParams { input_lo, ..DepthwiseParams::new(outputs, window(given.case)) };
        let packed = Depthwise::with_kernel(kernel, params, given.weights, given.bias)?;
        assert_eq!((packed.kernel().name(), packed.params()), (kernel.name(), params));
        assert_eq!(packed.channel_step(), kernel.lanes());
        packed.run(given.input()?, given.epilogue()?, given.output(output)?)
    })
}

/// An image of this size under the window of `kernel`, with half its extent as padding.
fn image(kernel: &Kernel, height: usize, width: usize, channels: usize) -> Case {
    Case { height, width, ..kernel.scope.bases()[0].channels(1, channels) }
}

groups!(kernels);

#[test]
fn images_of_many_tiles() {
    every_case(kernels, |kernel| {
        let Tile { height: rows, width: columns, lanes, .. } = kernel.scope.tile;
        let mut cases = Vec::new();
        for width in 1..=6 * columns + 4 {
            let input_lo = (width % 2 == 0).then_some(-0.25);
            cases.push(Case { gaps: Gaps::EVERYWHERE, input_lo, ..image(kernel, 5, width, 9) });
        }
        for height in 1..=4 * rows + 7 {
            cases.push(Case { gaps: Gaps::EVERYWHERE, clamp: Clamp::RELU, ..image(kernel, height, 6, lanes) });
        }
        for (residual, input_lo) in [(false, None), (true, None), (false, Some(0.0)), (true, Some(0.0))] {
            cases.push(Case { residual, input_lo, clamp: Clamp::RELU6, ..image(kernel, 13, 14, 48) });
        }
        cases
    });
}

/// Pixels a multiple of 2 KB apart: some of these images are computed from copies, whole, some rows or some columns at a time.
#[test]
fn pixels_that_alias() {
    every_case(kernels, |kernel| {
        let mut cases = Vec::new();
        for (height, width, channels) in [(7, 7, 1024), (20, 9, 512), (6, 39, 512), (1, 2, 512), (40, 1, 512)] {
            for (residual, input_lo) in [(false, None), (true, Some(0.0))] {
                cases.push(Case { residual, input_lo, clamp: Clamp::RELU6, ..image(kernel, height, width, channels) });
            }
        }
        cases
    });
}

/// As many rows and columns missing on each side as may be, on images from one pixel to many.
#[test]
fn borders_alone_and_together() {
    every_case(kernels, |kernel| {
        let (rows, columns) = image(kernel, 1, 1, 1).extent();
        let (rows, columns) = (0..rows, 0..columns);
        let vertical = rows.clone().flat_map(|top| rows.clone().map(move |bottom| (top, bottom)));
        let mut cases = Vec::new();
        for (top, bottom) in vertical {
            for (left, right) in columns.clone().flat_map(|left| columns.clone().map(move |right| (left, right))) {
                for height in [1, 2, 3, 4, 7, 8] {
                    for width in [1, 2, 3, 5, 10] {
                        cases.push(Case {
                            padding: Padding { top, bottom, left, right },
                            residual: height % 2 == 0,
                            input_lo: (width % 2 == 0).then_some(0.0),
                            ..image(kernel, height, width, kernel.scope.tile.lanes)
                        });
                    }
                }
            }
        }
        cases
    });
}

#[test]
fn guards_at_every_alignment() {
    every_case(kernels, |kernel| {
        let lanes = kernel.scope.tile.lanes;
        let mut cases = at_every_alignment(|shift| image(kernel, 3 + shift % 3, 4 + shift % 5, lanes + shift));
        cases.extend(at_every_alignment(|shift| image(kernel, 4, 5, 1 + shift)));
        cases
    });
}

#[test]
fn specials_survive_both_clamps() {
    every_case(kernels, |kernel| {
        let mut cases = Vec::new();
        for (seed, clamp) in (0..8).flat_map(|seed| [Clamp::NONE, Clamp::RELU, Clamp::RELU6].map(|clamp| (seed, clamp)))
        {
            for input_lo in [None, Some(0.0)] {
                let case = image(kernel, 6, 7, kernel.scope.tile.lanes + 3);
                cases.push(Case { kind: Kind::Specials, seed, clamp, input_lo, residual: seed % 2 == 1, ..case });
            }
        }
        cases
    });
}

#[test]
fn any_shape_anew() {
    any_shape(kernels, 128, |kernel| kernel.scope.clone());
}

#[test]
fn what_does_not_fit_is_refused() {
    let is_plain = |kernel: &&DepthwiseKernel| (kernel.window(), kernel.stride(), kernel.dilation()) == ((3, 3), 1, 1);
    let kernel = every_isa()[0].depthwise().iter().find(is_plain).unwrap();
    let pack = |window, weights: usize, bias: usize| {
        let params = DepthwiseParams::new(2, window);
        let packed = Depthwise::with_kernel(kernel, params, &[0.0; 19][..weights], &[0.0; 3][..bias]);
        packed.map_err(|error| error.to_string())
    };
    let plain = Window::square(3);
    for (weights, bias) in [(17, 2), (19, 2), (18, 1), (18, 3)] {
        assert!(pack(plain, weights, bias).is_err());
    }
    for other in [plain.stride(2), plain.strides(1, 2), plain.dilation(2), Window::new(2, 3), Window::square(5)] {
        assert!(pack(other, 18, 2).unwrap_err().contains(kernel.name()), "{other:?}");
    }
    assert!(pack(plain.stride(0), 18, 2).is_err());
    let (input, mut output) = ([0.0; 18], [0.0; 128]);
    let mut run = |padding, (height, width)| {
        let packed = pack(plain.padding(padding), 18, 2).unwrap();
        let output = ViewMut::tight(&mut output, height, width, 2).unwrap();
        let input = View::tight(&input, 3, 3, 2).unwrap();
        packed.run(input, Epilogue::clamp(sepconv::Clamp::NONE), output).map_err(|error| error.to_string())
    };
    for (padding, size) in one_sided(2).into_iter().zip([(3, 1), (3, 1), (1, 3), (1, 3)]) {
        assert_eq!(run(padding, size), Ok(()), "{padding:?}");
    }
    for (padding, size) in one_sided(3).into_iter().zip([(4, 1), (4, 1), (1, 4), (1, 4)]) {
        assert!(run(padding, size).unwrap_err().contains("less on each side than the window"), "{padding:?}");
    }
    let all = sepconv::Padding::all;
    assert_eq!(run(all(1), (3, 3)), Ok(()));
    assert_eq!(run(all(2), (5, 5)), Ok(()));
    assert!(run(all(1), (3, 4)).unwrap_err().contains("expected 3x3x2"));
    assert!(run(all(1), (4, 3)).unwrap_err().contains("expected 3x3x2"));
    // The window does not fit the image.
    let packed = pack(plain, 18, 2).unwrap();
    assert!(packed.output(Shape::new(2, 3, 2)).is_err() && packed.output(Shape::new(3, 2, 2)).is_err());
    assert_eq!(packed.output(Shape::new(3, 3, 2)), Ok(Shape::new(1, 1, 2)));
    // A channel too many, in the input, the residual and the output.
    let packed = pack(plain.symmetric(), 18, 2).unwrap();
    for (inputs, residuals, outputs, fits) in [(2, 2, 2, true), (3, 2, 2, false), (2, 3, 2, false), (2, 2, 3, false)] {
        let (input, residual, mut output) = (vec![0.0; 9 * inputs], vec![0.0; 9 * residuals], vec![0.0; 9 * outputs]);
        let residual = View::tight(&residual, 3, 3, residuals).unwrap();
        let output = ViewMut::tight(&mut output, 3, 3, outputs).unwrap();
        let input = View::tight(&input, 3, 3, inputs).unwrap();
        let ran = packed.run(input, Epilogue::add(residual, sepconv::Clamp::NONE), output);
        assert_eq!(ran.is_ok(), fits, "{inputs}, {residuals}, {outputs}");
        assert!(ran.err().is_none_or(|error| error.to_string().contains("got 3x3x3")));
    }
}
