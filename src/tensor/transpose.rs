//! Matrices with their rows and columns exchanged, four by four.

use core::array;
use core::ops::Range;

use super::buffer::LINE;

/// So many elements before a row is read there, its cache line is asked for: a processor sees no pattern in rows that each
/// give one line in turn.
const AHEAD: usize = 6 * LINE;

/// A transposition of small matrices whose rows follow each other without gaps, and so do the columns in what they become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transposition {
    pub rows: usize,
    pub columns: usize,
}

impl Transposition {
    /// What brings the elements at these places side by side, in their order, if a transposition does: of four rows or more, and
    /// of more columns than one.
    pub fn of(places: impl ExactSizeIterator<Item = usize> + Clone) -> Option<Transposition> {
        let (mut begin, count) = (places.clone(), places.len());
        let (first, second) = (begin.next()?, begin.next()?);
        let columns = second.checked_sub(first).filter(|&columns| columns > 1)?;
        let rows = count / columns;
        let regular =
            places.enumerate().all(|(at, place)| place == first + at % rows.max(1) * columns + at / rows.max(1));
        (rows >= 4 && rows * columns == count && regular).then_some(Transposition { rows, columns })
    }

    /// The blocks of four rows by at most four columns that hold all elements.
    pub fn blocks(self) -> usize {
        self.rows.div_ceil(4) * self.columns.div_ceil(4)
    }
}

/// Exchanges rows and columns of `rows` x `columns` elements: element `column` of row `row`, which begins `row * stride` after
/// `from`, goes to `place(column) + row` after `to`.
///
/// # Safety
/// Every element must be readable where it comes from and writable where it goes to, and the two share no memory.
pub(crate) unsafe fn transpose(
    (rows, columns): (usize, usize),
    (from, stride): (*const f32, usize),
    to: *mut f32,
    place: impl Fn(usize) -> usize,
) {
    let whole = |size: usize| size - size % 4;
    let of = |row: usize| (from.wrapping_add(row * stride), stride);
    // A cache line of some rows at a time.
    for line in (0..whole(columns)).step_by(LINE) {
        for row in (0..whole(rows)).step_by(4) {
            (row..row + 4).for_each(|row| prefetch(from.wrapping_add(row * stride + line + AHEAD)));
            // SAFETY: by this function's own contract.
            unsafe {
                transpose_rows::<4>(line..whole(columns).min(line + LINE), of(row), to.wrapping_add(row), &place)
            };
        }
    }
    // Rows that fill no block, such as the three colours of an image, and then columns.
    let (first, last) = (whole(rows), whole(columns));
    let (few, begin) = (of(first), to.wrapping_add(first));
    // SAFETY: by this function's own contract.
    unsafe {
        match rows - first {
            1 => transpose_rows::<1>(0..last, few, begin, &place),
            2 => transpose_rows::<2>(0..last, few, begin, &place),
            3 => transpose_rows::<3>(0..last, few, begin, &place),
            _ => {}
        }
    }
    for (column, row) in (last..columns).flat_map(|column| (0..rows).map(move |row| (column, row))) {
        // SAFETY: by this function's own contract.
        unsafe { to.add(place(column) + row).write(from.add(row * stride + column).read()) };
    }
}

/// As [`transpose`] of `ROWS` rows, at most four, and of some columns, whose number is a multiple of four.
///
/// # Safety
/// As for [`transpose`].
#[inline(always)]
unsafe fn transpose_rows<const ROWS: usize>(
    columns: Range<usize>,
    (from, stride): (*const f32, usize),
    to: *mut f32,
    place: &impl Fn(usize) -> usize,
) {
    for column in columns.step_by(4) {
        // SAFETY: by this function's own contract.
        unsafe {
            let row = |row: usize| from.add(row * stride + column).cast::<[f32; 4]>().read();
            let block = array::from_fn(|of| if of < ROWS { row(of) } else { [0.0; 4] });
            for (of, run) in transposed(block).into_iter().enumerate() {
                to.add(place(column + of)).cast::<[f32; ROWS]>().write(array::from_fn(|at| run[at]));
            }
        }
    }
}

