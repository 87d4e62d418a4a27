//! JPEG files, decoded to the very levels that Pillow gives.
//!
//! Decoders are free in how they enlarge the chroma planes and round their transforms. A few levels in some pixels move
//! a probability by up to 0.02 (pure Rust's `zune-jpeg` and `jpeg-decoder` both); `mozjpeg` has the code of Pillow's own
//! libjpeg-turbo.

use std::io::{self, BufRead, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};
use mozjpeg::{ColorSpace, Decompress, Marker};

/// The bytes of a file; to read beyond them is an error, where libjpeg would make up an end and leave the rest grey.
struct Whole<'a>(&'a [u8]);

impl Read for Whole<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.0.read(to)
    }
}

impl BufRead for Whole<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.0.is_empty() { Err(io::Error::other("the file ends early")) } else { Ok(self.0) }
    }

    fn consume(&mut self, bytes: usize) {
        self.0 = &self.0[bytes..];
    }
}

/// Decodes a JPEG file to 8-bit R, G, B, upright by its EXIF orientation.
///
/// `accept` gets width and height before any pixel is decoded, and what it returns ends the decoding. Of CMYK the ink is
/// subtracted, as Pillow's `convert("RGB")` does.
///
/// # Errors
/// What `damaged` makes of libjpeg's message, for a file that is damaged, ends early or is of a kind that libjpeg cannot
/// decode (12 bits, lossless, arithmetic coding).
pub(super) fn decode<E>(
    file: &[u8],
    accept: impl FnOnce(u32, u32) -> Result<(), E>,
    damaged: impl Fn(String) -> E,
) -> Result<RgbImage, E> {
    // libjpeg's faults unwind through its C code.
    let guarded = AssertUnwindSafe(|| {
        let decoder = Decompress::with_markers(&[Marker::APP(1)]).from_reader(Whole(file));
        let decoder = decoder.map_err(|why| damaged(why.to_string()))?;
        let (width, height) = (decoder.width() as u32, decoder.height() as u32);
        accept(width, height)?;
        let exif = decoder.markers().find_map(|marker| marker.data.strip_prefix(b"Exif\0\0"));
        let orientation = exif.and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms);
        let pixels = pixels(decoder).map_err(|why| damaged(why.to_string()))?;
        let image = RgbImage::from_raw(width, height, pixels).ok_or_else(|| damaged("pixels are missing".into()))?;
        let mut image = DynamicImage::ImageRgb8(image);
        image.apply_orientation(orientation);
        Ok(image.into_rgb8())
    });
    catch_unwind(guarded).unwrap_or_else(|fault| {
        let message = fault.downcast::<String>();
        Err(damaged(message.map_or_else(|_| "libjpeg stopped".into(), |message| *message)))
    })
}

/// Every pixel, R, G, B.
fn pixels(decoder: Decompress<Whole<'_>>) -> io::Result<Vec<u8>> {
    if !matches!(decoder.color_space(), ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK) {
        let mut started = decoder.rgb()?;
        let pixels = started.read_scanlines()?;
        started.finish()?;
        return Ok(pixels);
    }
    let mut started = decoder.to_colorspace(ColorSpace::JCS_CMYK)?;
    let pixels: Vec<[u8; 4]> = started.read_scanlines()?;
    started.finish()?;
    // Inverted, as Adobe writes them and Pillow takes them: 255 is no ink.
    let level = |ink: u8, black: u8| {
        let product = u32::from(255 - ink) * u32::from(black) + 128;
        black - ((product + (product >> 8)) >> 8) as u8
    };
    Ok(pixels.into_iter().flat_map(|[c, m, y, k]| [level(c, k), level(m, k), level(y, k)]).collect())
}
