//! Which layouts a view takes.

use sepconv::{Batch, BatchMut, Layout, Shape, View, ViewMut};

/// Two rows of three pixels of four channels, with gaps after both.
const GAPPED: Layout = Layout { height: 2, width: 3, channels: 4, pixel_stride: 5, row_stride: 17 };

/// What `View::new` and `ViewMut::new` say of `length` elements: the same. Those of an address know no length, and a batch
/// of one image takes what a view takes.
fn view(length: usize, layout: Layout) -> Result<(), String> {
    let mut data = vec![0.0; length];
    let shared = View::new(&data, layout).map(|view| assert_eq!(view.layout(), layout));
    let unique = ViewMut::new(&mut data, layout).map(|view| assert_eq!(view.layout(), layout));
    assert_eq!(shared, unique, "{layout:?}");
    let batch = Batch::new(&data, layout, 0, 1).map(|batch| assert_eq!((batch.layout(), batch.count()), (layout, 1)));
    let unique = BatchMut::new(&mut data, layout, 0, 1).map(|batch| assert_eq!(batch.layout(), layout));
    assert_eq!((batch.is_ok(), &unique), (shared.is_ok(), &batch), "{layout:?}");
    // SAFETY: where the layout is well formed, the memory holds it, or nothing is read.
    let raw = unsafe { View::from_raw(data.as_ptr(), layout).map(|view| assert_eq!(view.layout(), layout)) };
    // SAFETY: as above.
    let unique = unsafe { ViewMut::from_raw(data.as_mut_ptr(), layout).map(|view| assert_eq!(view.layout(), layout)) };
    assert_eq!(raw, unique, "{layout:?}");
    assert_eq!(raw.is_ok(), layout.extent().is_some(), "{layout:?}");
    assert_eq!(shared.is_ok(), layout.extent().is_some_and(|extent| extent <= length), "{layout:?}");
    if layout.extent().is_none() {
        assert_eq!(raw, shared);
    }
    shared.map_err(|error| error.to_string())
}

#[test]
fn pixels_and_rows_may_touch_but_not_overlap() {
    // The last pixel of a row ends at 2 * 5 + 4; its gap may belong to the next row.
    for (pixel_stride, row_stride) in [(5, 17), (4, 17), (5, 15), (5, 14), (4, 12), (4, 100)] {
        assert_eq!(view(200, Layout { pixel_stride, row_stride, ..GAPPED }), Ok(()), "{pixel_stride}, {row_stride}");
    }
    for (pixel_stride, row_stride) in [(3, 17), (0, 17), (5, 13), (5, 0), (4, 11), (3, 11)] {
        let layout = Layout { pixel_stride, row_stride, ..GAPPED };
        let error = view(200, layout).expect_err("an overlap");
        assert!(error.contains("pixel stride of at least the channels"), "{error}");
        assert!(error.contains(&format!("pixel_stride: {pixel_stride}, row_stride: {row_stride}")), "{error}");
    }
}

#[test]
fn the_only_row_needs_no_stride() {
    for row_stride in [0, 1, 13, 14, 15] {
        assert_eq!(view(14, Layout { height: 1, row_stride, ..GAPPED }), Ok(()), "{row_stride}");
    }
    assert!(view(14, Layout { height: 1, pixel_stride: 3, ..GAPPED }).is_err());
}

#[test]
fn a_view_ends_with_its_last_pixel() {
    // 17 + 2 * 5 + 4 elements: no gap follows the last pixel.
    for (length, layout) in [
        (31, GAPPED),
        (14, Layout { height: 1, ..GAPPED }),
        (21, Layout { width: 1, ..GAPPED }),
        (4, Layout { height: 1, width: 1, ..GAPPED }),
        (24, Layout::tight(2, 3, 4)),
        (0, Layout { channels: 0, ..GAPPED }),
        (0, Layout { width: 0, ..GAPPED }),
        (0, Layout { height: 0, ..GAPPED }),
    ] {
        assert_eq!(view(length, layout), Ok(()), "{layout:?}");
        if length > 0 {
            let error = view(length - 1, layout).expect_err("too short");
            assert_eq!(error, format!("view: got {} elements, expected at least {length}", length - 1));
        }
    }
}

#[test]
fn pixels_lie_where_the_strides_say() {
    let mut data: Vec<f32> = (0..31).map(|at| at as f32).collect();
    let shared = View::new(&data, GAPPED).unwrap();
    assert_eq!(shared.pixel(1, 2), [27.0, 28.0, 29.0, 30.0]);
    assert_eq!(shared.pixel(0, 1), [5.0, 6.0, 7.0, 8.0]);
    ViewMut::new(&mut data, GAPPED).unwrap().pixel_mut(1, 0).fill(-1.0);
    assert_eq!(data[16..22], [16.0, -1.0, -1.0, -1.0, -1.0, 21.0]);
}

