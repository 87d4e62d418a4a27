//! Arguments that nobody should give: each is an error or a result, never a panic, an abort or an endless loop.

use sepconv::graph::Builder;
use sepconv::models::{Architecture, Config, Network};
use sepconv::ops::{
    Conv, ConvParams, Depthwise, DepthwiseParams, Epilogue, Pointwise, PointwiseParams, add, average_pool, clamp,
    global_average_pool, max_pool,
};
use sepconv::weights::{HashWeights, Weights};
use sepconv::{AlignedBuffer, Clamp, Error, Isa, Layout, Padding, Shape, View, ViewMut, Window, select};

const MAX: usize = usize::MAX;
/// The largest size that a layout may have.
const LARGEST: usize = isize::MAX as usize / 8;

fn epilogue() -> Epilogue<'static> {
    Epilogue::clamp(Clamp::NONE)
}

/// A layout with strides that no memory has, which an image of one pixel does not use.
fn one_pixel(channels: usize, stride: usize) -> Layout {
    Layout { pixel_stride: stride, row_stride: stride, ..Layout::tight(1, 1, channels) }
}

#[test]
fn layouts_beyond_the_address_space_are_refused() {
    let data = [0.0; 8];
    for layout in [
        Layout { height: MAX, ..Layout::tight(1, 1, 0) },
        Layout { width: MAX, ..Layout::tight(1, 1, 0) },
        Layout { channels: MAX, ..Layout::tight(0, 1, 1) },
        Layout::tight(MAX, MAX, MAX),
        one_pixel(1, MAX),
        Layout { row_stride: MAX, ..Layout::tight(2, 1, 1) },
        Layout { pixel_stride: MAX, ..Layout::tight(1, 2, 1) },
        Layout { row_stride: LARGEST, ..Layout::tight(3, 1, 1) },
    ] {
        let error = View::new(&data, layout).expect_err("no memory is as large").to_string();
        assert!(error.contains("address space"), "{error}");
        assert!(ViewMut::new(&mut data.clone(), layout).is_err());
    }
}

#[test]
fn images_without_channels_or_pixels_are_computed_at_once() {
    // Strides and sizes that only an image without elements may have; as many pixels would take centuries.
    let none = Layout { height: LARGEST, width: LARGEST, channels: 0, pixel_stride: 5, row_stride: LARGEST };
    let three = Window::square(3);
    let view = || View::new(&[], none).unwrap();
    let output = || ViewMut::new(&mut [], none).unwrap();
    add(view(), view(), Clamp::NONE, output()).unwrap();
    clamp(view(), Clamp::RELU, output()).unwrap();
    global_average_pool(view(), &mut []).unwrap();
    let halved = Layout { height: LARGEST / 2, width: LARGEST / 2, ..none };
    max_pool(three.stride(2), view(), ViewMut::new(&mut [], halved).unwrap()).unwrap();
    average_pool(three.stride(2), false, view(), ViewMut::new(&mut [], halved).unwrap()).unwrap();
    let apart = Layout { height: LARGEST - 32768, width: LARGEST - 32768, ..none };
    max_pool(Window::square(2).dilation(32768), view(), ViewMut::new(&mut [], apart).unwrap()).unwrap();
    assert!(view().pixel(7, 9).is_empty());
    assert!(ViewMut::new(&mut [], none).unwrap().pixel_mut(7, 9).is_empty());
    for isa in Isa::supported() {
        let kernels = isa.kernels().unwrap();
        let depthwise = Depthwise::new(kernels, DepthwiseParams::new(0, three), &[], &[]).unwrap();
        let target = Layout { height: LARGEST - 2, width: LARGEST - 2, ..none };
        depthwise.run(view(), epilogue(), ViewMut::new(&mut [], target).unwrap()).unwrap();
        let pointwise = Pointwise::new(kernels, PointwiseParams::new(0, 0), 4, &[], &[]).unwrap();
        pointwise.run(view(), epilogue(), output()).unwrap();
        let conv = Conv::new(kernels, ConvParams::new(0, 0, Window::PIXEL), &[], &[]).unwrap();
        conv.run(view(), epilogue(), output()).unwrap();
    }
}

