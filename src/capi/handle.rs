//! Handles: what the caller holds by address, each with a word at its start that says what it is.

use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use super::pointer::check;
use super::status::{Checked, Failure, sepconv_status};

/// A type of handles.
pub(super) trait Opaque {
    /// What a handle stands for: any thread may use it, and free it.
    type Held: Send + Sync;
    /// The word at its start.
    const MAGIC: u64;
    /// What messages call it.
    const NAME: &'static str;
}

/// The memory of a handle.
#[repr(C)]
struct Memory<T> {
    /// That of the type; 0 once it is freed, for as long as nothing else is written there.
    magic: AtomicU64,
    value: T,
}

/// A handle of `value`.
pub(super) fn new<H: Opaque>(value: H::Held) -> *mut H {
    Box::into_raw(Box::new(Memory { magic: AtomicU64::new(H::MAGIC), value })).cast()
}

/// The word at the start of `handle`, which is neither null nor misaligned.
///
/// # Safety
/// Where it is neither null nor misaligned, eight bytes must be readable there.
unsafe fn magic<'a, H: Opaque>(handle: *const H) -> Checked<&'a AtomicU64> {
    let memory = handle.cast::<Memory<H::Held>>();
    check(memory, H::NAME, "a handle")?;
    // SAFETY: by this function's own contract; the word is the first field.
    Ok(unsafe { &*ptr::addr_of!((*memory).magic) })
}

fn none<H: Opaque>() -> Failure {
    let message =
        format!("{}: got the address of something else, or of one that was freed, expected a handle", H::NAME);
    Failure::new(sepconv_status::NotAHandle, message)
}

/// What `handle` stands for.
///
/// # Safety
/// Where it is neither null nor misaligned, eight bytes must be readable there; where they are the word of the type, it
/// must be a handle that is not freed while `'a` lasts, and of which no [`get_mut`] lives.
pub(super) unsafe fn get<'a, H: Opaque>(handle: *const H) -> Checked<&'a H::Held> {
    // SAFETY: by this function's own contract.
    if unsafe { magic(handle) }?.load(Ordering::Relaxed) != H::MAGIC {
        return Err(none::<H>());
    }
    // SAFETY: by this function's own contract.
    Ok(unsafe { &(*handle.cast::<Memory<H::Held>>()).value })
}

/// The same, to be changed.
///
/// # Safety
/// As for [`get`], and nothing else may use the handle while `'a` lasts.
pub(super) unsafe fn get_mut<'a, H: Opaque>(handle: *mut H) -> Checked<&'a mut H::Held> {
    // SAFETY: by this function's own contract.
    if unsafe { magic(handle) }?.load(Ordering::Relaxed) != H::MAGIC {
        return Err(none::<H>());
    }
    // SAFETY: by this function's own contract.
    Ok(unsafe { &mut (*handle.cast::<Memory<H::Held>>()).value })
}

/// Frees `handle`, where it is not null.
///
/// # Safety
/// As for [`get`], and nothing may use the handle any more.
pub(super) unsafe fn free<H: Opaque>(handle: *mut H) -> Checked<()> {
    if handle.is_null() {
        return Ok(());
    }
    // SAFETY: by this function's own contract.
    let magic = unsafe { magic(handle) }?;
    // A second free is found by luck: while the memory keeps the word. Of two threads that free one handle at the same time
    // the slower may read memory that is another's by then.
    if magic.compare_exchange(H::MAGIC, 0, Ordering::AcqRel, Ordering::Relaxed).is_err() {
        return Err(none::<H>());
    }
    // SAFETY: `new` made it of a box, and it is freed once.
    drop(unsafe { Box::from_raw(handle.cast::<Memory<H::Held>>()) });
    Ok(())
}
