//! Pointers of the caller's, checked as far as they can be.

use std::ffi::{CStr, c_char};
use std::fmt::Display;
use std::slice;

use super::status::{Checked, Failure, sepconv_status};

/// The failure for a pointer that is null or not aligned, if it is; `expected` is what should be there.
pub(super) fn check<T>(pointer: *const T, what: &str, expected: impl Display) -> Checked<()> {
    if pointer.is_null() {
        return Err(null(what, expected));
    }
    if !pointer.is_aligned() {
        let message = format!("{what}: got the address {pointer:p}, expected a multiple of {} bytes", align_of::<T>());
        return Err(Failure::new(sepconv_status::Misaligned, message));
    }
    Ok(())
}

/// The failure for a pointer that is null and must not be.
pub(super) fn null(what: &str, expected: impl Display) -> Failure {
    Failure::new(sepconv_status::NullArgument, format!("{what}: got NULL, expected {expected}"))
}

/// What `pointer` points to.
///
/// # Safety
/// Where it is neither null nor misaligned, it must point to a `T` that nothing writes while `'a` lasts.
pub(super) unsafe fn read<'a, T>(pointer: *const T, what: &str) -> Checked<&'a T> {
    check(pointer, what, "the address of one")?;
    // SAFETY: by this function's own contract.
    Ok(unsafe { &*pointer })
}

/// The same, where null stands for nothing.
///
/// # Safety
/// As for [`read`].
pub(super) unsafe fn optional<'a, T>(pointer: *const T, what: &str) -> Checked<Option<&'a T>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: by this function's own contract.
    unsafe { read(pointer, what) }.map(Some)
}

/// Where a result goes: written when all arguments have been read, since they may lie in the same memory.
pub(super) fn place<T>(pointer: *mut T, what: &str) -> Checked<*mut T> {
    check(pointer, what, "memory for the result")?;
    Ok(pointer)
}

/// The same, where null stands for nowhere.
pub(super) fn optional_place<T>(pointer: *mut T, what: &str) -> Checked<Option<*mut T>> {
    if pointer.is_null() { Ok(None) } else { place(pointer, what).map(Some) }
}

/// Text that ends in NUL.
///
/// # Safety
/// Where `pointer` is not null, text that ends in NUL must begin there, which nothing writes while `'a` lasts.
pub(super) unsafe fn text<'a>(pointer: *const c_char, what: &str) -> Checked<&'a str> {
    check(pointer, what, "text that ends in NUL")?;
    // SAFETY: by this function's own contract.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map_err(|_| Failure::bad(format!("{what}: got {text:?}, expected UTF-8")))
}

/// The same, where null stands for nothing.
///
/// # Safety
/// As for [`text`].
pub(super) unsafe fn optional_text<'a>(pointer: *const c_char, what: &str) -> Checked<Option<&'a str>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: by this function's own contract.
    unsafe { text(pointer, what) }.map(Some)
}

/// The failure for `count` elements of a `T` at `pointer` that no memory holds, if it holds none.
pub(super) fn check_count<T>(pointer: *const T, count: usize, what: &str) -> Checked<()> {
    let bytes = count.checked_mul(size_of::<T>()).filter(|&bytes| bytes <= isize::MAX as usize);
    match bytes.and_then(|bytes| pointer.addr().checked_add(bytes)) {
        Some(_) => Ok(()),
        None => Err(Failure::bad(format!("{what}: got {count} elements, expected as many as fit the address space"))),
    }
}

/// An array; without elements, its pointer may be null.
///
/// # Safety
/// Where `pointer` is neither null nor misaligned, it must point to `count` elements that nothing writes while `'a` lasts.
pub(super) unsafe fn array<'a, T>(pointer: *const T, count: usize, what: &str) -> Checked<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    check(pointer, what, format_args!("{count} elements"))?;
    check_count(pointer, count, what)?;
    // SAFETY: by this function's own contract.
    Ok(unsafe { slice::from_raw_parts(pointer, count) })
}
