// The argument structs that a kernel takes, one field a line: the only list of them. The crate and build/ both include
// this file with their own `arguments!`; the one expands it to `#[repr(C)]` structs, the other to a C header.
// Sizes and strides count elements (f32). A stride may be any value; nothing needs more than 4-byte alignment. An `Image`
// is the pointer to the first channel of its first pixel, the stride from one pixel to the next in its row, and that from
// one row to the next.

arguments! {
    /// What a pointwise kernel computes: `c[i][j] = clamp(start[i][j] + sum over k of a[i][k] * b[k][j] + residual[i][j])`
    /// for `rows` times `width` pixels and `n` output channels, where `start` is the bias, or `c` itself when `bias` is null.
    pointwise Pointwise {
        /// The input pixels.
        a: Image,
        /// Rows of pixels. No tile has pixels of two: where rows follow each other without a gap, one row is faster.
        rows: Unsigned,
        /// Pixels in a row.
        width: Unsigned,
        /// Input channels to sum over; may be 0.
        k: Unsigned,
        /// Output channels.
        n: Unsigned,
        /// Packed weights: the first panel.
        b: ConstFloat,
        /// From one panel to the next.
        b_panel: Unsigned,
        /// Rows of each panel to skip: the first input channel of a block of K.
        b_skip: Unsigned,
        /// One bias an output channel, padded to whole vectors; null continues from `c`.
        bias: ConstFloat,
        /// The output pixels.
        c: Image,
        /// The residual pixels; a null pointer adds none.
        residual: Image,
        /// Lower bound of the clamp.
        lo: Float,
        /// Upper bound of the clamp.
        hi: Float,
    }

    /// What a depthwise kernel computes, channel by channel, on one image or on one strip of its rows: the window of output
    /// pixel (y, x) starts at input pixel (y * stride - pad_top, x * stride - pad_left), its taps lie `dilation` pixels
    /// apart; taps outside are skipped. Window, stride and dilation are the kernel's own.
    depthwise Depthwise {
        /// What is read.
        input: Image,
        /// Input rows.
        height: Unsigned,
        /// Input pixels in a row.
        width: Unsigned,
        /// Channels.
        channels: Unsigned,
        /// Missing rows above the input, fewer than the window spans.
        pad_top: Unsigned,
        /// Missing pixels left of the input, fewer than the window spans.
        pad_left: Unsigned,
        /// What is written.
        output: Image,
        /// Output rows.
        output_height: Unsigned,
        /// Output pixels in a row.
        output_width: Unsigned,
        /// Packed weights.
        weights: ConstFloat,
        /// What is added, of the output's size; a null pointer adds none.
        residual: Image,
        /// 1 clamps each input from below with `input_lo` before it is used; 0 takes it as it is.
        clamp_input: Unsigned,
        /// Lower bound of the input clamp.
        input_lo: Float,
        /// Lower bound of the clamp.
        lo: Float,
        /// Upper bound of the clamp.
        hi: Float,
    }

    /// What a dense convolution kernel computes on one image or on one strip of its rows; windows as for depthwise.
    conv Conv {
        /// What is read.
        input: Image,
        /// Input rows.
        height: Unsigned,
        /// Input pixels in a row.
        width: Unsigned,
        /// Input channels.
        channels: Unsigned,
        /// Rows of the window.
        kernel_height: Unsigned,
        /// Columns of the window.
        kernel_width: Unsigned,
        /// Input rows from one window to the next.
        stride_rows: Unsigned,
        /// Input pixels of a row from one window to the next.
        stride_columns: Unsigned,
        /// Missing rows above the input, at most `kernel_height`.
        pad_top: Unsigned,
        /// Missing pixels left of the input, at most `kernel_width`.
        pad_left: Unsigned,
        /// What is written.
        output: Image,
        /// Output rows.
        output_height: Unsigned,
        /// Output pixels in a row.
        output_width: Unsigned,
        /// Output channels.
        n: Unsigned,
        /// Packed weights: the first panel.
        b: ConstFloat,
        /// From one panel to the next.
        b_panel: Unsigned,
        /// One bias an output channel, padded to whole vectors.
        bias: ConstFloat,
        /// What is added, of the output's size; a null pointer adds none.
        residual: Image,
        /// Lower bound of the clamp.
        lo: Float,
        /// Upper bound of the clamp.
        hi: Float,
    }
}
