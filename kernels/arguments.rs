// The argument structs that a kernel takes, one field a line: the only list of them. The crate and build.rs both
// include this file with their own `arguments!`; the one expands it to `#[repr(C)]` structs, the other to a C header.
// Sizes and strides count elements (f32). A stride may be any value; nothing needs more than 4-byte alignment.

arguments! {
    /// What a pointwise kernel computes: `c[i][j] = clamp(start[i][j] + sum over k of a[i][k] * b[k][j] + residual[i][j])`
    /// for `m` pixels and `n` output channels, where `start` is the bias, or `c` itself when `bias` is null.
    pointwise Pointwise {
        /// First channel of the first input pixel.
        a: ConstFloat,
        /// From one input pixel to the next in its row.
        a_pixel: Signed,
        /// From one row of input pixels to the next.
        a_row: Signed,
        /// Input pixels in a row, at least 1; `m` or more where the pixels lie in one run.
        width: Unsigned,
        /// Pixels.
        m: Unsigned,
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
        /// First channel of the first output pixel.
        c: MutFloat,
        /// From one output pixel to the next.
        c_pixel: Signed,
        /// First channel of the first residual pixel; null adds none.
        residual: ConstFloat,
        /// From one residual pixel to the next.
        residual_pixel: Signed,
        /// Lower bound of the clamp.
        lo: Float,
        /// Upper bound of the clamp.
        hi: Float,
    }

    /// What a depthwise 3x3 kernel computes, channel by channel, on one image or on one strip of its rows: the window of
    /// output pixel (y, x) starts at input pixel (y * stride - pad_top, x * stride - pad_left); taps outside are skipped.
    depthwise Depthwise {
        /// First channel of the first input pixel.
        input: ConstFloat,
        /// From one input pixel to the next in its row.
        input_pixel: Signed,
        /// From one input row to the next.
        input_row: Signed,
        /// Input rows.
        height: Unsigned,
        /// Input pixels in a row.
        width: Unsigned,
        /// Channels.
        channels: Unsigned,
        /// Missing rows above the input, 0..=2.
        pad_top: Unsigned,
        /// Missing pixels left of the input, 0..=2.
        pad_left: Unsigned,
        /// First channel of the first output pixel.
        output: MutFloat,
        /// From one output pixel to the next in its row.
        output_pixel: Signed,
        /// From one output row to the next.
        output_row: Signed,
        /// Output rows.
        output_height: Unsigned,
        /// Output pixels in a row.
        output_width: Unsigned,
        /// Packed weights.
        weights: ConstFloat,
        /// First channel of the first residual pixel; null adds none.
        residual: ConstFloat,
        /// From one residual pixel to the next in its row.
        residual_pixel: Signed,
        /// From one residual row to the next.
        residual_row: Signed,
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
        /// First channel of the first input pixel.
        input: ConstFloat,
        /// From one input pixel to the next in its row.
        input_pixel: Signed,
        /// From one input row to the next.
        input_row: Signed,
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
        /// Input pixels from one window to the next, both ways.
        stride: Unsigned,
        /// Missing rows above the input, less than `kernel_height`.
        pad_top: Unsigned,
        /// Missing pixels left of the input, less than `kernel_width`.
        pad_left: Unsigned,
        /// First channel of the first output pixel.
        output: MutFloat,
        /// From one output pixel to the next in its row.
        output_pixel: Signed,
        /// From one output row to the next.
        output_row: Signed,
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
        /// First channel of the first residual pixel; null adds none.
        residual: ConstFloat,
        /// From one residual pixel to the next in its row.
        residual_pixel: Signed,
        /// From one residual row to the next.
        residual_row: Signed,
        /// Lower bound of the clamp.
        lo: Float,
        /// Upper bound of the clamp.
        hi: Float,
    }
}