/// An image of no rows, or of no columns, with padding: every window lies on padding alone.
#[test]
fn windows_on_padding_alone_are_the_bias() {
    let (c, bias) = (19, (0..19).map(|c| c as f32 - 3.0).collect::<Vec<_>>());
    let window = Window::square(3).padding(Padding::all(2));
    for isa in Isa::supported() {
        let kernels = isa.kernels().unwrap();
        for (height, width) in [(0, 5), (5, 0), (0, 0)] {
            let (rows, columns) = window.output(height, width).unwrap();
            let view = || View::tight(&[], height, width, c).unwrap();
            let residual = vec![0.5; rows * columns * c];
            let epilogue = || Epilogue::add(View::tight(&residual, rows, columns, c).unwrap(), Clamp::RELU);
            let computed = |run: &dyn Fn(ViewMut<'_>) -> sepconv::Result<()>| {
                let mut output = vec![f32::NAN; rows * columns * c];
                run(ViewMut::tight(&mut output, rows, columns, c).unwrap()).map(|()| output)
            };
            let want: Vec<f32> =
                (0..rows * columns).flat_map(|_| bias.iter().map(|bias| (bias + 0.5f32).max(0.0))).collect();
            let params = DepthwiseParams { input_lo: Some(0.0), ..DepthwiseParams::new(c, window) };
            let depthwise = Depthwise::new(kernels, params, &vec![f32::NAN; c * 9], &bias).unwrap();
            let got = computed(&|output| depthwise.run(view(), epilogue(), output)).unwrap();
            assert_eq!(got, want, "{isa}: depthwise on {height}x{width}");
            let params = ConvParams::new(c, c, window);
            let conv = Conv::new(kernels, params, &vec![f32::NAN; c * c * 9], &bias).unwrap();
            let got = computed(&|output| conv.run(view(), epilogue(), output)).unwrap();
            assert_eq!(got, want, "{isa}: conv on {height}x{width}");
            let pooled = [
                computed(&|output| max_pool(window, view(), output)),
                computed(&|output| average_pool(window, true, view(), output)),
            ];
            for pooled in pooled {
                assert!(pooled.unwrap_err().to_string().contains("a pixel under every window"));
            }
        }
    }
}

#[test]
fn strides_that_are_not_used_do_no_harm() {
    for isa in Isa::supported() {
        let kernels = isa.kernels().unwrap();
        let (input, mut output) = ([2.0, 3.0], [0.0; 2]);
        let far = one_pixel(2, LARGEST);
        let params = DepthwiseParams::new(2, Window::square(3).stride(2).symmetric());
        let packed = Depthwise::new(kernels, params, &[1.0; 18], &[0.5; 2]).unwrap();
        let source = || View::new(&input, far).unwrap();
        let epilogue = || Epilogue::add(source(), Clamp::NONE);
        packed.run(source(), epilogue(), ViewMut::new(&mut output, far).unwrap()).unwrap();
        assert_eq!(output, [4.5, 6.5], "{isa}");
        let identity = |stride| {
            let params = PointwiseParams { stride, ..PointwiseParams::new(2, 2) };
            Pointwise::new(kernels, params, 1, &[1.0, 0.0, 0.0, 1.0], &[0.0; 2])
        };
        for stride in [1, 2, 32768] {
            let packed = identity(stride).unwrap();
            packed.run(source(), epilogue(), ViewMut::new(&mut output, far).unwrap()).unwrap();
            assert_eq!(output, [4.0, 6.0], "{isa}");
        }
        for stride in [0, 32769, MAX] {
            let error = identity(stride).unwrap_err().to_string();
            assert!(error.contains("sizes, strides and dilations of 1 to 32768"), "{error}");
        }
        let params = ConvParams::new(2, 2, Window::square(3).stride(32768).symmetric());
        let packed = Conv::new(kernels, params, &[1.0; 36], &[0.0; 2]).unwrap();
        packed.run(source(), epilogue(), ViewMut::new(&mut output, far).unwrap()).unwrap();
        assert_eq!(output, [7.0, 8.0], "{isa}");
        let window = Window::square(3).stride(32768).symmetric();
        max_pool(window, source(), ViewMut::new(&mut output, far).unwrap()).unwrap();
        assert_eq!(output, input, "{isa}");
        add(source(), source(), Clamp::NONE, ViewMut::new(&mut output, far).unwrap()).unwrap();
        assert_eq!(output, [4.0, 6.0], "{isa}");
    }
}

