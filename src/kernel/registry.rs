//! Which kernels this build has, and which of them this machine runs.

use alloc::string::String;
use alloc::vec::Vec;
use core::str::FromStr;

use super::portable;
use super::record::Kernels;
use crate::error::{Error, Result};
use crate::isa::Isa;
use crate::machine::Machine;

#[cfg(sepconv_kernels)]
mod generated {
    use crate::isa::Isa;
    use crate::kernel::arguments;
    use crate::kernel::record::*;
    include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
}

/// The kernels that this build has for `isa`, whether or not the CPU can run them.
pub(super) fn of(isa: Isa) -> Option<&'static Kernels> {
    #[cfg(sepconv_kernels)]
    if let Some(kernels) = generated::KERNELS.iter().find(|kernels| kernels.isa == isa) {
        return Some(kernels);
    }
    (isa == Isa::Portable).then_some(&portable::KERNELS)
}

impl Isa {
    /// The environment variable that [`Isa::selected`] honours.
    pub const VARIABLE: &'static str = "SEPCONV_ISA";

    /// The ISAs that this CPU, its operating system and this build support, the slowest first.
    pub fn supported() -> Vec<Isa> {
        Self::ALL.into_iter().filter(|isa| isa.is_supported()).collect()
    }

    /// The fastest supported ISA. Does not look at the environment.
    pub fn best() -> Isa {
        Self::ALL.into_iter().rev().find(|isa| isa.is_supported()).unwrap_or(Isa::Portable)
    }

    /// The ISA that the environment variable `SEPCONV_ISA` names, or the best one where it is not set or empty. An
    /// unknown or unsupported name is an error, never a silent fallback. Without the feature `std` there is no environment: the
    /// best one.
    pub fn selected() -> Result<Isa> {
        #[cfg(feature = "std")]
        if let Some(name) = std::env::var_os(Self::VARIABLE).filter(|name| !name.is_empty()) {
            let isa: Isa = name.to_string_lossy().parse()?;
            return isa.kernels().map(|_| isa);
        }
        Ok(Self::best())
    }

    /// The kernels for this ISA: those written for it, and those of an earlier one that serve its CPUs too. Holding the
    /// reference proves that the CPU can run them. An error where this CPU, its operating system or this build cannot.
    pub fn kernels(self) -> Result<&'static Kernels> {
        of(self)
            .filter(|_| self.is_supported())
            .ok_or_else(|| Error::UnsupportedIsa { name: self.as_str(), supported: names(&Self::supported()) })
    }

    /// Whether this build has kernels for the ISA and this machine runs them.
    fn is_supported(self) -> bool {
        of(self).is_some() && Machine::this().runs(self)
    }
}

impl FromStr for Isa {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|isa| isa.as_str() == name).ok_or_else(|| Error::UnknownIsa {
            name: name.into(),
            known: names(&Self::ALL),
            supported: names(&Self::supported()),
        })
    }
}

fn names(isas: &[Isa]) -> String {
    isas.iter().map(|isa| isa.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On every machine, for all ISAs of the build.
    #[test]
    fn names_are_derived_from_what_the_records_hold() {
        for kernels in Isa::ALL.into_iter().filter_map(of) {
            for kernel in kernels.pointwise() {
                assert_eq!(kernel.name(), format!("pw_f32_{}x{}_{}", kernel.mr, kernel.nr, kernel.isa));
                assert_eq!(kernel.mr_by_vectors.len(), kernel.nr / kernel.lanes, "{}", kernel.name);
                assert_eq!(kernel.mr_by_vectors.last(), Some(&kernel.mr), "{}", kernel.name);
            }
            for kernel in kernels.conv() {
                let op = if kernel.stem { "stem" } else { "conv" };
                assert_eq!(kernel.name(), format!("{op}_f32_{}x{}_{}", kernel.mr, kernel.nr, kernel.isa));
            }
            for kernel in kernels.depthwise() {
                let ((height, width), dilation) = (kernel.window, kernel.dilation);
                let dilated = if dilation > 1 { format!("d{dilation}") } else { String::new() };
                let shape = format!("{height}x{width}s{}{dilated}", kernel.stride);
                let tile = format!("{}x{}x{}", kernel.rows, kernel.columns, kernel.lanes);
                assert_eq!(kernel.name(), format!("dw{shape}_f32_{tile}_{}", kernel.isa));
            }
        }
    }

    /// A network that runs on one ISA runs on all: each ships a kernel for whatever another ships one for.
    #[test]
    fn every_isa_ships_every_shape() {
        let all: Vec<_> = Isa::ALL.into_iter().filter_map(of).collect();
        let shapes = |kernels: &Kernels| {
            let shipped = kernels.depthwise().iter().filter(|kernel| !kernel.trial);
            shipped.map(|kernel| (kernel.window, kernel.stride, kernel.dilation)).collect::<Vec<_>>()
        };
        for kernels in &all {
            assert!(kernels.pointwise().iter().any(|kernel| !kernel.trial), "{}", kernels.isa);
            assert!(kernels.conv().iter().any(|kernel| !kernel.trial && !kernel.stem), "{}", kernels.isa);
            let own = shapes(kernels);
            for (other, shape) in
                all.iter().flat_map(|other| shapes(other).into_iter().map(move |shape| (other, shape)))
            {
                assert!(own.contains(&shape), "{} ships no depthwise {shape:?}, {} does", kernels.isa, other.isa);
            }
        }
    }
}
