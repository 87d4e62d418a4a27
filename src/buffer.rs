//! Memory for weights and activations: on cache lines, large runs in huge pages.

use std::alloc::{self, Layout};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;
use std::{fmt, slice};

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
    fn new(length: usize) -> Self {
        let bytes = length.saturating_mul(size_of::<f32>()).max(1);
        let huge = cfg!(target_os = "linux") && bytes >= HUGE_PAGE / 2;
        let align = if huge { HUGE_PAGE } else { LINE * size_of::<f32>() };
        let Ok(layout) = Layout::from_size_align(bytes, align).map(|layout| layout.pad_to_align()) else {
            panic!("{length} elements exceed the address space")
        };
        // SAFETY: the layout is not of size zero.
        let memory = unsafe { alloc::alloc(layout) };
        let Some(start) = NonNull::new(memory.cast()) else { alloc::handle_alloc_error(layout) };
        #[cfg(target_os = "linux")]
        if huge {
            // SAFETY: the range is the allocation. It is advice: a system that has no huge pages says no, which is
            // well.
            unsafe { libc::madvise(memory.cast(), layout.size(), libc::MADV_HUGEPAGE) };
        }
        Memory { start, layout }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and freed once.
        unsafe { alloc::dealloc(self.start.as_ptr().cast(), self.layout) };
    }
}

/// A slice of f32 that starts on a cache line (where it has elements), zero when new.
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
    /// `length` zeros.
    pub fn zeroed(length: usize) -> Self {
        Arena::new(length).zeroed(length)
    }
}

impl Default for AlignedBuffer {
    fn default() -> Self {
        AlignedBuffer { _memory: None, start: NonNull::dangling(), length: 0 }
    }
}

impl Clone for AlignedBuffer {
    fn clone(&self) -> Self {
        let mut copy = Self::zeroed(self.length);
        copy.copy_from_slice(self);
        copy
    }
}

impl fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
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
    pub fn new(length: usize) -> Self {
        Arena { memory: Arc::new(Memory::new(length)), used: 0 }
    }

    /// A buffer of `length` zeros.
    pub fn zeroed(&mut self, length: usize) -> AlignedBuffer {
        let room = self.memory.layout.size() / size_of::<f32>();
        if length > room - self.used {
            *self = Arena::new(length);
        }
        // SAFETY: the elements from `used` to `used + length` lie inside the memory and no other buffer has them.
        let start = unsafe {
            let start = self.memory.start.add(self.used);
            start.write_bytes(0, length);
            start
        };
        self.used = (self.used + length).next_multiple_of(LINE);
        AlignedBuffer { _memory: Some(self.memory.clone()), start, length }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_of_an_arena_are_apart() {
        for capacity in [0, 1, 100, HUGE_PAGE / 4] {
            let mut arena = Arena::new(capacity);
            let mut buffers: Vec<AlignedBuffer> = (0..200).map(|length| arena.zeroed(length * 37 % 500)).collect();
            drop(arena);
            for (value, buffer) in buffers.iter_mut().enumerate() {
                assert!(buffer.iter().all(|&x| x == 0.0));
                assert_eq!(buffer.as_ptr().addr() % 64 * usize::from(!buffer.is_empty()), 0);
                buffer.fill(value as f32);
            }
            for (value, buffer) in buffers.iter().enumerate() {
                assert_eq!(buffer.len(), value * 37 % 500);
                assert!(buffer.iter().all(|&x| x == value as f32));
                assert_eq!(buffer.clone()[..], buffer[..]);
            }
        }
        assert!(AlignedBuffer::default().is_empty());
    }
}
