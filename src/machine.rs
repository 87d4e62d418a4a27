//! What this machine is, as far as it matters to speed: asked once.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use once_cell::race::OnceBox;

use crate::isa::Isa;

/// A CPU, its operating system's part included.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Machine {
    isas: Vec<Isa>,
    caches: Caches,
    double_pumped_avx512: bool,
}

/// The caches of one core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Caches {
    /// Bytes of the first-level data cache.
    l1d: usize,
    /// Bytes of the second-level cache; of one that cores share, a core's share.
    l2: usize,
}

impl Caches {
    /// The smallest of the CPUs that plans are made for: what is assumed where nothing says.
    const DEFAULT: Caches = Caches { l1d: 32 << 10, l2: 512 << 10 };
}

/// How much of a tensor a plan works on at a time, in elements, so that it stays in the second-level cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blocking {
    /// Input that a GEMM walks for each panel, up to one and a half times as much: the weights and the output need the rest
    /// of the cache.
    pub gemm: usize,
    /// Where all the weights of a GEMM are fewer, reading them again is cheap: the output counts too.
    pub few_weights: usize,
    /// The tensors between the layers of a strip.
    pub strip: usize,
    /// The same where memory counts more than time.
    pub small_strip: usize,
    /// Tensors between layers that are smaller come back cheaply enough as they are.
    pub fuse_from: usize,
    /// Tensors between separable blocks that are smaller come back from memory cheaply enough; a max pooling is joined by the
    /// same limit.
    pub join_from: usize,
    /// The tensors that an item reads and writes, of the images of a batch that go together.
    pub together: usize,
}

impl Blocking {
    /// For 512 KB to 1 MB, measured on Zen 2 to 4. Joining the blocks of MobileNet V1 made it 1 % slower there, and those of
    /// Xception, whose tensors are larger, 1.3 % faster; its max poolings save 8 MB. On Zen 3, MobileNet V1 lost 7 % of its images a
    /// second with 16 images at a time (64 MB between two layers) and V2 3 % (26 MB); both gained from a few.
    const SMALL_L2: Blocking = Blocking {
        gemm: 64 << 10,
        few_weights: 16 << 10,
        strip: 128 << 10,
        small_strip: 32 << 10,
        fuse_from: 256 << 10,
        join_from: 1 << 20,
        together: 2 << 20,
    };
    /// For 2 MB and more, measured on an Intel server of the Granite Rapids class: MobileNet V1 took up to 6 % less time, a block of Xception 2 to 5 %.
    const LARGE_L2: Blocking =
        Blocking { gemm: 256 << 10, strip: 192 << 10, join_from: 384 << 10, ..Blocking::SMALL_L2 };
}

impl Machine {
    /// The machine that this program runs on.
    pub fn this() -> &'static Machine {
        // Asked once: on a virtual machine CPUID costs as much as a small layer.
        static THIS: OnceBox<Machine> = OnceBox::new();
        THIS.get_or_init(|| {
            Box::new(Machine {
                isas: Isa::ALL.into_iter().filter(|&isa| detect::runs(isa)).collect(),
                caches: sensible(detect::caches()),
                double_pumped_avx512: detect::double_pumped_avx512(),
            })
        })
    }

    /// Whether the CPU has the instructions of `isa`, and the operating system saves its registers.
    pub fn runs(&self, isa: Isa) -> bool {
        self.isas.contains(&isa)
    }

    /// Bytes of a core's first-level data cache.
    pub fn l1d(&self) -> usize {
        self.caches.l1d
    }

    /// How plans cut work for a core's second-level cache, or its share of one.
    pub fn blocking(&self) -> &'static Blocking {
        if self.caches.l2 < 2 << 20 { &Blocking::SMALL_L2 } else { &Blocking::LARGE_L2 }
    }

    /// All that plans depend on, in words: two machines with the same make the same plan of a graph and an ISA.
    pub fn facts(&self) -> String {
        let (bits, order) = (usize::BITS, if cfg!(target_endian = "little") { "little" } else { "big" });
        let (l1d, wide) = (self.caches.l1d, if self.double_pumped_avx512 { "halved" } else { "whole" });
        format!("{bits} bits, {order}-endian, {l1d} bytes of L1, {:?}, wide vectors {wide}", self.blocking())
    }

    /// Whether the CPU computes vectors of 512 bits as two halves, so that they do no more a cycle than those of 256 bits.
    pub fn double_pumped_avx512(&self) -> bool {
        self.double_pumped_avx512
    }
}

