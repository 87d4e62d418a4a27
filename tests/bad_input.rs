//! Arguments that nobody should give: each is an error or a result, never a panic, an abort or an endless loop.

use sepconv::conv::{ConvShape, PackedConv};
use sepconv::depthwise::{PackedDepthwise, Padding};
use sepconv::elementwise::{add, global_average_pool, max_pool};
use sepconv::net::{Config, Name, Network};
use sepconv::pointwise::PackedPointwise;
use sepconv::weights::{HashWeights, Weights};
use sepconv::{AlignedBuffer, Clamp, Epilogue, Error, Isa, Layout, View, ViewMut, select};

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
    let view = || View::new(&[], none).unwrap();
    let output = || ViewMut::new(&mut [], none).unwrap();
    add(view(), view(), Clamp::NONE, output()).unwrap();
    global_average_pool(view(), &mut []).unwrap();
    let halved = Layout { height: LARGEST / 2, width: LARGEST / 2, ..none };
    max_pool(Padding::default(), view(), ViewMut::new(&mut [], halved).unwrap()).unwrap();
    assert!(view().pixel(7, 9).is_empty());
    assert!(ViewMut::new(&mut [], none).unwrap().pixel_mut(7, 9).is_empty());
    for isa in Isa::supported() {
        let kernels = isa.kernels().unwrap();
        let depthwise = PackedDepthwise::new(select::depthwise(kernels, 1).unwrap(), 0, &[], &[]).unwrap();
        let target = Layout { height: LARGEST - 2, width: LARGEST - 2, ..none };
        depthwise.run(Padding::default(), None, view(), epilogue(), ViewMut::new(&mut [], target).unwrap()).unwrap();
        let kernel = select::pointwise(kernels, 4, 0, 0).unwrap();
        let pointwise = PackedPointwise::new(kernel, 0, 0, &[], &[]).unwrap();
        pointwise.run(1, view(), epilogue(), output()).unwrap();
        let shape = ConvShape { window: (1, 1), stride: 1, inputs: 0, outputs: 0 };
        let conv = PackedConv::new(select::conv(kernels).unwrap(), shape, &[], &[]).unwrap();
        conv.run(Padding::default(), view(), epilogue(), output()).unwrap();
    }
}

#[test]
fn strides_that_are_not_used_do_no_harm() {
    for isa in Isa::supported() {
        let kernels = isa.kernels().unwrap();
        let (input, mut output) = ([2.0, 3.0], [0.0; 2]);
        let far = one_pixel(2, LARGEST);
        let packed = PackedDepthwise::new(select::depthwise(kernels, 2).unwrap(), 2, &[1.0; 18], &[0.5; 2]).unwrap();
        let source = || View::new(&input, far).unwrap();
        let epilogue = || Epilogue { residual: Some(source()), clamp: Clamp::NONE };
        packed.run(Padding::all(1), None, source(), epilogue(), ViewMut::new(&mut output, far).unwrap()).unwrap();
        assert_eq!(output, [4.5, 6.5], "{isa}");
        let kernel = select::pointwise(kernels, 1, 2, 2).unwrap();
        let packed = PackedPointwise::new(kernel, 2, 2, &[1.0, 0.0, 0.0, 1.0], &[0.0; 2]).unwrap();
        for stride in [1, 2, MAX] {
            packed.run(stride, source(), epilogue(), ViewMut::new(&mut output, far).unwrap()).unwrap();
            assert_eq!(output, [4.0, 6.0], "{isa}");
        }
        assert!(packed.run(0, source(), epilogue(), ViewMut::new(&mut output, far).unwrap()).is_err());
        let shape = ConvShape { window: (3, 3), stride: 32768, inputs: 2, outputs: 2 };
        let packed = PackedConv::new(select::conv(kernels).unwrap(), shape, &[1.0; 36], &[0.0; 2]).unwrap();
        packed.run(Padding::all(1), source(), epilogue(), ViewMut::new(&mut output, far).unwrap()).unwrap();
        assert_eq!(output, [7.0, 8.0], "{isa}");
    }
}

