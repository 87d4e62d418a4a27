//! Buffers whose surroundings nobody may touch.

use std::ops::{Deref, DerefMut};

use crate::Image;

/// Which end of a buffer touches a guard: reads and writes past that end fault (where the system has guard pages) or,
/// if they are writes, are found when the buffer is checked (elsewhere).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Guard {
    /// The first element follows the guard.
    Before,
    /// The guard follows the last element.
    #[default]
    After,
}

/// What fills memory of an output that nobody may write: a NaN of its own.
const CANARY: u32 = 0x7fc5_a5a5;

/// What lies beside numbers that are only read: another NaN, so that no kernel that reads it can write an output's canary.
const UNREAD: u32 = 0x7fda_3c3c;

/// Elements of canary on a buffer's unguarded side, and the most that a shift moves it.
const SLACK: usize = 16;

/// `length` elements that touch a guard on one side; on the other side lies canary. On Linux the memory is shared with
/// the children of the process, so that a kernel may run in one.
#[derive(Debug)]
pub struct Guarded {
    memory: Memory,
    start: usize,
    length: usize,
}

impl Guarded {
    /// All canary. `shift` elements (0..16) between the guard before and the first element vary the alignment.
    pub fn new(length: usize, guard: Guard, shift: usize) -> Self {
        Self::filled(CANARY, length, guard, shift)
    }

    fn filled(bits: u32, length: usize, guard: Guard, shift: usize) -> Self {
        let mut memory = Memory::new(length + SLACK);
        memory.elements().fill(f32::from_bits(bits));
        let start = match guard {
            Guard::Before => Memory::MARGIN + shift % SLACK,
            Guard::After => memory.elements().len() - Memory::MARGIN - length,
        };
        Guarded { memory, start, length }
    }

    /// Tight `values` to be read, without gaps.
    pub fn holding(values: &[f32], guard: Guard, shift: usize) -> Self {
        let mut buffer = Guarded::filled(UNREAD, values.len(), guard, shift);
        buffer.copy_from_slice(values);
        buffer
    }

    /// The first element outside `image` that is no longer canary, counted from the buffer's first.
    pub fn written_outside(&self, image: &Image) -> Option<isize> {
        let mut inside = vec![false; self.memory.shared().len()];
        image.places().for_each(|at| inside[self.start + at] = true);
        let written = self.memory.shared().iter().zip(inside).position(|(x, inside)| !inside && !is_canary(*x))?;
        Some(written as isize - self.start as isize)
    }

    /// Panics where [`written_outside`](Self::written_outside) finds something.
    pub fn assert_untouched_outside(&self, image: &Image, context: &str) {
        if let Some(at) = self.written_outside(image) {
            panic!("{context}: wrote element {at} outside the image");
        }
    }

    /// The bits of everything, guards' canary included.
    pub(crate) fn snapshot(&self) -> Vec<u32> {
        // What a kernel does to memory that it only borrows is no business of the optimiser's: it has to be looked at.
        // SAFETY: a reference is readable.
        let look = |x: &f32| unsafe { std::ptr::from_ref(x).read_volatile() };
        self.memory.shared().iter().map(|x| look(x).to_bits()).collect()
    }

    /// The first element that differs from the snapshot, counted from the buffer's first.
    pub(crate) fn changed_since(&self, snapshot: &[u32]) -> Option<isize> {
        let changed = self.snapshot().iter().zip(snapshot).position(|(now, before)| now != before)?;
        Some(changed as isize - self.start as isize)
    }
}

/// Whether a value has the bits that fill what nobody has written.
pub fn is_canary(value: f32) -> bool {
    value.to_bits() == CANARY
}

/// Whether a value comes from what lies beside the numbers that a kernel may read: the NaN keeps its payload.
pub(crate) fn comes_from_beside(value: f32) -> bool {
    value.to_bits() & !(1 << 31) == UNREAD
}

impl Deref for Guarded {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.memory.shared()[self.start..self.start + self.length]
    }
}

impl DerefMut for Guarded {
    fn deref_mut(&mut self) -> &mut [f32] {
        let (start, length) = (self.start, self.length);
        &mut self.memory.elements()[start..start + length]
    }
}

/// A guarded buffer that holds tight NHWC `values` to be read as `image` says, NaN in its gaps.
pub fn spread(values: &[f32], image: &Image, guard: Guard, shift: usize) -> Guarded {
    let mut buffer = Guarded::filled(UNREAD, image.extent(), guard, shift);
    image.scatter(values, &mut buffer);
    buffer
}

/// The tight NHWC values that `buffer` holds as `image` says.
pub fn gather(buffer: &[f32], image: &Image) -> Vec<f32> {
    image.gather(buffer)
}

/// Whole pages between two pages that may not be touched.
#[cfg(all(target_os = "linux", not(miri)))]
#[derive(Debug)]
struct Map {
    start: *mut f32,
    bytes: usize,
    page: usize,
}

// SAFETY: the memory belongs to its map as a `Vec`'s does: a shared reference only reads.
#[cfg(all(target_os = "linux", not(miri)))]
unsafe impl Sync for Map {}

