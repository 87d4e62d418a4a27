//! Memory for weights and activations: on cache lines, large runs in huge pages.

use alloc::alloc::{Layout, alloc, dealloc};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem::MaybeUninit;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::{fmt, slice};

use crate::error::{Error, Result};

/// Elements of a cache line.
pub(crate) const LINE: usize = 16;

/// Bytes of a huge page on x86-64, and on aarch64 with pages of 4 KB.
const HUGE_PAGE: usize = 2 << 20;

/// One allocation, not initialised.
struct Memory {
    start: NonNull<f32>,
    layout: Layout,
}

// SAFETY: the memory belongs to its `Memory` as a `Vec`'s does, and only the buffers made of it give access.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Room for `length` elements. Where that fills half a huge page, Linux is asked for huge pages (and the room
    /// rounded up to them): the weights of a network lie on more pages of 4 KB than the processor keeps addresses
    /// of.
    fn new(length: usize) -> Result<Self> {
        let bytes = length.saturating_mul(size_of::<f32>()).max(1);
        let huge = cfg!(target_os = "linux") && bytes >= HUGE_PAGE / 2;
        let align = if huge { HUGE_PAGE } else { LINE * size_of::<f32>() };
        let none = || Error::memory("buffer", length);
        let layout = Layout::from_size_align(bytes, align).map_err(|_| none())?.pad_to_align();
        // SAFETY: the layout is not of size zero.
        let memory = unsafe { alloc(layout) };
        let start = NonNull::new(memory.cast()).ok_or_else(none)?;
        #[cfg(all(feature = "std", target_os = "linux", not(miri)))]
        if huge {
            // SAFETY: the range is the allocation. It is advice: a system that has no huge pages says no, which is
            // well.
            unsafe { libc::madvise(memory.cast(), layout.size(), libc::MADV_HUGEPAGE) };
        }
        Ok(Memory { start, layout })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and freed once.
        unsafe { dealloc(self.start.as_ptr().cast(), self.layout) };
    }
}

/// A slice of f32 that starts on a cache line (where it has elements), zero when new.
///
/// ```
/// let mut buffer = sepconv::AlignedBuffer::zeroed(100)?;
/// buffer[99] = 1.0;
/// assert_eq!((buffer.len(), buffer.iter().sum::<f32>()), (100, 1.0));
/// assert_eq!(buffer.as_ptr().addr() % 64, 0);
/// # Ok::<(), sepconv::Error>(())
/// ```
pub struct AlignedBuffer {
    /// What the slice is a part of, which no other buffer has.
    _memory: Option<Arc<Memory>>,
    start: NonNull<f32>,
    length: usize,
}

// SAFETY: a buffer owns its elements as a `Vec` does.
unsafe impl Send for AlignedBuffer {}
// SAFETY: as above.
unsafe impl Sync for AlignedBuffer {}

impl AlignedBuffer {
    /// `length` zeros; an error where there is no room for them.
    pub fn zeroed(length: usize) -> Result<Self> {
        Arena::new(length)?.zeroed(length)
    }
}

impl Default for AlignedBuffer {
    fn default() -> Self {
        AlignedBuffer { _memory: None, start: NonNull::dangling(), length: 0 }
    }
}

impl fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuffer({} elements)", self.length)
    }
}

impl Deref for AlignedBuffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: `start` begins `length` initialised elements of the memory, which lives as long as the buffer.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as for `deref`; no other buffer has these elements, and the borrow is unique.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

/// Buffers side by side in few allocations, so that small ones share huge pages. The memory is freed with the last of
/// them.
pub(crate) struct Arena {
    memory: Arc<Memory>,
    used: usize,
}

impl Arena {
    /// An arena that begins with room for `length` elements.
    pub fn new(length: usize) -> Result<Self> {
        Ok(Arena { memory: Arc::new(Memory::new(length)?), used: 0 })
    }

    /// A buffer of `length` zeros.
    pub fn zeroed(&mut self, length: usize) -> Result<AlignedBuffer> {
        // SAFETY: every element is written.
        unsafe { self.filled(length, |elements| elements.fill(MaybeUninit::new(0.0))) }
    }

    /// A buffer of `length` elements, those that `fill` writes.
    ///
    /// # Safety
    /// `fill` must write every one.
    pub unsafe fn filled(
        &mut self,
        length: usize,
        fill: impl FnOnce(&mut [MaybeUninit<f32>]),
    ) -> Result<AlignedBuffer> {
        let room = self.memory.layout.size() / size_of::<f32>();
        if length > room - self.used {
            *self = Arena::new(length)?;
        }
        // SAFETY: the elements from `used` to `used + length` lie inside the memory and no other buffer has them.
        let start = unsafe { self.memory.start.add(self.used) };
        // SAFETY: as above; they may be anything.
        fill(unsafe { slice::from_raw_parts_mut(start.as_ptr().cast(), length) });
        // The memory is whole lines, since its size is padded to its alignment.
        self.used = (self.used + length).next_multiple_of(LINE);
        Ok(AlignedBuffer { _memory: Some(self.memory.clone()), start, length })
    }
}

/// An empty vector with room for `length` elements, or an error that says `what` they were for.
pub(crate) fn room<T>(what: &str, length: usize) -> Result<Vec<T>> {
    let mut values = Vec::new();
    let bytes = length.saturating_mul(size_of::<T>());
    values.try_reserve_exact(length).map_err(|_| Error::Memory { what: what.into(), bytes })?;
    Ok(values)
}

/// The first `length` of the values as a vector, or an error that says `what` they were for.
pub(crate) fn collect(what: &str, length: usize, values: impl Iterator<Item = f32>) -> Result<Vec<f32>> {
    let mut all = room(what, length)?;
    all.extend(values.take(length));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_of_an_arena_are_apart() {
        for capacity in [0, 1, 100, HUGE_PAGE / 4] {
            let mut arena = Arena::new(capacity).unwrap();
            let mut buffers: Vec<AlignedBuffer> =
                (0..200).map(|length| arena.zeroed(length * 37 % 500).unwrap()).collect();
            drop(arena);
            for (value, buffer) in buffers.iter_mut().enumerate() {
                assert!(buffer.iter().all(|&x| x == 0.0));
                assert_eq!(buffer.as_ptr().addr() % 64 * usize::from(!buffer.is_empty()), 0);
                buffer.fill(value as f32);
            }
            for (value, buffer) in buffers.iter().enumerate() {
                assert_eq!(buffer.len(), value * 37 % 500);
                assert!(buffer.iter().all(|&x| x == value as f32));
            }
        }
        assert!(AlignedBuffer::default().is_empty());
    }

    #[test]
    fn memory_that_is_not_to_be_had_is_an_error() {
        // The last is refused by the allocator, where addresses have so many bits.
        let far = usize::try_from(1u64 << 58).unwrap_or(usize::MAX);
        for length in [usize::MAX, isize::MAX as usize, isize::MAX as usize / 4, far] {
            let error = AlignedBuffer::zeroed(length).expect_err("no machine has as much");
            assert_eq!(error, Error::Memory { what: "buffer".into(), bytes: length.saturating_mul(4) });
        }
        assert!(collect("values", usize::MAX, std::iter::empty()).is_err());
    }
}
