//! The instruction sets that kernels exist for, with what this machine has of them.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::kernel::Kernels;

/// An instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Isa {
    /// Whatever the `pulp` crate finds on this CPU; scalar code at the least. Always supported.
    Portable,
    /// AArch64 Advanced SIMD.
    Neon,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512F.
    Avx512,
}

impl Isa {
    /// Every ISA, the slowest first.
    pub const ALL: [Isa; 4] = [Isa::Portable, Isa::Neon, Isa::Avx2, Isa::Avx512];

    /// The environment variable that [`Isa::selected`] honours.
    pub const VARIABLE: &'static str = "SEPCONV_ISA";

    /// The name: `portable`, `neon`, `avx2` or `avx512`.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Neon => "neon",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }

    /// The ISAs that this CPU, its operating system and this build support, the slowest first.
    pub fn supported() -> Vec<Isa> {
        Self::ALL.into_iter().filter(|isa| isa.is_supported()).collect()
    }

    /// The fastest supported ISA. Does not look at the environment.
    pub fn best() -> Isa {
        Self::ALL.into_iter().rev().find(|isa| isa.is_supported()).unwrap_or(Isa::Portable)
    }

    /// The ISA that the environment variable `SEPCONV_ISA` names, or the best one where it is not set or empty. An
    /// unknown or unsupported name is an error, never a silent fallback.
    pub fn selected() -> Result<Isa> {
        match std::env::var_os(Self::VARIABLE) {
            None => Ok(Self::best()),
            Some(name) if name.is_empty() => Ok(Self::best()),
            Some(name) => {
                let isa: Isa = name.to_string_lossy().parse()?;
                isa.kernels().map(|_| isa)
            }
        }
    }

    /// The kernels for this ISA: those written for it, and those of an earlier one that serve its CPUs too. Holding the
    /// reference proves that the CPU can run them.
    pub fn kernels(self) -> Result<&'static Kernels> {
        crate::kernel::of(self)
            .filter(|_| self.is_supported())
            .ok_or_else(|| Error::UnsupportedIsa { name: self.name(), supported: names(&Self::supported()) })
    }

    /// Whether this build has kernels for the ISA, the CPU has its instructions, and the operating system saves its
    /// registers.
    fn is_supported(self) -> bool {
        crate::kernel::of(self).is_some()
            && match self {
                Isa::Portable => true,
                // std's detection reads XCR0 besides CPUID: it reports both only where the system saves the registers.
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
                // Its machines get kernels of AVX2 too.
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => {
                    // MSVC has one switch for five parts of AVX-512.
                    let msvc = cfg!(target_env = "msvc");
                    let parts = is_x86_feature_detected!("avx512cd")
                        && is_x86_feature_detected!("avx512bw")
                        && is_x86_feature_detected!("avx512dq")
                        && is_x86_feature_detected!("avx512vl");
                    is_x86_feature_detected!("avx512f") && (parts || !msvc) && Isa::Avx2.is_supported()
                }
                #[cfg(target_arch = "aarch64")]
                Isa::Neon => std::arch::is_aarch64_feature_detected!("neon"),
                #[allow(unreachable_patterns)]
                _ => false,
            }
    }
}

/// Whether the CPU computes vectors of 512 bits as two halves, so that they do no more a cycle than those of 256 bits:
/// Zen 4 (AMD family 19h with AVX-512).
pub(crate) fn halves_wide_vectors() -> bool {
    // An interpreter has no CPUID, and no wide vectors.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::__cpuid;
        use std::sync::OnceLock;
        // Asked once: on a virtual machine the instruction costs as much as a small layer.
        static HALVES: OnceLock<bool> = OnceLock::new();
        *HALVES.get_or_init(|| {
            let (vendor, version) = (__cpuid(0), __cpuid(1).eax);
            let amd = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat() == b"AuthenticAMD";
            let family = (version >> 8 & 0xf) + (version >> 20 & 0xff);
            amd && family == 0x19
        })
    }
    #[cfg(any(not(target_arch = "x86_64"), miri))]
    false
}

fn names(isas: &[Isa]) -> String {
    isas.iter().map(|isa| isa.name()).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Isa {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|isa| isa.name() == name).ok_or_else(|| Error::UnknownIsa {
            name: name.into(),
            known: names(&Self::ALL),
            supported: names(&Self::supported()),
        })
    }
}