#[test]
fn windows_beyond_reason_are_refused() {
    assert_eq!(Padding::default().output((5, 5), (3, 3), 0), None);
    assert_eq!(Padding::default().output((MAX, MAX), (0, 0), 1), None);
    assert_eq!(Padding::all(MAX).output((1, 1), (1, 1), 1), None);
    assert_eq!(Padding::default().output((5, 5), (MAX, MAX), 1), None);
    let kernel = select::conv(Isa::Portable.kernels().unwrap()).unwrap();
    for (window, stride) in [((MAX, 1), 1), ((1, MAX), 1), ((1, 1), MAX), ((32769, 1), 1), ((0, 1), 1), ((1, 1), 0)] {
        // Without outputs no weights are missing: the shape alone is wrong.
        let shape = ConvShape { window, stride, inputs: 1, outputs: 0 };
        let error = PackedConv::new(kernel, shape, &[], &[]).unwrap_err().to_string();
        assert!(error.contains("1 to 32768"), "{error}");
    }
    let padding = Padding { top: MAX, bottom: MAX, left: MAX, right: MAX };
    let (input, mut output) = ([0.0; 9], [0.0; 9]);
    let view = || View::tight(&input, 3, 3, 1).unwrap();
    let packed =
        PackedDepthwise::new(select::depthwise(Isa::Portable.kernels().unwrap(), 1).unwrap(), 1, &[0.0; 9], &[0.0])
            .unwrap();
    assert!(packed.run(padding, None, view(), epilogue(), ViewMut::tight(&mut output, 3, 3, 1).unwrap()).is_err());
    assert!(max_pool(padding, view(), ViewMut::tight(&mut output, 1, 1, 1).unwrap()).is_err());
}

#[test]
fn sizes_that_do_not_fit_their_arrays_ask_for_no_memory() {
    let kernels = Isa::Portable.kernels().unwrap();
    let pointwise = select::pointwise(kernels, MAX, MAX, MAX).unwrap();
    let depthwise = select::depthwise(kernels, 1).unwrap();
    for size in [LARGEST, MAX] {
        assert!(matches!(PackedPointwise::new(pointwise, size, size, &[], &[]), Err(Error::Length { .. })));
        assert!(matches!(PackedPointwise::new(pointwise, 0, size, &[], &[]), Err(Error::Length { .. })));
        assert!(PackedPointwise::new(pointwise, size, 0, &[], &[]).is_ok());
        assert!(matches!(PackedDepthwise::new(depthwise, size, &[], &[]), Err(Error::Length { .. })));
        let shape = ConvShape { window: (3, 3), stride: 1, inputs: size, outputs: size };
        assert!(matches!(PackedConv::new(select::conv(kernels).unwrap(), shape, &[], &[]), Err(Error::Length { .. })));
        let shape = ConvShape { inputs: size, outputs: 0, ..shape };
        assert!(PackedConv::new(select::conv(kernels).unwrap(), shape, &[], &[]).is_ok());
    }
}

#[test]
#[cfg_attr(miri, ignore = "an interpreter ends where its own allocator says no")]
fn memory_that_is_not_to_be_had_is_an_error() {
    assert!(matches!(AlignedBuffer::zeroed(MAX), Err(Error::Memory { bytes: MAX, .. })));
    assert!(matches!(AlignedBuffer::zeroed(LARGEST), Err(Error::Memory { .. })));
    assert!(matches!(HashWeights::image(MAX, MAX, MAX), Err(Error::Memory { bytes: MAX, .. })));
    assert!(matches!(HashWeights::image(1 << 20, 1 << 20, 1 << 18), Err(Error::Memory { .. })));
    assert!(HashWeights.tensor("a.weight", &[MAX, MAX]).unwrap_err().contains("address space"));
    assert!(HashWeights.tensor("a.weight", &[1 << 30, 1 << 30]).unwrap_err().contains("memory"));
    for (shape, length) in [(&[] as &[usize], 1), (&[0], 0), (&[0, MAX, MAX], 0), (&[3], 3)] {
        assert_eq!(HashWeights.tensor("a.weight", shape).map(|tensor| tensor.len()), Ok(length), "{shape:?}");
    }
    assert_eq!(HashWeights::image(0, 0, 0), Ok(Vec::new()));
}

#[test]
fn a_network_has_no_other_tensors_than_its_own() {
    let network = Network::new(Name::Digits, &Config::of(Name::Digits)).unwrap();
    assert_eq!(network.shape(0), Some(network.input()));
    assert_eq!(network.shape(network.layers().len()), Some(network.output()));
    assert_eq!(network.shape(network.layers().len() + 1), None);
    assert_eq!(network.shape(999), None);
    assert_eq!(network.shape(MAX), None);
}
