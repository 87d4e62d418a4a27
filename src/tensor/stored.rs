//! Packed weights: arrays that are filled once and then only read, in memory of their own or in that of a saved plan.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;
use core::ops::{Deref, Range};
use core::ptr::NonNull;

use super::buffer::{AlignedBuffer, LINE};
use crate::error::{Error, Result};

/// An array of packed weights, which starts on a cache line.
pub(crate) enum Stored {
    Own(AlignedBuffer),
    Lent(Lent),
}

/// Elements of memory that `_owner` keeps where it is.
pub(crate) struct Lent {
    _owner: Arc<dyn Any + Send + Sync>,
    start: NonNull<f32>,
    length: usize,
}

// SAFETY: the elements are only read, and their owner is `Send` and `Sync`.
unsafe impl Send for Lent {}
// SAFETY: as above.
unsafe impl Sync for Lent {}

impl Deref for Stored {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Stored::Own(buffer) => buffer,
            // SAFETY: `start` begins `length` elements that the owner lent to `Saved`; it lives as long as this does.
            Stored::Lent(lent) => unsafe { core::slice::from_raw_parts(lent.start.as_ptr(), lent.length) },
        }
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if matches!(self, Stored::Own(_)) { "Own" } else { "Lent" };
        write!(f, "{kind}({} elements)", self.len())
    }
}

/// The arrays of a saved plan: each begins on a cache line, right after the one before.
pub(crate) struct Saved {
    owner: Arc<dyn Any + Send + Sync>,
    /// What the owner holds of them, from the next array on.
    rest: *const [f32],
    /// The lengths of the arrays that are left.
    lengths: alloc::vec::IntoIter<usize>,
}

impl Saved {
    /// The arrays that lie in `bytes` of `owner`, of so many elements each; borrowed where they start on a cache line, else
    /// copied. An error where the range is not in `owner`, or its size not that of the arrays.
    pub fn new<T>(owner: Arc<T>, bytes: Range<usize>, lengths: Vec<usize>) -> Result<Self>
    where
        T: AsRef<[u8]> + Send + Sync + 'static,
    {
        let whole = (*owner).as_ref();
        let bytes = whole
            .get(bytes.clone())
            .ok_or_else(|| Error::blob(format!("its weights lie in bytes {bytes:?}, and it has {}", whole.len())))?;
        let taken =
            lengths.iter().try_fold(0usize, |sum, length| sum.checked_add(length.checked_next_multiple_of(LINE)?));
        let size = taken.and_then(|taken| taken.checked_mul(size_of::<f32>()));
        if size != Some(bytes.len()) {
            return Err(Error::blob(format!("its weights have {} bytes, and its arrays take {size:?}", bytes.len())));
        }
        let lengths = lengths.into_iter();
        if bytes.as_ptr().addr().is_multiple_of(LINE * size_of::<f32>()) {
            let rest: *const [f32] = bytemuck::cast_slice::<u8, f32>(bytes);
            // The owner's bytes stay what they are: it is in an `Arc`, so nobody moves it or has it alone.
            return Ok(Saved { owner, rest, lengths });
        }
        let mut copy = AlignedBuffer::zeroed(bytes.len() / size_of::<f32>())?;
        bytemuck::cast_slice_mut::<f32, u8>(&mut copy).copy_from_slice(bytes);
        let copy = Arc::new(copy);
        let rest: *const [f32] = &**copy;
        Ok(Saved { owner: copy, rest, lengths })
    }

    /// The next array; an error where it has not `length` elements.
    pub fn array(&mut self, length: usize) -> Result<Stored> {
        let saved = self.lengths.next();
        if saved != Some(length) {
            return Err(Error::blob(format!("an array of packed weights has {saved:?} elements, expected {length}")));
        }
        // SAFETY: the owner, which is held here, keeps the elements where they are and shares them only to be read.
        let rest = unsafe { &*self.rest };
        // `new` checked that all arrays fit, each to the end of its last line.
        let (array, rest) = rest.split_at(length.next_multiple_of(LINE));
        self.rest = rest;
        Ok(Stored::Lent(Lent { _owner: self.owner.clone(), start: NonNull::from(array).cast(), length }))
    }

    /// An error where arrays are left.
    pub fn end(self) -> Result<()> {
        match self.lengths.len() {
            0 => Ok(()),
            left => Err(Error::blob(format!("it has {left} arrays of packed weights that no layer reads"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers from 0 on, as the bytes from one of them on.
    struct Bytes(AlignedBuffer, usize);

    impl AsRef<[u8]> for Bytes {
        fn as_ref(&self) -> &[u8] {
            &bytemuck::cast_slice(&self.0)[self.1..]
        }
    }

    fn bytes(elements: usize, first: usize) -> Arc<Bytes> {
        let mut buffer = AlignedBuffer::zeroed(elements).unwrap();
        buffer.iter_mut().enumerate().for_each(|(at, element)| *element = at as f32);
        Arc::new(Bytes(buffer, first))
    }

    #[test]
    fn arrays_are_borrowed_from_lines_and_else_copied() {
        // Of 3, 0, 16 and 17 elements, which take 1, 0, 1 and 2 lines.
        let lengths = [3, 0, 16, 17];
        for first in [0, 4, 6, 64] {
            let owner = bytes(128, first);
            let mut saved = Saved::new(owner.clone(), 64..5 * 64, lengths.to_vec()).unwrap();
            let arrays = lengths.map(|length| saved.array(length).unwrap());
            assert_eq!(saved.end(), Ok(()));
            let whole = (*owner).as_ref().as_ptr_range();
            let expected = (*owner).as_ref()[64..].to_vec();
            drop(owner);
            for (array, line) in arrays.iter().zip([0, 1, 1, 2]) {
                let bytes: &[u8] = bytemuck::cast_slice(array);
                assert_eq!(bytes, &expected[line * 64..][..bytes.len()]);
                assert!(array.as_ptr().addr().is_multiple_of(64), "from byte {first} on");
                assert_eq!(whole.contains(&bytes.as_ptr()), first % 64 == 0, "from byte {first} on");
            }
        }
    }

    #[test]
    fn other_lengths_are_errors() {
        let owner = bytes(64, 0);
        let saved = |range: Range<usize>, lengths: &[usize]| Saved::new(owner.clone(), range, lengths.to_vec());
        for (range, lengths) in [
            (0..257, &[64][..]),
            (0..64, &[17]),
            (0..128, &[16]),
            (257..300, &[]),
            (0..64, &[usize::MAX]),
            (0..64, &[usize::MAX - 15, 32]),
        ] {
            assert!(saved(range.clone(), lengths).is_err(), "{range:?}, {lengths:?}");
        }
        assert!(saved(0..64, &[16]).unwrap().array(15).is_err());
        let mut last = saved(0..64, &[16]).unwrap();
        assert!(last.array(16).is_ok() && last.array(0).is_err());
        assert!(saved(0..64, &[16]).unwrap().end().is_err());
    }
}
