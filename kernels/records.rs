// What a record of each kind of kernel holds beside its name, ISA, status, reason and function: the only list. The crate and
// build/ both include this file with their own `records!`; the one expands it to structs, the other fills them in from the
// rows of kernels.toml. `list Record(Arguments)`: the list of `Kernels` that holds the records, the record, and the argument
// struct of arguments.rs that its function takes.

records! {
    /// A packed GEMM over pixels: 1x1 convolutions and fully connected layers.
    pointwise PointwiseKernel(Pointwise) {
        /// Pixels of the tile.
        mr: usize,
        /// Output channels of the tile, which is the width of a packed panel.
        nr: usize,
        /// Output channels that the width of the last panel is a multiple of: a vector.
        lanes: usize,
        /// Pixels of the tile in a panel of 1, 2, … vectors, since the last panel may be narrower; the last is `mr`.
        mr_by_vectors: &'static [usize],
    }

    /// A depthwise convolution with a window, a stride and a dilation of its own.
    depthwise DepthwiseKernel(Depthwise) {
        /// Rows and columns of taps.
        window: (usize, usize),
        /// Input pixels from one window to the next, both ways.
        stride: usize,
        /// Input pixels from one tap to the next, both ways; 1 where they touch.
        dilation: usize,
        /// Output rows of the tile.
        rows: usize,
        /// Output columns of the tile.
        columns: usize,
        /// Channels of a packed block of weights.
        lanes: usize,
    }

    /// A dense convolution.
    conv ConvKernel(Conv) {
        /// Pixels of the tile.
        mr: usize,
        /// Output channels of the tile, which is the width of a packed panel.
        nr: usize,
        /// Output channels that the width of the last panel is a multiple of.
        lanes: usize,
        /// Whether the kernel computes stems alone: a 3x3 window over three input channels. Any other takes every window.
        stem: bool,
    }
}
