//! Which layouts a view takes.

use sepconv::{Layout, View, ViewMut};

/// Two rows of three pixels of four channels, with gaps after both.
const GAPPED: Layout = Layout { height: 2, width: 3, channels: 4, pixel_stride: 5, row_stride: 17 };

/// What `View::new` and `ViewMut::new` say of `length` elements: the same.
fn view(length: usize, layout: Layout) -> Result<(), String> {
    let mut data = vec![0.0; length];
    let shared = View::new(&data, layout).map(|view| assert_eq!(view.layout(), layout));
    let unique = ViewMut::new(&mut data, layout).map(|view| assert_eq!(view.layout(), layout));
    assert_eq!(shared, unique, "{layout:?}");
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
