//! What a saved plan is written with and read by: numbers of eight bytes, the least significant first, and texts.
#![forbid(unsafe_code)]

use alloc::format;
use alloc::vec::Vec;

use crate::error::{Error, Result};
use crate::tensor::{Clamp, Padding, Shape, Window};

/// Appends values to bytes.
#[derive(Debug, Default)]
pub(crate) struct Writer(pub Vec<u8>);

impl Writer {
    pub fn bits(&mut self, bits: u64) {
        self.0.extend(bits.to_le_bytes());
    }

    pub fn number(&mut self, number: usize) {
        self.bits(number as u64);
    }

    pub fn numbers(&mut self, numbers: impl IntoIterator<Item = usize>) {
        numbers.into_iter().for_each(|number| self.number(number));
    }

    pub fn flag(&mut self, flag: bool) {
        self.bits(flag.into());
    }

    pub fn float(&mut self, float: f32) {
        self.bits(float.to_bits().into());
    }

    pub fn text(&mut self, text: &str) {
        self.number(text.len());
        self.0.extend(text.as_bytes());
    }

    pub fn shape(&mut self, Shape { height, width, channels }: Shape) {
        self.numbers([height, width, channels]);
    }

    pub fn clamp(&mut self, Clamp { lo, hi }: Clamp) {
        self.float(lo);
        self.float(hi);
    }

    pub fn window(&mut self, window: &Window) {
        let Window { size, stride, dilation, padding: Padding { top, bottom, left, right } } = *window;
        for (rows, columns) in [size, stride, dilation, (top, bottom), (left, right)] {
            self.numbers([rows, columns]);
        }
    }
}

/// Takes the values off bytes again; an error where they end, or where a value is none of its kind.
#[derive(Debug)]
pub(crate) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn bytes(&mut self, length: usize) -> Result<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or_else(|| {
            Error::blob(format!("it ends {} bytes after the place where {length} are expected", self.0.len()))
        })?;
        self.0 = rest;
        Ok(bytes)
    }

    pub fn bits(&mut self) -> Result<u64> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or_else(|| Error::blob("it ends before a number"))?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    pub fn number(&mut self) -> Result<usize> {
        let bits = self.bits()?;
        usize::try_from(bits).map_err(|_| Error::blob(format!("number {bits} is larger than the address space")))
    }

    pub fn flag(&mut self) -> Result<bool> {
        match self.bits()? {
            0 => Ok(false),
            1 => Ok(true),
            bits => Err(Error::blob(format!("got {bits}, expected 0 or 1"))),
        }
    }

    pub fn float(&mut self) -> Result<f32> {
        let bits = self.bits()?;
        let bits = u32::try_from(bits).map_err(|_| Error::blob(format!("got {bits}, expected the bits of an f32")))?;
        Ok(f32::from_bits(bits))
    }

    pub fn text(&mut self) -> Result<&'a str> {
        let length = self.number()?;
        core::str::from_utf8(self.bytes(length)?).map_err(|why| Error::blob(format!("a name is not UTF-8: {why}")))
    }

    pub fn shape(&mut self) -> Result<Shape> {
        Ok(Shape { height: self.number()?, width: self.number()?, channels: self.number()? })
    }

    pub fn clamp(&mut self) -> Result<Clamp> {
        Ok(Clamp { lo: self.float()?, hi: self.float()? })
    }

    pub fn window(&mut self) -> Result<Window> {
        let mut pair = || Ok((self.number()?, self.number()?));
        let (size, stride, dilation, (top, bottom), (left, right)) = (pair()?, pair()?, pair()?, pair()?, pair()?);
        Ok(Window { size, stride, dilation, padding: Padding { top, bottom, left, right } })
    }

    /// A number, then as many values as it says.
    pub fn list<T>(&mut self, mut value: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        // No room is made before the values are there: the number may be any.
        (0..self.number()?).map(|_| value(self)).collect()
    }
}

/// A 64-bit hash, against accidents: one that changes with every byte, and with their order.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let words = words.iter().chain([&last]).map(|word| u64::from_le_bytes(*word));
    words.fold(bytes.len() as u64, |hash, word| {
        let mixed = (hash ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed ^ mixed >> 29
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::default();
        let window =
            Window::new(1, 2).strides(3, 4).dilation(5).padding(Padding { top: 6, bottom: 7, left: 8, right: 9 });
        writer.flag(true);
        writer.text("nämé");
        writer.shape(Shape::new(1, 2, 3));
        writer.clamp(Clamp::RELU);
        writer.window(&window);
        writer.bits(u64::MAX);
        writer.number(2);
        writer.float(-0.0);
        writer.float(f32::NAN);
        let all = writer.0;
        // Cut anywhere, it is an error at the place where it ends.
        for length in 0..=all.len() {
            let mut reader = Reader(&all[..length]);
            let mut read = || {
                assert!(reader.flag()?);
                assert_eq!((reader.text()?, reader.shape()?), ("nämé", Shape::new(1, 2, 3)));
                assert_eq!((reader.clamp()?, reader.window()?, reader.bits()?), (Clamp::RELU, window, u64::MAX));
                let bits: Vec<u32> = reader.list(Reader::float)?.into_iter().map(f32::to_bits).collect();
                assert_eq!(bits, [-0.0, f32::NAN].map(f32::to_bits));
                assert!(reader.0.is_empty());
                Ok::<(), Error>(())
            };
            assert_eq!(read().is_ok(), length == all.len(), "{length} of {} bytes", all.len());
        }
        assert!(Reader(&[2, 0, 0, 0, 0, 0, 0, 0]).flag().is_err());
        assert!(Reader(&[1, 0, 0, 0, 0, 0, 0, 0, 0xff]).text().is_err());
        assert!(Reader(&[0xff; 8]).list(Reader::flag).is_err());
    }

    #[test]
    fn the_hash_sees_every_byte_and_the_order() {
        let bytes: Vec<u8> = (0..40).collect();
        for length in 0..bytes.len() {
            let whole = hash(&bytes[..length]);
            assert_ne!(whole, hash(&bytes[..length + 1]));
            for at in 0..length {
                let mut other = bytes[..length].to_vec();
                other[at] ^= 0x80;
                assert_ne!(whole, hash(&other), "byte {at} of {length}");
                other.swap(0, at);
            }
        }
        // The signs of neighbours, whose bits are the highest.
        let (mut one, mut other) = ([0; 24], [0; 24]);
        (one[7], one[15], other[15], other[23]) = (0x80, 0x80, 0x80, 0x80);
        assert_ne!(hash(&one), hash(&[0; 24]));
        assert_ne!(hash(&one), hash(&other));
    }
}
