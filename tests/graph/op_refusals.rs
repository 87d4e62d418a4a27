//! Layouts that no view has, and parts that no operator computes.

use std::ops::Range;

use sepconv::ops::{Conv, ConvParams, Depthwise, DepthwiseParams, Epilogue, Part, Pointwise, PointwiseParams};
use sepconv::{Batch, BatchMut, Clamp, Isa, Layout, Padding, Result, Shape, View, ViewMut, Window};

use super::builder_refusals::{MAX, THREE, expanded};
use super::text;

/// Two rows of three pixels of four channels, with gaps.
const GAPPED: Layout = Layout { height: 2, width: 3, channels: 4, pixel_stride: 5, row_stride: 17 };

#[test]
fn views_say_what_is_wrong_with_their_layout() {
    let mut data = [0.0; 80];
    let strides = "expected a pixel stride of at least the channels, a row stride that holds the row, and sizes that fit \
                   the address space";
    for layout in [
        Layout { pixel_stride: 3, ..GAPPED },
        Layout { row_stride: 13, ..GAPPED },
        Layout { height: MAX, ..GAPPED },
        Layout::tight(MAX, MAX, 1),
    ] {
        let expected = |what: &str| format!("{what}: got {layout:?}, {strides}");
        assert_eq!(text(View::new(&data, layout)), expected("view"));
        assert_eq!(text(ViewMut::new(&mut data, layout)), expected("view"));
        // SAFETY: nothing is read or written.
        assert_eq!(text(unsafe { View::from_raw(data.as_ptr(), layout) }), expected("view"));
        // SAFETY: as above.
        assert_eq!(text(unsafe { ViewMut::from_raw(data.as_mut_ptr(), layout) }), expected("view"));
        assert_eq!(text(Batch::new(&data, layout, 40, 2)), expected("image"));
        assert_eq!(text(BatchMut::new(&mut data, layout, 40, 2)), expected("image"));
    }
    let short = |what: &str, got, expected| format!("{what}: got {got} elements, expected at least {expected}");
    assert_eq!(text(View::new(&data[..30], GAPPED)), short("view", 30, 31));
    assert_eq!(text(View::tight(&data[..23], 2, 3, 4)), short("view", 23, 24));
    assert_eq!(text(ViewMut::tight(&mut data[..23], 2, 3, 4)), short("view", 23, 24));
    assert_eq!(text(Batch::new(&data[..70], GAPPED, 40, 2)), short("batch", 70, 71));
    assert_eq!(text(Batch::tight(&data[..71], 3, Shape::new(2, 3, 4))), short("batch", 71, 72));
    assert_eq!(text(BatchMut::tight(&mut data[..71], 3, Shape::new(2, 3, 4))), short("batch", 71, 72));
    for (stride, count) in [(30, 2), (0, 2), (MAX, 2), (40, MAX), (MAX, MAX)] {
        let expected = format!(
            "batch: got {count} images, {stride} elements apart, of {GAPPED:?}, expected at least 31 elements from one \
             image to the next, and all addressable"
        );
        assert_eq!(text(Batch::new(&data, GAPPED, stride, count)), expected);
        assert_eq!(text(BatchMut::new(&mut data, GAPPED, stride, count)), expected);
    }
}

