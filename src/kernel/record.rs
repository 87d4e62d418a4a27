//! Kernel records, from the list that the generated table is made by too.

use alloc::format;
use alloc::string::String;

use super::arguments::{Conv, Depthwise, Pointwise};
use crate::isa::Isa;

macro_rules! records {
    ($($(#[$doc:meta])* $list:ident $name:ident($arguments:ident) {
        $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
    })*) => {
        $($(#[$doc])*
        ///
        /// Its record, which [`Kernels`] gives out and has an example of.
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
        ///
        /// ```
        /// use sepconv::Isa;
        ///
        /// let kernels = Isa::best().kernels()?;
        /// assert_eq!(kernels.isa(), Isa::best());
        /// for kernel in kernels.pointwise() {
        ///     // Output channels by vectors, and the pixels for each number of them.
        ///     assert_eq!(kernel.nr(), kernel.mr_by_vectors().len() * kernel.lanes());
        ///     assert_eq!(kernel.mr_by_vectors().last(), Some(&kernel.mr()));
        ///     assert!(!kernel.reason().is_empty() && kernel.isa() <= kernels.isa());
        /// }
        /// let mut depthwise = kernels.depthwise().iter();
        /// let kernel = depthwise.find(|kernel| kernel.window() == (5, 5) && kernel.stride() == 2).unwrap();
        /// let tile = format!("{}x{}x{}", kernel.rows(), kernel.columns(), kernel.lanes());
        /// assert_eq!(kernel.name(), format!("dw5x5s2_f32_{tile}_{}", kernel.isa()));
        /// assert_eq!(kernel.dilation(), 1);
        /// // A stem's kernel serves one shape, the others all of them.
        /// assert!(kernels.conv().iter().all(|kernel| kernel.stem() != kernel.serves((7, 7), 3)));
        /// assert!(kernels.conv().iter().any(|kernel| !kernel.is_trial() && kernel.serves((7, 7), 3)));
        /// # Ok::<(), sepconv::Error>(())
        /// ```
        #[derive(Debug)]
        pub struct Kernels {
            pub(crate) isa: Isa,
            $(pub(crate) $list: &'static [$name],)*
        }

        impl Kernels {
            /// Every kernel that can be selected, with what its record says: what packed weights depend on.
            pub(crate) fn rows(&self) -> String {
                let mut rows = String::new();
                $(for kernel in self.$list.iter().filter(|kernel| !kernel.trial) {
                    rows += &format!("{} {} {:?}\n", kernel.name, kernel.isa, ($(&kernel.$field,)*));
                })*
                rows
            }

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

impl DepthwiseKernel {
    /// Whether a vector is a whole cache line.
    pub(crate) fn reads_whole_lines(&self) -> bool {
        self.isa == Isa::Avx512
    }
}

impl ConvKernel {
    /// Whether the kernel computes convolutions with a window of so many rows and columns over `inputs` channels: one for
    /// stems takes 3x3 and three, any other everything.
    pub fn serves(&self, window: (usize, usize), inputs: usize) -> bool {
        !self.stem || (window == (3, 3) && inputs == 3)
    }
}