/// Exchanges rows and columns of four rows of `COLUMNS` elements, at most four: rows begin `stride` apart, columns `to_stride`.
///
/// # Safety
/// As for [`transpose`].
#[inline(always)]
pub(crate) unsafe fn transpose_block<const COLUMNS: usize>(
    (from, stride): (*const f32, usize),
    (to, to_stride): (*mut f32, usize),
) {
    // SAFETY: by this function's own contract.
    let block = array::from_fn(|row| unsafe {
        let mut elements = [0.0; 4];
        elements[..COLUMNS].copy_from_slice(&from.add(row * stride).cast::<[f32; COLUMNS]>().read());
        elements
    });
    for (column, run) in transposed(block).into_iter().take(COLUMNS).enumerate() {
        // SAFETY: by this function's own contract.
        unsafe { to.add(column * to_stride).cast::<[f32; 4]>().write(run) };
    }
}

/// Four rows as four columns.
#[cfg(all(target_arch = "x86_64", target_feature = "sse"))]
#[inline(always)]
fn transposed(rows: [[f32; 4]; 4]) -> [[f32; 4]; 4] {
    use core::arch::x86_64::{__m128, _mm_movehl_ps, _mm_movelh_ps, _mm_unpackhi_ps, _mm_unpacklo_ps};
    let [a, b, c, d]: [__m128; 4] = bytemuck::cast(rows);
    // SAFETY: every x86-64 processor of this target has SSE.
    let columns = unsafe {
        let (low_ab, low_cd) = (_mm_unpacklo_ps(a, b), _mm_unpacklo_ps(c, d));
        let (high_ab, high_cd) = (_mm_unpackhi_ps(a, b), _mm_unpackhi_ps(c, d));
        [
            _mm_movelh_ps(low_ab, low_cd),
            _mm_movehl_ps(low_cd, low_ab),
            _mm_movelh_ps(high_ab, high_cd),
            _mm_movehl_ps(high_cd, high_ab),
        ]
    };
    bytemuck::cast(columns)
}

/// Four rows as four columns.
#[cfg(not(all(target_arch = "x86_64", target_feature = "sse")))]
#[inline(always)]
fn transposed(rows: [[f32; 4]; 4]) -> [[f32; 4]; 4] {
    array::from_fn(|column| array::from_fn(|row| rows[row][column]))
}

/// Asks for the cache line at `address`, wherever that is.
#[inline(always)]
fn prefetch(address: *const f32) {
    #[cfg(all(target_arch = "x86_64", target_feature = "sse", not(miri)))]
    // SAFETY: every x86-64 processor of this target has SSE, and a prefetch of any address is well.
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", target_feature = "sse", not(miri))))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn every_size_is_transposed_and_nothing_else_is_written() {
        for (rows, columns) in
            (0..10).flat_map(|rows| [0, 1, 2, 3, 4, 5, 15, 16, 17, 23].map(|columns| (rows, columns)))
        {
            let (stride, to_stride) = (columns + 3, rows + 2);
            let from: Vec<f32> = (0..rows * stride).map(|index| index as f32).collect();
            let mut to = vec![-1.0; columns * to_stride];
            // The columns the other way round.
            let place = |column: usize| (columns - 1 - column) * to_stride;
            // SAFETY: both hold every element.
            unsafe { transpose((rows, columns), (from.as_ptr(), stride), to.as_mut_ptr(), place) };
            for (index, &value) in to.iter().enumerate() {
                let (column, row) = (columns - 1 - index / to_stride, index % to_stride);
                let expected = if row < rows { from[row * stride + column] } else { -1.0 };
                assert_eq!(value, expected, "{rows} x {columns}, row {row}, column {column}");
            }
        }
    }

    #[test]
    fn a_transposition_is_known_by_its_places() {
        let of = |places: &[usize]| Transposition::of(places.iter().copied());
        assert_eq!(of(&[7, 9, 11, 13, 8, 10, 12, 14]), Some(Transposition { rows: 4, columns: 2 }));
        assert_eq!(of(&[7, 9, 11, 13, 8, 10, 14, 12]), None, "two places exchanged");
        assert_eq!(of(&[7, 9, 11, 13, 8, 10, 12]), None, "one is missing");
        assert_eq!(of(&[0, 4, 1, 5, 2, 6, 3, 7]), None, "two rows");
        assert_eq!(of(&[0, 1, 2, 3, 4]), None, "one column");
        assert_eq!(of(&[5, 3, 1]), None);
        assert_eq!(of(&[0, 9]), None, "fewer places than columns");
        assert_eq!(of(&[4]), None);
        assert_eq!(of(&[]), None);
        assert_eq!(Transposition { rows: 18, columns: 8 }.blocks(), 10);
        assert_eq!(Transposition { rows: 8, columns: 3 }.blocks(), 2);
    }
}
