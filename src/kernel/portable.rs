//! The records of the portable tier.

use super::record::{ConvKernel, DepthwiseKernel, Kernels, PointwiseKernel};
use crate::isa::Isa;
use crate::portable::conv::conv;
use crate::portable::depthwise::{self, depthwise};
use crate::portable::pointwise::pointwise;
use crate::portable::{BLOCK, PIXELS};

/// The record of a window, stride and dilation, all known when compiled.
macro_rules! record {
    ($height:literal x $width:literal, stride $stride:literal, dilation 1) => {
        record!($height, $width, $stride, 1, "")
    };
    ($height:literal x $width:literal, stride $stride:literal, dilation $dilation:literal) => {
        record!($height, $width, $stride, $dilation, concat!("d", $dilation))
    };
    ($height:literal, $width:literal, $stride:literal, $dilation:literal, $suffix:expr) => {
        DepthwiseKernel {
            name: concat!("dw", $height, "x", $width, "s", $stride, $suffix, "_f32_1x4x16_portable"),
            isa: Isa::Portable,
            window: ($height, $width),
            stride: $stride,
            dilation: $dilation,
            rows: 1,
            columns: depthwise::COLUMNS,
            lanes: BLOCK,
            trial: false,
            reason: "4 chains and one weight at a time, for any vector of up to 16 lanes.",
            run: depthwise::<$height, $width, $stride, $dilation>,
        }
    };
}

pub(super) static KERNELS: Kernels = Kernels {
    isa: Isa::Portable,
    pointwise: &[PointwiseKernel {
        name: "pw_f32_8x16_portable",
        isa: Isa::Portable,
        mr: PIXELS,
        nr: BLOCK,
        lanes: BLOCK,
        mr_by_vectors: &[PIXELS],
        trial: false,
        reason: "8 chains for any vector of up to 16 lanes.",
        run: pointwise,
    }],
    depthwise: depthwise::for_each_window!(record),
    conv: &[ConvKernel {
        name: "conv_f32_8x16_portable",
        isa: Isa::Portable,
        mr: PIXELS,
        nr: BLOCK,
        lanes: BLOCK,
        stem: false,
        trial: false,
        reason: "The pointwise tile.",
        run: conv,
    }],
};