/// Numbers that no window should have, and what each function of it makes of them.
fn windows() -> Vec<Window> {
    let of = |size: (usize, usize), stride, dilation, padding: Padding| {
        Window::new(size.0, size.1).stride(stride).dilation(dilation).padding(padding)
    };
    let (none, all) = (Padding::NONE, Padding::all(MAX));
    let mut windows = vec![Window::PIXEL.strides(0, 1), Window::PIXEL.strides(1, MAX)];
    for size in [(0, 1), (1, 0), (MAX, 1), (1, MAX), (MAX, MAX), (32769, 1), (1, 32769)] {
        windows.extend([of(size, 1, 1, none), of(size, 1, 1, all), of(size, MAX, MAX, all), of(size, 0, 0, none)]);
    }
    for number in [0, 32769, MAX] {
        windows.extend([of((3, 3), number, 1, none), of((3, 3), 1, number, none), of((3, 3), number, number, all)]);
        windows.extend([of((1, 1), number, 1, none), of((1, 1), 1, number, all)]);
    }
    windows.extend([Padding { top: MAX, ..none }, Padding { right: MAX, ..none }, all].map(|p| of((3, 3), 1, 1, p)));
    windows
}

#[test]
fn windows_beyond_reason_are_refused() {
    assert_eq!(Window::square(3).stride(0).output(5, 5), None);
    assert_eq!(Window::new(0, 0).output(MAX, MAX), None);
    assert_eq!(Window::PIXEL.padding(Padding::all(MAX)).output(1, 1), None);
    assert_eq!(Window::square(MAX).output(5, 5), None);
    assert_eq!(Window::square(2).dilation(MAX).output(5, 5), None);
    let kernels = Isa::Portable.kernels().unwrap();
    let (input, mut output) = ([0.0; 9], [0.0; 9]);
    let view = || View::tight(&input, 3, 3, 1).unwrap();
    for window in windows() {
        // What can be asked of any window.
        for size in [0, 1, 5, MAX / 2, MAX] {
            let _ = (window.output(size, size), window.extent(), window.taps(), window.symmetric());
            let _ = (window.same(Shape::new(size, 1, 0)), window.same(Shape::new(1, size, MAX)));
        }
        let refusals = [
            // Without outputs no weights are missing: the window alone is wrong.
            Conv::new(kernels, ConvParams::new(1, 0, window), &[], &[]).map(drop),
            Depthwise::new(kernels, DepthwiseParams::new(0, window), &[], &[]).and_then(|packed| {
                packed.run(View::tight(&[], 3, 3, 0)?, epilogue(), ViewMut::tight(&mut [], 1, 1, 0)?)
            }),
            max_pool(window, view(), ViewMut::tight(&mut output, 1, 1, 1).unwrap()),
            average_pool(window, true, view(), ViewMut::tight(&mut output, 3, 3, 1).unwrap()),
        ];
        for refused in refusals {
            let error = refused.expect_err(&format!("{window:?}")).to_string();
            assert!(error.contains("window") || error.contains("padding"), "{error}");
        }
    }
    let unfit = |params| Conv::new(kernels, params, &[], &[]).unwrap_err().to_string();
    for window in [
        Window::new(MAX, 1),
        Window::new(1, MAX),
        Window::PIXEL.stride(MAX),
        Window::new(32769, 1),
        Window::new(0, 1),
        Window::PIXEL.stride(0),
    ] {
        let error = unfit(ConvParams::new(1, 0, window));
        assert!(error.contains("1 to 32768"), "{error}");
    }
    for (inputs, outputs, groups) in [(0, 0, MAX), (LARGEST, 0, LARGEST), (4, 4, 0), (4, 4, MAX)] {
        let params = PointwiseParams { groups, ..PointwiseParams::new(inputs, outputs) };
        let error = Pointwise::new(kernels, params, 4, &[], &[]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("pointwise groups: got {groups}")), "{error}");
    }
    let dilated = unfit(ConvParams::new(1, 0, Window::square(3).dilation(2)));
    assert!(dilated.contains("no dilation"), "{dilated}");
    let packed = Depthwise::new(
        kernels,
        DepthwiseParams::new(1, Window::square(3).padding(Padding::all(MAX))),
        &[0.0; 9],
        &[0.0],
    );
    let run = packed.and_then(|packed| packed.run(view(), epilogue(), ViewMut::tight(&mut output, 3, 3, 1)?));
    assert!(run.is_err());
    let padded = Window::square(3).padding(Padding::all(MAX));
    assert!(max_pool(padded, view(), ViewMut::tight(&mut output, 1, 1, 1).unwrap()).is_err());
}

