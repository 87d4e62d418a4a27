//! What every function returns, and the message of the calling thread.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::Error;

/// What became of a call. A call that fails changes nothing and writes nothing, but for a run that panicked, whose outputs
/// are unspecified. `sepconv_last_message` says more.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum sepconv_status {
    /// Done.
    Ok = 0,
    /// A pointer is null that must not be.
    NullArgument = 1,
    /// A pointer is not aligned: to 4 bytes for floats, to the type for structs, to `SEPCONV_WORKSPACE_ALIGNMENT` for a
    /// workspace.
    Misaligned = 2,
    /// A name is unknown, text is not UTF-8, a number is none of an enum or no index, bounds of a clamp are crossed or NaN,
    /// `sepconv_network` has a number out of range, two arguments exclude each other, a plan has too many inputs or
    /// outputs, an array is larger than the address space, or an image lies in the workspace. No other overlap is found.
    BadArgument = 3,
    /// An array of a layer has another length, or an image or a workspace is shorter, than its sizes say.
    Length = 4,
    /// Shapes or counts that belong together differ; a window does not fit; a size, a stride, a number of groups or of
    /// images is out of range; or a builder's call makes no node: its name is empty or used, an array has another length,
    /// a tensor is another builder's, epsilon or slope is out of range.
    Shape = 5,
    /// This CPU or this build lacks the ISA.
    UnsupportedIsa = 6,
    /// The weights are no safetensors file, or not those of the graph.
    Weights = 7,
    /// There is no room in memory.
    Memory = 8,
    /// A handle is of another kind, or is none. A handle that was freed must not be passed again: it is found by luck at
    /// best.
    NotAHandle = 9,
    /// A defect of the library: it panicked. Never for wrong arguments.
    Panicked = 10,
    /// The bytes are no saved plan, or a damaged one.
    Blob = 11,
    /// A plan was saved by another version of the library, for another ISA, for other kernels, or on a machine for which
    /// another plan would be made.
    OtherBlob = 12,
}

/// Why a call is refused.
#[derive(Debug)]
pub(super) struct Failure {
    status: sepconv_status,
    message: String,
}

/// What the checks of arguments give.
pub(super) type Checked<T> = Result<T, Failure>;

impl Failure {
    pub fn new(status: sepconv_status, message: impl Into<String>) -> Self {
        Failure { status, message: message.into() }
    }

    pub fn bad(message: impl Into<String>) -> Self {
        Failure::new(sepconv_status::BadArgument, message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error {
            Error::UnknownIsa { .. } | Error::Parameter { .. } => sepconv_status::BadArgument,
            Error::UnsupportedIsa { .. } => sepconv_status::UnsupportedIsa,
            Error::Length { .. } => sepconv_status::Length,
            Error::Shape { .. } | Error::Node { .. } => sepconv_status::Shape,
            Error::Weights { .. } | Error::OtherNetwork { .. } | Error::File { .. } => sepconv_status::Weights,
            Error::Memory { .. } => sepconv_status::Memory,
            Error::Blob { .. } => sepconv_status::Blob,
            Error::OtherBlob { .. } => sepconv_status::OtherBlob,
        };
        Failure::new(status, error.to_string())
    }
}

thread_local! {
    static MESSAGE: RefCell<Option<CString>> = const { RefCell::new(None) };
}

/// What the last failed call on this thread said: UTF-8, never null, empty where none failed yet. It stays as it is until
/// the next call that fails on this thread.
#[unsafe(no_mangle)]
pub extern "C" fn sepconv_last_message() -> *const c_char {
    // A thread that is ending has no message any more.
    let pointer = |message: &RefCell<Option<CString>>| message.borrow().as_ref().map(|message| message.as_ptr());
    MESSAGE.try_with(pointer).ok().flatten().unwrap_or(c"".as_ptr())
}

/// The name of a status, such as `SEPCONV_STATUS_SHAPE`; `unknown` for a number that is none. Never null.
#[unsafe(no_mangle)]
pub extern "C" fn sepconv_status_name(status: i32) -> *const c_char {
    const NAMES: [&CStr; 13] = [
        c"SEPCONV_STATUS_OK",
        c"SEPCONV_STATUS_NULL_ARGUMENT",
        c"SEPCONV_STATUS_MISALIGNED",
        c"SEPCONV_STATUS_BAD_ARGUMENT",
        c"SEPCONV_STATUS_LENGTH",
        c"SEPCONV_STATUS_SHAPE",
        c"SEPCONV_STATUS_UNSUPPORTED_ISA",
        c"SEPCONV_STATUS_WEIGHTS",
        c"SEPCONV_STATUS_MEMORY",
        c"SEPCONV_STATUS_NOT_A_HANDLE",
        c"SEPCONV_STATUS_PANICKED",
        c"SEPCONV_STATUS_BLOB",
        c"SEPCONV_STATUS_OTHER_BLOB",
    ];
    let name = usize::try_from(status).ok().and_then(|status| NAMES.get(status));
    name.unwrap_or(&c"unknown").as_ptr()
}

/// Keeps `failure`'s message for the calling thread.
fn report(failure: Failure) -> sepconv_status {
    let message = CString::new(failure.message.replace('\0', " ")).ok();
    // A thread that is ending keeps none.
    let _ = MESSAGE.try_with(|place| place.replace(message));
    failure.status
}

/// The status of `call`; no panic comes out of it. Where panics abort, wrong arguments give their status all the same:
/// they are checked, not caught.
pub(super) fn guard(call: impl FnOnce() -> Checked<()>) -> sepconv_status {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => sepconv_status::Ok,
        Ok(Err(failure)) => report(failure),
        Err(panic) => report(panicked(panic)),
    }
}

/// The failure that a panic is.
fn panicked(panic: Box<dyn Any + Send>) -> Failure {
    Failure::new(sepconv_status::Panicked, format!("the library panicked: {}", text_of(panic)))
}

/// What a panic said; nothing where it was no text.
pub(super) fn text_of(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    // What its drop does, nobody knows.
    std::mem::forget(panic);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> String {
        // SAFETY: the message ends in NUL, and no call fails meanwhile.
        unsafe { CStr::from_ptr(sepconv_last_message()) }.to_str().unwrap().into()
    }

    #[test]
    fn each_thread_has_the_message_of_its_last_failure() {
        assert_eq!((guard(|| Ok(())), message()), (sepconv_status::Ok, String::new()));
        assert_eq!(guard(|| Err(Error::memory("image", 1).into())), sepconv_status::Memory);
        assert_eq!(message(), "image: 4 bytes of memory are not to be had; ask for less or free some");
        std::thread::spawn(|| assert_eq!(message(), "")).join().unwrap();
        assert_eq!(guard(|| Ok(())), sepconv_status::Ok);
        assert!(message().starts_with("image: "));
    }

    #[test]
    fn no_panic_comes_out() {
        let status = guard(|| panic!("{}", "as formatted\0text"));
        assert_eq!((status, &*message()), (sepconv_status::Panicked, "the library panicked: as formatted text"));
        assert_eq!(guard(|| panic!("as text")), sepconv_status::Panicked);
        assert_eq!(message(), "the library panicked: as text");
        assert_eq!(guard(|| std::panic::panic_any(7)), sepconv_status::Panicked);
        assert_eq!(message(), "the library panicked: ");
    }
}
