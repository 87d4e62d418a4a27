//! Kernel records: a function together with its tile, its packing and its ISA.

use crate::isa::Isa;

/// The argument structs, from the list that the C kernels' header is made from too.
pub(crate) mod arguments {
    type ConstFloat = *const f32;
    type MutFloat = *mut f32;
    type Signed = isize;
    type Unsigned = usize;
    type Float = f32;

    macro_rules! arguments {
        ($($(#[$doc:meta])* $_op:ident $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ident,)* })*) => {$(
            $(#[$doc])*
            #[repr(C)]
            #[derive(Debug, Clone, Copy)]
            pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }

            // Each field follows the one before without padding, as the C header asserts of its own struct.
            const _: () = {
                let mut _offset = 0;
                $(
                    assert!(std::mem::offset_of!($name, $field) == _offset);
                    _offset += size_of::<$type>();
                )*
                assert!(size_of::<$name>() == _offset.next_multiple_of(align_of::<usize>()));
            };
        )*};
    }
    include!("../kernels/arguments.rs");
}

macro_rules! record {
    ($(#[$doc:meta])* $name:ident, $arguments:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name {
            pub(crate) name: &'static str,
            pub(crate) isa: Isa,
            $($(#[$field_doc])* pub(crate) $field: $type,)*
            pub(crate) trial: bool,
            pub(crate) reason: &'static str,
            pub(crate) run: unsafe extern "C" fn(*const arguments::$arguments),
        }

        impl $name {
            /// The derived name, such as `pw_f32_6x16_avx2`: the same in symbols, tests, benches and logs.
            pub fn name(&self) -> &'static str {
                self.name
            }

            /// The ISA that the kernel needs.
            pub fn isa(&self) -> Isa {
                self.isa
            }

            /// Whether the kernel is a trial, never selected (`--features trial`).
            pub fn is_trial(&self) -> bool {
                self.trial
            }

            /// Why the kernel has this tile.
            pub fn reason(&self) -> &'static str {
                self.reason
            }

            $($(#[$field_doc])*
            pub fn $field(&self) -> $type {
                self.$field
            })*
        }
    };
}

record!(
    /// A packed GEMM over pixels: 1x1 convolutions and fully connected layers.
    PointwiseKernel, Pointwise {
        /// Pixels of the tile.
        rows: usize,
        /// Output channels of the tile, which is the width of a packed panel.
        columns: usize,
        /// Output channels that the width of the last panel is a multiple of: a vector.
        lanes: usize,
        /// Pixels of the tile in a panel of 1, 2, … vectors, since the last panel may be narrower; the last is `rows`.
        heights: &'static [usize],
    }
);

record!(
    /// A depthwise 3x3 convolution.
    DepthwiseKernel, Depthwise {
        /// Input pixels from one window to the next, both ways.
        stride: usize,
        /// Output rows of the tile.
        rows: usize,
        /// Output columns of the tile.
        columns: usize,
        /// Channels of a packed block of weights.
        lanes: usize,
    }
);

record!(
    /// A dense convolution with a window of any size.
    ConvKernel, Conv {
        /// Pixels of the tile.
        rows: usize,
        /// Output channels of the tile, which is the width of a packed panel.
        columns: usize,
        /// Output channels that the width of the last panel is a multiple of.
        lanes: usize,
    }
);

/// The kernels for the CPUs of one ISA. A reference to one is the proof that this machine can run them: only
/// [`Isa::kernels`] gives it out.
#[derive(Debug)]
pub struct Kernels {
    pub(crate) isa: Isa,
    pub(crate) pointwise: &'static [PointwiseKernel],
    pub(crate) depthwise: &'static [DepthwiseKernel],
    pub(crate) conv: &'static [ConvKernel],
}

impl Kernels {
    /// The ISA.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Every pointwise kernel, shipped and trial.
    pub fn pointwise(&self) -> &'static [PointwiseKernel] {
        self.pointwise
    }

    /// Every depthwise kernel, shipped and trial.
    pub fn depthwise(&self) -> &'static [DepthwiseKernel] {
        self.depthwise
    }

    /// Every dense convolution kernel, shipped and trial.
    pub fn conv(&self) -> &'static [ConvKernel] {
        self.conv
    }
}

#[cfg(sepconv_kernels)]
mod generated {
    use super::{ConvKernel, DepthwiseKernel, Isa, Kernels, PointwiseKernel, arguments};
    include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
}

/// The kernels that this build has for `isa`, whether or not the CPU can run them.
pub(crate) fn of(isa: Isa) -> Option<&'static Kernels> {
    #[cfg(sepconv_kernels)]
    if let Some(kernels) = generated::KERNELS.iter().find(|kernels| kernels.isa == isa) {
        return Some(kernels);
    }
    (isa == Isa::Portable).then_some(&crate::portable::KERNELS)
}
