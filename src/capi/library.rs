//! What the library is, and which instruction sets it runs.

use std::ffi::{CStr, c_char};
use std::panic::catch_unwind;
use std::ptr;

use super::pointer::{optional_text, place};
use super::status::{Checked, guard, sepconv_status};
use crate::isa::Isa;
use crate::kernel::Kernels;

/// The number of the interface: `SEPCONV_ABI_VERSION` of the header that is its own.
const ABI_VERSION: u32 = 1;

/// The version of the library, such as `0.1.0`. Never null.
#[unsafe(no_mangle)]
pub extern "C" fn sepconv_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// The number of the interface. A program that was built with a header of another `SEPCONV_ABI_VERSION` must not call
/// anything else.
#[unsafe(no_mangle)]
pub extern "C" fn sepconv_abi_version() -> u32 {
    ABI_VERSION
}

/// The name of ISA number `index` of those that this CPU and this build support, from 0 on, the slowest first
/// (`portable`, `neon`, `avx2`, `avx512`); null past the last.
#[unsafe(no_mangle)]
pub extern "C" fn sepconv_isa_supported(index: usize) -> *const c_char {
    let supported = catch_unwind(Isa::supported).unwrap_or_default();
    supported.get(index).map_or(ptr::null(), |&isa| name(isa).as_ptr())
}

/// Writes the name of the ISA that an argument `isa` stands for: the one that it names, or, where it is null, the one that
/// the environment variable `SEPCONV_ISA` names, or else the fastest. An error where the name is unknown, or the ISA cannot
/// run here. Every function that takes an `isa` forces that one; nothing changes the choice of a packed layer or a plan.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_isa_chosen(isa: *const c_char, chosen: *mut *const c_char) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    guard(|| unsafe {
        let chosen = place(chosen, "chosen")?;
        chosen.write(name(kernels(isa)?.isa()).as_ptr());
        Ok(())
    })
}

/// The kernels of the ISA that `isa` names, or of the one that is selected where it is null.
///
/// # Safety
/// By the contract of the interface.
pub(super) unsafe fn kernels(isa: *const c_char) -> Checked<&'static Kernels> {
    // SAFETY: by this function's own contract.
    let isa = match unsafe { optional_text(isa, "isa") }? {
        Some(name) => name.parse()?,
        None => Isa::selected()?,
    };
    Ok(isa.kernels()?)
}

/// The name for C.
pub(super) fn name(isa: Isa) -> &'static CStr {
    match isa {
        Isa::Portable => c"portable",
        Isa::Neon => c"neon",
        Isa::Avx2 => c"avx2",
        Isa::Avx512 => c"avx512",
    }
}