#[cfg(all(target_os = "linux", not(miri)))]
impl Map {
    /// The system's memory in pages of `page` bytes.
    fn new(bytes: usize, page: usize) -> Self {
        let (access, sharing) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh anonymous mapping, at an address of the system's choice.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes + 2 * page, access, sharing, -1, 0) };
        assert_ne!(start, libc::MAP_FAILED, "the system has no memory for a guarded buffer");
        // Some emulators read what a vector load masks out, which no processor does.
        let readable = std::env::var_os("SEPCONV_READABLE_GUARDS").is_some();
        let access = if readable { libc::PROT_READ } else { libc::PROT_NONE };
        for offset in [0, page + bytes] {
            // SAFETY: the first and the last page of the mapping, which no slice covers.
            let closed = unsafe { libc::mprotect(start.byte_add(offset), page, access) };
            assert_eq!(closed, 0, "the system closes no page");
        }
        Map { start: start.cast(), bytes, page }
    }
}

#[cfg(all(target_os = "linux", not(miri)))]
impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made; no slice of it outlives `self`.
        unsafe { libc::munmap(self.start.cast(), self.bytes + 2 * self.page) };
    }
}

#[cfg(all(target_os = "linux", not(miri)))]
thread_local! {
    /// Maps of a few pages that were used before: to make one costs more than a small case.
    static FREE: std::cell::RefCell<Vec<Map>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// A map that goes back to where it came from.
#[cfg(all(target_os = "linux", not(miri)))]
#[derive(Debug)]
struct Memory(std::mem::ManuallyDrop<Map>);

#[cfg(all(target_os = "linux", not(miri)))]
impl Memory {
    /// Elements of canary at each end.
    const MARGIN: usize = 0;
    /// Maps that a thread keeps.
    const KEPT: usize = 32;

    fn new(length: usize) -> Self {
        // SAFETY: `sysconf` reads a constant of the system.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let bytes = (length * size_of::<f32>()).next_multiple_of(page);
        let used = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            let at = free.iter().position(|map| map.bytes == bytes)?;
            Some(free.swap_remove(at))
        });
        Memory(std::mem::ManuallyDrop::new(used.ok().flatten().unwrap_or_else(|| Map::new(bytes, page))))
    }

    fn shared(&self) -> &[f32] {
        // SAFETY: the open pages of the map, as long as `self` lives.
        unsafe { std::slice::from_raw_parts(self.0.start.byte_add(self.0.page), self.0.bytes / size_of::<f32>()) }
    }

    fn elements(&mut self) -> &mut [f32] {
        // SAFETY: as in `shared`, borrowed uniquely.
        unsafe { std::slice::from_raw_parts_mut(self.0.start.byte_add(self.0.page), self.0.bytes / size_of::<f32>()) }
    }
}

#[cfg(all(target_os = "linux", not(miri)))]
impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: taken once, here.
        let map = unsafe { std::mem::ManuallyDrop::take(&mut self.0) };
        // A thread that ends keeps nothing.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() == Self::KEPT {
                free.remove(0);
            }
            free.push(map);
        });
    }
}

/// Canary alone.
#[cfg(not(all(target_os = "linux", not(miri))))]
#[derive(Debug)]
struct Memory(Vec<f32>);

#[cfg(not(all(target_os = "linux", not(miri))))]
impl Memory {
    /// Elements of canary at each end.
    const MARGIN: usize = 64;

    fn new(length: usize) -> Self {
        Memory(vec![0.0; length + 2 * Self::MARGIN])
    }

    fn shared(&self) -> &[f32] {
        &self.0
    }

    fn elements(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Gap, Layout};

    #[test]
    fn what_is_written_outside_is_found() {
        for layout in [Layout::Nhwc, Layout::Nchw] {
            let image = Image::new((2, 3, 4), layout, Gap { inner: 2, outer: 3 });
            let values: Vec<f32> = (0u8..24).map(f32::from).collect();
            for guard in [Guard::Before, Guard::After] {
                let read = spread(&values, &image, guard, 5);
                assert_eq!(gather(&read, &image), values);
                assert_eq!(read.iter().filter(|x| comes_from_beside(-**x)).count(), image.extent() - 24);
                let mut buffer = Guarded::new(image.extent(), guard, 5);
                image.scatter(&values, &mut buffer);
                assert_eq!(gather(&buffer, &image), values);
                assert_eq!(buffer.written_outside(&image), None);
                let gap = (0..image.extent()).find(|&at| is_canary(buffer[at])).unwrap();
                buffer[gap] = 1.0;
                assert_eq!(buffer.written_outside(&image), Some(gap as isize));
            }
        }
    }

    /// Memory that was used before is as good as new.
    #[test]
    fn memory_is_used_again() {
        for length in [3, 3000, 3] {
            let mut buffer = Guarded::new(length, Guard::After, 0);
            assert!(buffer.iter().all(|x| is_canary(*x)));
            buffer.fill(1.0);
        }
    }

    #[cfg(all(target_os = "linux", not(miri)))]
    #[test]
    fn the_guarded_end_touches_the_guard() {
        let page = Memory::new(1).0.page;
        let after = Guarded::new(7, Guard::After, 0);
        assert_eq!(after.as_ptr_range().end.addr() % page, 0);
        assert_eq!(Guarded::new(7, Guard::Before, 0).as_ptr().addr() % page, 0);
        assert_eq!(Guarded::new(7, Guard::Before, 3).as_ptr().addr() % page, 12);
    }
}