/// What was found, each size by itself replaced by the default where it cannot be one of such a cache.
fn sensible(found: Option<Caches>) -> Caches {
    let Caches { l1d, l2 } = found.unwrap_or(Caches::DEFAULT);
    let within =
        |size: usize, least: usize, most: usize, or: usize| if (least..=most).contains(&size) { size } else { or };
    Caches {
        l1d: within(l1d, 8 << 10, 1 << 20, Caches::DEFAULT.l1d),
        l2: within(l2, 64 << 10, 64 << 20, Caches::DEFAULT.l2),
    }
}

/// A cache as the CPU or the operating system describes it.
#[cfg_attr(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))), allow(dead_code))]
#[derive(Debug, Clone, Copy)]
struct Described {
    level: usize,
    /// Whether it holds data, alone or beside instructions.
    data: bool,
    bytes: usize,
    /// Hardware threads that share it.
    sharing: usize,
}

/// The first two levels of `described`. The threads of a core are those that share its first level.
#[cfg_attr(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))), allow(dead_code))]
fn caches(described: impl Iterator<Item = Described>) -> Option<Caches> {
    let data: Vec<_> = described.filter(|cache| cache.data).collect();
    let at = |level| data.iter().find(|cache| cache.level == level);
    let (first, second) = (at(1)?, at(2)?);
    let cores = (second.sharing / first.sharing.max(1)).max(1);
    Some(Caches { l1d: first.bytes, l2: second.bytes / cores })
}

/// An interpreter has no CPUID, and no files.
#[cfg(miri)]
mod detect {
    use super::{Caches, Isa};

    pub fn runs(isa: Isa) -> bool {
        isa == Isa::Portable
    }

    pub fn caches() -> Option<Caches> {
        None
    }

