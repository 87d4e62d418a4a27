//! Kernel records, from the list that the generated table is made by too.

use super::arguments::{Conv, Depthwise, Pointwise};
use crate::isa::Isa;

macro_rules! records {
    ($($(#[$doc:meta])* $list:ident $name:ident($arguments:ident) {
        $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
    })*) => {
        $($(#[$doc])*
        #[derive(Debug)]
        pub struct $name {
            pub(crate) name: &'static str,
            pub(crate) isa: Isa,
            $($(#[$field_doc])* pub(crate) $field: $type,)*
            pub(crate) trial: bool,
            pub(crate) reason: &'static str,
            pub(crate) run: unsafe extern "C" fn(*const $arguments),
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
        })*

        /// The kernels for the CPUs of one ISA. A reference to one is the proof that this machine can run them: only
        /// [`Isa::kernels`] gives it out.
        #[derive(Debug)]
        pub struct Kernels {
            pub(crate) isa: Isa,
            $(pub(crate) $list: &'static [$name],)*
        }

        impl Kernels {
            /// The ISA.
            pub fn isa(&self) -> Isa {
                self.isa
            }

            $($(#[$doc])*
            ///
            /// Every one, shipped and trial.
            pub fn $list(&self) -> &'static [$name] {
                self.$list
            })*
        }
    };
}
include!("../../kernels/records.rs");

impl ConvKernel {
    /// Whether the kernel computes convolutions with a window of so many rows and columns over `inputs` channels: one for
    /// stems takes 3x3 and three, any other everything.
    pub fn serves(&self, window: (usize, usize), inputs: usize) -> bool {
        !self.stem || (window == (3, 3) && inputs == 3)
    }
}