#[test]
fn sizes_that_do_not_fit_their_arrays_ask_for_no_memory() {
    let kernels = Isa::Portable.kernels().unwrap();
    let three = Window::square(3);
    for size in [LARGEST, MAX] {
        let pointwise =
            |inputs, outputs| Pointwise::new(kernels, PointwiseParams::new(inputs, outputs), size, &[], &[]);
        assert!(matches!(pointwise(size, size), Err(Error::Length { .. })));
        assert!(matches!(pointwise(0, size), Err(Error::Length { .. })));
        assert!(pointwise(size, 0).is_ok());
        let depthwise = Depthwise::new(kernels, DepthwiseParams::new(size, three), &[], &[]);
        assert!(matches!(depthwise, Err(Error::Length { .. })));
        let conv = |inputs, outputs| Conv::new(kernels, ConvParams::new(inputs, outputs, three), &[], &[]);
        assert!(matches!(conv(size, size), Err(Error::Length { .. })));
        assert!(conv(size, 0).is_ok());
    }
    for (m, k, n) in [(MAX, MAX, MAX), (0, 0, 0), (1, MAX, MAX), (MAX, 0, 1)] {
        assert!(select::pointwise(kernels, m, k, n).is_ok());
    }
}

#[test]
#[cfg_attr(miri, ignore = "an interpreter ends where its own allocator says no")]
fn memory_that_is_not_to_be_had_is_an_error() {
    assert!(matches!(AlignedBuffer::zeroed(MAX), Err(Error::Memory { bytes: MAX, .. })));
    assert!(matches!(AlignedBuffer::zeroed(MAX / 8), Err(Error::Memory { .. })));
    assert!(matches!(HashWeights::image(MAX, MAX, MAX), Err(Error::Memory { bytes: MAX, .. })));
    assert!(matches!(HashWeights::image(1 << 20, 1 << 20, 1 << 18), Err(Error::Memory { .. })));
    assert!(HashWeights.tensor("a.weight", &[MAX, MAX]).unwrap_err().contains("address space"));
    assert!(HashWeights.tensor("a.weight", &[MAX / 2, 2]).unwrap_err().contains("memory"));
    for (shape, length) in [(&[] as &[usize], 1), (&[0], 0), (&[0, MAX, MAX], 0), (&[3], 3)] {
        assert_eq!(HashWeights.tensor("a.weight", shape).map(|tensor| tensor.len()), Ok(length), "{shape:?}");
    }
    assert_eq!(HashWeights::image(0, 0, 0), Ok(Vec::new()));
}

/// What nothing has is `None`.
#[test]
fn a_graph_has_no_other_nodes_than_its_own() {
    let network = Network::new(Architecture::Digits, &Config::of(Architecture::Digits)).unwrap();
    let graph = network.graph();
    assert_eq!(graph.inputs().collect::<Vec<_>>(), [("image", network.input())]);
    assert_eq!(graph.outputs().collect::<Vec<_>>(), [("fc_16", network.output())]);
    for (index, node) in graph.nodes().iter().enumerate() {
        let found = graph.node(node.name()).unwrap();
        assert!(std::ptr::eq(found, &graph.nodes()[index]), "{}", node.name());
    }
    for none in ["", "image", "fc", "fc_16 ", "FC_16"] {
        assert!(graph.node(none).is_none(), "{none}");
    }
}

/// A tensor of which nobody could list the channels stands beside one in pieces.
#[test]
fn more_channels_than_can_be_listed() {
    // The most that a tensor may have.
    const CHANNELS: usize = isize::MAX as usize / 64;
    let mut net = Builder::new();
    let huge = net.input("huge", Shape::new(1, 1, CHANNELS)).unwrap();
    let small = net.input("small", Shape::new(1, 1, 2)).unwrap();
    let pooled = net.max_pool("pooled", huge, Window::PIXEL).unwrap();
    let twice = net.concat(&[small, small]).unwrap();
    let graph = net.build(&[twice, pooled]).unwrap();
    assert_eq!(graph.outputs().map(|(_, shape)| shape.channels).collect::<Vec<_>>(), [4, CHANNELS]);
}