/// An operator from 4x5x20 to 4x5x20, by `run_part`, which cuts channels at multiples of 16.
type RunPart<'a> = &'a dyn Fn(&Part, View<'_>, Epilogue<'_>, ViewMut<'_>) -> Result<()>;

/// What `run` of `name` says of parts that are none, and of images of another size; it writes nothing.
fn parts_are_checked(name: &str, run: RunPart<'_>) {
    const WHOLE: Shape = Shape::new(4, 5, 20);
    let call = |part: Part, input: Shape, residual: Option<Shape>, output: Shape| {
        let data = vec![0.5; 1000];
        let tight = |shape: Shape| View::tight(&data, shape.height, shape.width, shape.channels).unwrap();
        let mut given = vec![7.0; 1000];
        let view = ViewMut::tight(&mut given, output.height, output.width, output.channels).unwrap();
        let epilogue = Epilogue { residual: residual.map(tight), clamp: Clamp::NONE };
        let result = run(&part, tight(input), epilogue, view);
        let written = given.iter().filter(|&&value| value != 7.0).count();
        assert_eq!(written, if result.is_ok() { output.len() } else { 0 }, "{part:?}: {result:?}");
        text(result)
    };
    let part = |rows: (usize, usize), channels: (usize, usize)| Part {
        rows: Range { start: rows.0, end: rows.1 },
        channels: Range { start: channels.0, end: channels.1 },
    };
    for (rows, channels) in [
        ((0, 5), (0, 20)),
        ((4, 5), (0, 20)),
        ((3, 2), (0, 20)),
        ((MAX, MAX), (0, 20)),
        ((0, MAX), (0, 20)),
        ((0, 4), (0, 21)),
        ((0, 4), (0, 32)),
        ((0, 4), (5, 20)),
        ((0, 4), (0, 19)),
        ((0, 4), (16, 17)),
        ((0, 4), (20, 16)),
        ((0, 4), (MAX, MAX)),
        ((1, 1), (1, 1)),
    ] {
        let part = part(rows, channels);
        let got = format!("Part {{ rows: {}..{}, channels: {}..{} }}", rows.0, rows.1, channels.0, channels.1);
        let expected = "expected rows and channels of 4x5x20, the channels cut at multiples of 16";
        assert_eq!(call(part, WHOLE, None, WHOLE), format!("{name} part: got {got}, {expected}"));
    }
    let size = |what: &str, got: Shape, expected: Shape| {
        format!("{name} {what}: got {got} (height, width, channels), expected {expected}")
    };
    for (rows, channels) in [((0, 4), (0, 20)), ((1, 3), (0, 20)), ((0, 4), (16, 20)), ((2, 3), (0, 16))] {
        let right = Shape::new(rows.1 - rows.0, 5, channels.1 - channels.0);
        let Shape { height, width, channels: count } = right;
        let part = || part(rows, channels);
        for wrong in [
            Shape::new(height + 1, width, count),
            Shape::new(height - 1, width, count),
            Shape::new(height, width + 1, count),
            Shape::new(height, width, count + 1),
            Shape::new(height, width, count - 1),
        ] {
            assert_eq!(call(part(), WHOLE, None, wrong), size("output", wrong, right));
            assert_eq!(call(part(), WHOLE, Some(wrong), right), size("residual", wrong, right));
        }
        for channels in [19, 21, 0] {
            let input = Shape { channels, ..WHOLE };
            let expected = format!("{name} input: got {input}, expected 20 channels");
            assert_eq!(call(part(), input, None, right), expected);
        }
        assert_eq!(call(part(), WHOLE, Some(right), right), "no error");
    }
    // Nothing to do is done.
    assert_eq!(call(part((2, 2), (0, 20)), WHOLE, None, Shape::new(0, 5, 20)), "no error");
    assert_eq!(call(part((0, 4), (16, 16)), WHOLE, None, Shape::new(4, 5, 0)), "no error");
}

#[test]
fn operators_say_what_is_wrong_with_a_part() {
    let kernels = Isa::Portable.kernels().unwrap();
    let (weights, bias) = (vec![0.5; 20 * 20 * 9], vec![0.5; 20]);
    let params = PointwiseParams::new(20, 20);
    let pointwise = Pointwise::new(kernels, params, 20, &weights[..400], &bias).unwrap();
    parts_are_checked("pointwise", &|part, input, epilogue, output| pointwise.run_part(part, input, epilogue, output));
    let params = DepthwiseParams::new(20, THREE.symmetric());
    let depthwise = Depthwise::new(kernels, params, &weights[..180], &bias).unwrap();
    parts_are_checked("depthwise", &|part, input, epilogue, output| depthwise.run_part(part, input, epilogue, output));
    let params = ConvParams::new(20, 20, THREE.symmetric());
    let conv = Conv::new(kernels, params, &weights, &bias).unwrap();
    parts_are_checked("conv", &|part, input, epilogue, output| conv.run_part(part, input, epilogue, output));
    // The whole run is a part, too.
    let (data, mut given) = (vec![0.5; 400], vec![7.0; 400]);
    let input = View::tight(&data, 4, 5, 20).unwrap();
    let refused = |name: &str, run: &dyn Fn(ViewMut<'_>) -> Result<()>| {
        let expected = format!("{name} output: got 4x4x20 (height, width, channels), expected 4x5x20");
        assert_eq!(text(run(ViewMut::tight(&mut [7.0; 320], 4, 4, 20).unwrap())), expected);
    };
    refused("pointwise", &|output| pointwise.run(input, Epilogue::default(), output));
    refused("depthwise", &|output| depthwise.run(input, Epilogue::default(), output));
    refused("conv", &|output| conv.run(input, Epilogue::default(), output));
    // Sums over no part of the inputs.
    let whole = Shape::new(4, 5, 20);
    let mut run = |inputs: Range<usize>, channels: usize| {
        let input = View::tight(&data, 4, 5, channels).unwrap();
        let output = ViewMut::tight(&mut given, 4, 5, 20).unwrap();
        text(pointwise.run_inputs(inputs, &Part::all(whole), input, Epilogue::default(), output))
    };
    for (start, end) in [(0, 21), (21, 21), (MAX, MAX), (5, 4)] {
        let expected = format!(
            "pointwise input channels: got {start}..{end}, expected a part of 0..20, all of it where there are groups"
        );
        assert_eq!(run(Range { start, end }, 20), expected);
    }
    assert_eq!(run(0..20, 19), "pointwise input: got 4x5x19, expected 20 channels");
    assert_eq!(run(3..10, 20), "pointwise input: got 4x5x20, expected 7 channels");
    assert_eq!(run(3..10, 7), "no error");
}

#[test]
fn operators_say_what_is_wrong_with_their_parameters() {
    let kernels = Isa::Portable.kernels().unwrap();
    let zeros = vec![0.0; 200];
    let pointwise = |params, weights, bias| text(Pointwise::new(kernels, params, 4, &zeros[..weights], &zeros[..bias]));
    let params = PointwiseParams::new(3, 2);
    assert_eq!(pointwise(params, 6, 2), "no error");
    let weights = "pointwise weights (outputs x inputs a group): got 7 elements, expected 2 x 3";
    assert_eq!(pointwise(params, 7, 2), weights);
    assert_eq!(pointwise(params, 6, 1), "pointwise bias (outputs): got 1 elements, expected 2");
    let stride = "pointwise window: got Window { size: (1, 1), stride: (0, 0), dilation: (1, 1), {NONE} }, {SIZES}";
    assert_eq!(pointwise(PointwiseParams { stride: 0, ..params }, 6, 2), expanded(stride));

    let depthwise = |window, weights, bias| {
        text(Depthwise::new(kernels, DepthwiseParams::new(2, window), &zeros[..weights], &zeros[..bias]))
    };
    assert_eq!(depthwise(THREE, 18, 2), "no error");
    let weights = "depthwise weights (channels x kh x kw): got 17 elements, expected 2 x 3 x 3";
    assert_eq!(depthwise(THREE, 17, 2), weights);
    assert_eq!(depthwise(THREE, 18, 3), "depthwise bias (channels): got 3 elements, expected 2");
    let error = depthwise(Window::new(3, 2), 12, 2);
    assert!(
        error.starts_with("depthwise window: got 3x2 stride 1, expected one of 3x3 stride 1, 3x3 stride 2"),
        "{error}"
    );
    let padded = THREE.padding(Padding { left: MAX, ..Padding::NONE });
    assert!(depthwise(padded, 18, 2).starts_with("depthwise window: got Window"));
    let image = View::tight(&zeros[..8], 2, 2, 2).unwrap();
    let op = Depthwise::new(kernels, DepthwiseParams::new(2, THREE), &zeros[..18], &zeros[..2]).unwrap();
    let small = "depthwise input: got 2x2 with Padding { top: 0, bottom: 0, left: 0, right: 0 }, expected at least 3x3 with \
                 its padding";
    assert_eq!(text(op.output(image.layout().shape())), small);
    assert_eq!(text(op.run(image, Epilogue::default(), ViewMut::tight(&mut [0.0; 8], 2, 2, 2).unwrap())), small);

    let conv = |window, weights, bias| {
        text(Conv::new(kernels, ConvParams::new(3, 2, window), &zeros[..weights], &zeros[..bias]))
    };
    assert_eq!(conv(THREE, 54, 2), "no error");
    let weights = "conv weights (outputs x inputs x kh x kw): got 55 elements, expected 2 x 3 x 3 x 3";
    assert_eq!(conv(THREE, 55, 2), weights);
    assert_eq!(conv(THREE, 54, 1), "conv bias (outputs): got 1 elements, expected 2");
    let dilated = "conv window: got Window { size: (3, 3), stride: (1, 1), dilation: (2, 2), {NONE} }, expected no \
                  dilation";
    assert_eq!(conv(THREE.dilation(2), 54, 2), expanded(dilated));
    for stem in
        Isa::supported().into_iter().flat_map(|isa| isa.kernels().unwrap().conv()).filter(|kernel| kernel.stem())
    {
        let params = ConvParams::new(4, 2, THREE);
        let error = Conv::with_kernel(stem, params, &zeros[..72], &zeros[..2]);
        let name = stem.name();
        assert_eq!(
            text(error),
            format!("conv window: got 3x3 with 4 input channels, expected one that {name} computes")
        );
    }
}