/// Two images of `GAPPED`, the second 40 elements after the first.
#[test]
fn images_of_a_batch_do_not_overlap() {
    let mut data = vec![0.0; 71];
    for (stride, count, length, fits) in [
        (40, 2, 71, true),
        (40, 2, 70, false),
        (31, 2, 62, true),
        (30, 2, 71, false),
        (0, 1, 31, true),
        (0, 0, 0, true),
        (0, 2, 71, false),
        (usize::MAX, 1, 31, true),
        (usize::MAX, 0, 0, true),
        (usize::MAX, 2, 71, false),
        (40, usize::MAX, 71, false),
    ] {
        let batch = Batch::new(&data[..length], GAPPED, stride, count).map(|batch| batch.count());
        let unique = BatchMut::new(&mut data[..length], GAPPED, stride, count).map(|batch| batch.count());
        assert_eq!(batch, unique);
        assert_eq!(batch.is_ok(), fits, "{count} images, {stride} apart, in {length}: {batch:?}");
    }
    let text = |batch: Result<Batch<'_>, sepconv::Error>| batch.unwrap_err().to_string();
    assert_eq!(text(Batch::new(&data[..70], GAPPED, 40, 2)), "batch: got 70 elements, expected at least 71");
    assert_eq!(
        text(Batch::new(&data, GAPPED, 30, 2)),
        format!(
            "batch: got 2 images, 30 elements apart, of {GAPPED:?}, expected at least 31 elements from one image to the \
             next, and all addressable"
        )
    );
    // Any number of images without elements.
    let none = Layout { channels: 0, ..GAPPED };
    assert!(Batch::new(&[], none, 0, usize::MAX).is_ok());
}

#[test]
fn views_reborrow() {
    let mut data = vec![0.0; 24];
    let mut view = ViewMut::tight(&mut data, 2, 3, 4).unwrap();
    view.reborrow().pixel_mut(0, 0).fill(1.0);
    view.reborrow().pixel_mut(1, 2).fill(2.0);
    assert_eq!(view.pixel_mut(0, 0), [1.0; 4]);
    assert_eq!(data[20..], [2.0; 4]);
}

#[test]
fn a_pixel_outside_is_a_panic() {
    let data = [0.0; 24];
    let view = View::tight(&data, 2, 3, 4).unwrap();
    for (y, x) in [(2, 0), (0, 3), (usize::MAX, 0), (0, usize::MAX)] {
        assert!(std::panic::catch_unwind(|| view.pixel(y, x).len()).is_err(), "({y}, {x})");
    }
}

/// Pixels with gaps, and planes: each becomes the other, and the gaps stay what they were.
#[test]
fn images_are_copied_as_pixels_and_as_planes() {
    for (height, width, channels, count) in
        [(3, 5, 7, 2), (1, 1, 6, 3), (4, 4, 1, 1), (7, 9, 3, 2), (8, 8, 16, 1), (0, 3, 2, 2), (2, 2, 2, 0)]
    {
        let shape = Shape::new(height, width, channels);
        let pixel_stride = channels + 2;
        let layout = Layout { height, width, channels, pixel_stride, row_stride: width * pixel_stride + 3 };
        let stride = layout.extent().unwrap() + 5;
        let (mut pixels, mut planes) = (vec![-1.0; count * stride], vec![-1.0; count * shape.len()]);
        for (value, plane) in planes.iter_mut().enumerate() {
            let (x, y) = (value % width, value / width % height);
            let (channel, image) = (value / shape.pixels() % channels, value / shape.len());
            *plane = value as f32;
            pixels[image * stride + y * layout.row_stride + x * pixel_stride + channel] = value as f32;
        }
        let of_pixels = Batch::new(&pixels, layout, stride, count).unwrap();
        let of_planes = Batch::planes(&planes, count, shape).unwrap();
        for from in [of_pixels, of_planes] {
            let (mut to_pixels, mut to_planes) = (vec![-1.0; pixels.len()], vec![-1.0; planes.len()]);
            from.copy_to(&mut BatchMut::new(&mut to_pixels, layout, stride, count).unwrap()).unwrap();
            from.copy_to(&mut BatchMut::planes(&mut to_planes, count, shape).unwrap()).unwrap();
            assert_eq!((&to_pixels, &to_planes), (&pixels, &planes), "{count} of {shape}, planes {}", from.is_planes());
        }
    }
}

#[test]
fn images_are_copied_to_as_many_of_their_shape() {
    let (from, mut to) = ([0.0; 24], [0.0; 24]);
    let batch = Batch::tight(&from, 2, Shape::new(2, 2, 3)).unwrap();
    for (count, shape) in [(1, Shape::new(2, 2, 3)), (2, Shape::new(2, 3, 2))] {
        let error = batch.copy_to(&mut BatchMut::tight(&mut to, count, shape).unwrap()).unwrap_err().to_string();
        assert_eq!(error, format!("batch to copy to: got {count} images of {shape}, expected 2 images of 2x2x3"));
    }
}
