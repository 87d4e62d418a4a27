//! The names of the instruction sets that kernels exist for.

use core::fmt;

/// An instruction set.
///
/// ```
/// use sepconv::Isa;
///
/// let (supported, best) = (Isa::supported(), Isa::best());
/// assert_eq!((supported.first(), supported.last()), (Some(&Isa::Portable), Some(&best)));
/// assert!(Isa::ALL.iter().all(|isa| isa.kernels().is_ok() == supported.contains(isa)));
/// // What the environment names, or the best.
/// let named = std::env::var(Isa::VARIABLE).ok().filter(|name| !name.is_empty());
/// assert_eq!(Isa::selected()?.as_str(), named.as_deref().unwrap_or(best.as_str()));
///
/// assert_eq!("avx2".parse(), Ok(Isa::Avx2));
/// assert!("mmx".parse::<Isa>().is_err());
/// # Ok::<(), sepconv::Error>(())
/// ```
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

    /// The name: `portable`, `neon`, `avx2` or `avx512`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Neon => "neon",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