    pub fn double_pumped_avx512() -> bool {
        false
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod detect {
    use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv, CpuidResult};

    use super::{Caches, Described, Isa};

    pub fn runs(isa: Isa) -> bool {
        match isa {
            Isa::Portable => true,
            Isa::Avx2 => has(AVX2, AVX_STATE),
            // Its machines get kernels of AVX2 too. MSVC has one switch for five parts of AVX-512.
            Isa::Avx512 => {
                let parts = if cfg!(target_env = "msvc") { AVX512F | AVX512_PARTS } else { AVX512F };
                has(AVX2 | parts, AVX_STATE | AVX512_STATE)
            }
            Isa::Neon => false,
        }
    }

    /// Bits of EBX of CPUID leaf 7.
    const AVX2: u32 = 1 << 5;
    const AVX512F: u32 = 1 << 16;
    /// DQ, CD, BW and VL.
    const AVX512_PARTS: u32 = 1 << 17 | 1 << 28 | 1 << 30 | 1 << 31;
    /// Bits of XCR0: the registers that the system saves.
    const AVX_STATE: u64 = 0b110;
    const AVX512_STATE: u64 = 0b1110_0000;

    /// Whether the CPU has AVX, FMA and what `leaf7` says, and the system saves the registers of `state`.
    fn has(leaf7: u32, state: u64) -> bool {
        const FMA_OSXSAVE_AVX: u32 = 1 << 12 | 1 << 27 | 1 << 28;
        if __cpuid(0).eax < 7 || __cpuid(1).ecx & FMA_OSXSAVE_AVX != FMA_OSXSAVE_AVX {
            return false;
        }
        // SAFETY: OSXSAVE says that the system has switched the instruction on.
        let saved = unsafe { _xgetbv(0) };
        __cpuid_count(7, 0).ebx & leaf7 == leaf7 && saved & state == state
    }

    fn amd() -> bool {
        let vendor = __cpuid(0);
        [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat() == b"AuthenticAMD"
    }

    /// Intel describes its caches in leaf 4; AMD, in the same form, in leaf 0x8000001D, where it has the bit for it.
    pub fn caches() -> Option<Caches> {
        let leaf = if __cpuid(0x8000_0000).eax >= 0x8000_001D && __cpuid(0x8000_0001).ecx & 1 << 22 != 0 && amd() {
            0x8000_001D
        } else if __cpuid(0).eax >= 4 {
            4
        } else {
            return None;
        };
        let described = (0..16).map(|index| __cpuid_count(leaf, index)).take_while(|answer| answer.eax & 0x1f != 0);
        super::caches(described.map(|answer| describe(&answer)))
    }

    pub(super) fn describe(answer: &CpuidResult) -> Described {
        let field = |register: u32, first: u32, bits: u32| (register >> first & ((1 << bits) - 1)) as usize;
        let (line, partitions, ways) =
            (field(answer.ebx, 0, 12) + 1, field(answer.ebx, 12, 10) + 1, field(answer.ebx, 22, 10) + 1);
        Described {
            level: field(answer.eax, 5, 3),
            data: [1, 3].contains(&field(answer.eax, 0, 5)),
            bytes: (line * partitions * ways).saturating_mul(answer.ecx as usize + 1),
            sharing: field(answer.eax, 14, 12) + 1,
        }
    }

    /// AMD says how wide its units are (leaf 0x8000001A, "performance optimization identifiers": bit 3 of EAX, FP512): whole on
    /// the servers and desktops of Zen 5, halved on Zen 4 and the mobile Zen 5. Intel's AVX-512 counts as whole.
    pub fn double_pumped_avx512() -> bool {
        let wide = || __cpuid(0x8000_0000).eax >= 0x8000_001A && __cpuid(0x8000_001A).eax & 1 << 3 != 0;
        runs(Isa::Avx512) && amd() && !wide()
    }
}

#[cfg(all(target_arch = "aarch64", not(miri)))]
mod detect {
    use super::{Caches, Isa};

    pub fn runs(isa: Isa) -> bool {
        match isa {
            Isa::Portable => true,
            // A part of every target that can hold floats in registers.
            Isa::Neon => cfg!(target_feature = "neon"),
            _ => false,
        }
    }

    pub fn caches() -> Option<Caches> {
        #[cfg(feature = "std")]
        return super::listed(std::path::Path::new("/sys/devices/system/cpu/cpu0/cache"));
        #[cfg(not(feature = "std"))]
        None
    }

    pub fn double_pumped_avx512() -> bool {
        false
    }
}

#[cfg(all(not(any(target_arch = "x86_64", target_arch = "aarch64")), not(miri)))]
mod detect {
    use super::{Caches, Isa};

    pub fn runs(isa: Isa) -> bool {
        isa == Isa::Portable
    }

    pub fn caches() -> Option<Caches> {
        None
    }

    pub fn double_pumped_avx512() -> bool {
        false
    }
}

/// The caches that Linux lists in `directory`, one directory each; elsewhere there is none such.
#[cfg(any(test, all(feature = "std", target_arch = "aarch64", not(miri))))]
fn listed(directory: &std::path::Path) -> Option<Caches> {
    let described = std::fs::read_dir(directory).ok()?.flatten().filter_map(|entry| {
        let read = |name: &str| std::fs::read_to_string(entry.path().join(name)).ok();
        let (level, kind, size) = (read("level")?, read("type")?, read("size")?);
        let kilobytes: usize = size.trim().strip_suffix('K')?.parse().ok()?;
        Some(Described {
            level: level.trim().parse().ok()?,
            data: kind.trim() != "Instruction",
            bytes: kilobytes << 10,
            sharing: read("shared_cpu_list").map_or(1, |list| count(&list)),
        })
    });
    caches(described)
}

/// How many CPUs a list such as `0-3,8` names; 1 where it is malformed.
#[cfg(any(test, all(feature = "std", target_arch = "aarch64", not(miri))))]
fn count(list: &str) -> usize {
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        Some(last.checked_sub(first)? + 1)
    };
    list.trim().split(',').map(range).sum::<Option<usize>>().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_runs_the_portable_tier_and_has_caches() {
        let machine = Machine::this();
        assert!(machine.runs(Isa::Portable));
        assert!((8 << 10..=1 << 20).contains(&machine.l1d()), "{machine:?}");
        assert!((64 << 10..=64 << 20).contains(&machine.caches.l2), "{machine:?}");
        let with = |l2| Machine { caches: Caches { l2, ..machine.caches }, ..machine.clone() };
        assert_eq!(with(1 << 20).blocking(), &Blocking::SMALL_L2);
        assert_eq!(with(2 << 20).blocking(), &Blocking::LARGE_L2);
        assert!(!machine.double_pumped_avx512() || cfg!(target_arch = "x86_64"));
    }

    #[test]
    fn what_is_no_cache_is_the_default() {
        assert_eq!(sensible(None), Caches::DEFAULT);
        assert_eq!(sensible(Some(Caches { l1d: 0, l2: usize::MAX })), Caches::DEFAULT);
        let found = Caches { l1d: 48 << 10, l2: 2 << 20 };
        assert_eq!(sensible(Some(found)), found);
    }

    #[test]
    fn a_shared_cache_counts_by_cores() {
        let of = |level, data, bytes, sharing| Described { level, data, bytes, sharing };
        // Four cores of one thread each share 4 MB.
        let found = caches([of(1, true, 32 << 10, 1), of(1, false, 64 << 10, 1), of(2, true, 4 << 20, 4)].into_iter());
        assert_eq!(found, Some(Caches { l1d: 32 << 10, l2: 1 << 20 }));
        // Two threads of one core.
        let found = caches([of(1, true, 48 << 10, 2), of(2, true, 2 << 20, 2)].into_iter());
        assert_eq!(found, Some(Caches { l1d: 48 << 10, l2: 2 << 20 }));
        assert_eq!(caches([of(1, true, 48 << 10, 2)].into_iter()), None);
    }

    /// As the standard library finds them.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    #[test]
    fn instruction_sets_are_found() {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        assert_eq!(detect::runs(Isa::Avx2), avx2);
        if !cfg!(target_env = "msvc") {
            assert_eq!(detect::runs(Isa::Avx512), avx2 && is_x86_feature_detected!("avx512f"));
        }
    }

    #[cfg(all(target_arch = "x86_64", not(miri)))]
    #[test]
    fn leaf_four_is_read_as_it_is_written() {
        // The first-level data cache of an Intel server: 48 KB, 12 ways of 64 lines of 64 bytes, two threads.
        let answer = std::arch::x86_64::CpuidResult { eax: 0x1c00_4121, ebx: 0x02c0_003f, ecx: 0x3f, edx: 0 };
        let cache = detect::describe(&answer);
        assert_eq!((cache.level, cache.data, cache.bytes, cache.sharing), (1, true, 48 << 10, 2));
    }

    #[cfg(not(any(miri, target_family = "wasm")))]
    #[test]
    fn what_linux_lists_is_read() {
        let directory = std::env::temp_dir().join(format!("sepconv-caches-{}", std::process::id()));
        let caches = [
            ("index0", "1", "Data", "64K", "0"),
            ("index1", "1", "Instruction", "32K", "0"),
            ("index2", "2", "Unified", "2048K", "0-1"),
        ];
        for (index, level, kind, size, shared) in caches {
            std::fs::create_dir_all(directory.join(index)).unwrap();
            for (name, text) in [("level", level), ("type", kind), ("size", size), ("shared_cpu_list", shared)] {
                std::fs::write(directory.join(index).join(name), format!("{text}\n")).unwrap();
            }
        }
        std::fs::write(directory.join("uevent"), "").unwrap();
        let found = listed(&directory);
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(found, Some(Caches { l1d: 64 << 10, l2: 1 << 20 }));
        assert_eq!(listed(&directory), None);
        assert_eq!((count("0-3,8\n"), count("5"), count("")), (5, 1, 1));
    }
}
