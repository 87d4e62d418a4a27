//! From a photograph to a network's input, as each source of weights prepared its own.
//!
//! Weights are only as good as the pictures look like those they were trained on: a [`Recipe`] repeats resize, crop,
//! colour order, mean and deviation of one weight source, to the rounding of the library that source used. Every recipe
//! yields one image, NHWC with N = 1: `resolution` × `resolution` × [`Recipe::channels`] values of `f32`, channels
//! interleaved, in R, G, B order, for Caffe and Megvii in B, G, R order.
//!
//! Files give the very pixels that Pillow gives, on which torchvision, timm and Keras build, set upright by their EXIF
//! orientation (`ImageOps.exif_transpose`). Nothing here looks at colour profiles or gamma.

mod jpeg;
mod opencv;
mod resize;

use std::{fmt, fs, io, path::Path, path::PathBuf, str::FromStr};

use image::error::{DecodingError, ImageFormatHint, UnsupportedErrorKind};
use image::{ColorType, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, Rgb, RgbImage};
use resize::{resample, taps};

pub use resize::{Filter, resize};

/// The longest side of an image, in pixels: what a JPEG can hold.
pub const MAX_SIDE: u32 = 65_535;
/// The largest area that [`load`] decodes, in pixels.
pub const MAX_PIXELS: u64 = 150_000_000;
/// The largest file that [`load`] opens, in bytes.
pub const MAX_FILE: u64 = 1 << 30;
/// The largest network input that [`Recipe::apply`] makes, in pixels a side.
pub const MAX_RESOLUTION: u32 = 4096;

/// Mean and deviation of R, G, B on a scale of 0..1.
type Spread = ([f32; 3], [f32; 3]);
const IMAGENET: Spread = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
const HALF: Spread = ([0.5; 3], [0.5; 3]);
/// Mean of B, G, R on a scale of 0..255.
const CAFFE: [f32; 3] = [104.006, 116.669, 122.679];

/// Why a picture could not be loaded or prepared; each message says what to do. Files are named as they were given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing has this name.
    #[error("{0}: there is no such file; check the name (a JPEG or PNG photograph is expected)")]
    Missing(PathBuf),
    /// The name is that of a directory, or of a device or a pipe, as the second field says.
    #[error("{0}: this is {1}; give the name of one file, a JPEG or PNG photograph")]
    NotAFile(PathBuf, &'static str),
    /// The file holds no bytes.
    #[error("{0}: the file is empty (a JPEG or PNG photograph is expected); copy it again")]
    Empty(PathBuf),
    /// The operating system refuses to open or read the file.
    #[error("{0}: the file cannot be read ({1}); check its permissions and the disk")]
    Unreadable(PathBuf, #[source] io::Error),
    /// The first bytes are those of another format, or of none; the second field describes them.
    #[error("{0}: this is {1} (a JPEG or PNG photograph is expected); convert it first")]
    NotAnImage(PathBuf, String),
    /// The file begins as a JPEG or PNG does, and goes on in a way that cannot be decoded.
    #[error("{0}: the image is damaged or unusual ({1}); save it again as plain JPEG or PNG")]
    Damaged(PathBuf, #[source] ImageError),
    /// The file is beyond [`MAX_SIDE`], [`MAX_PIXELS`] or [`MAX_FILE`]; the second field tells its size.
    #[error(
        "{0}: {1} is too large (at most {MAX_SIDE} pixels a side, {area} million in all, {bytes} MiB a file); \
         scale it down first", area = MAX_PIXELS / 1_000_000, bytes = MAX_FILE >> 20
    )]
    TooLarge(PathBuf, String),
    /// The picture given to a recipe, this wide and high, has a side of no pixels or one beyond [`MAX_SIDE`].
    #[error("a picture has 1 to {MAX_SIDE} pixels a side; one of {0}x{1} cannot be prepared")]
    Side(u32, u32),
    /// The network's resolution is 0 or beyond [`MAX_RESOLUTION`].
    #[error("a network input has 1 to {MAX_RESOLUTION} pixels a side; {0} cannot be made")]
    Resolution(u32),
    /// The allocator has no room for so many bytes, which the picture and the resolution take.
    #[error(
        "{0} bytes of memory are not to be had for a picture; scale it down, ask for a lower resolution or free some"
    )]
    Memory(u64),
    /// No recipe has this name.
    #[error("there is no recipe {0:?}; the recipes are {all}", all = Recipe::ALL.map(Recipe::name).join(", "))]
    UnknownRecipe(String),
}

/// How one source of weights turned photographs into inputs; R stands for the network's resolution.
///
/// A recipe is parsed from its name and printed as its name: `torchvision2` is [`Recipe::Torchvision2`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Recipe {
    /// `torchvision`: shorter side ⌊R·256/224⌋ bilinear, centre R×R, ImageNet mean and deviation (its first weights).
    Torchvision,
    /// `torchvision2`: as [`Recipe::Torchvision`] with 232 for 256 (its `IMAGENET1K_V2` weights).
    Torchvision2,
    /// `timm`: shorter side ⌊R/0.875⌋ bicubic, centre R×R, ImageNet mean and deviation (timm's `mobilenetv2_*`).
    Timm,
    /// `timm_half`: as [`Recipe::Timm`], scaled to −1..1 (timm's `mobilenetv1_100`).
    TimmHalf,
    /// `timm_xception`: as [`Recipe::TimmHalf`] with ⌊R/0.8975⌋, 333 for 299 (timm's `legacy_xception`).
    TimmXception,
    /// `keras`: the whole picture bilinear to R×R, its aspect lost, x/127.5 − 1.
    Keras,
    /// `slim`: the central 87.5 % of each side to R×R by TensorFlow's bilinear, which reads four pixels however much
    /// it shrinks and aligns corners at the top left, in `f32`; scaled to −1..1.
    Slim,
    /// `raw255`: the whole picture bilinear to R×R, its aspect lost, levels 0..255 as they are.
    Raw255,
    /// `caffe`: the whole picture bilinear to R×R, its aspect lost; B, G, R, levels less the mean of ImageNet
    /// (SqueezeNet's converted weights).
    Caffe,
    /// `megvii`: shorter side ⌊R·256/224⌋ by OpenCV's bilinear, which reads four pixels however much it shrinks, centre
    /// R×R; B, G, R, levels 0..255 as they are (the ShuffleNets of Megvii).
    Megvii,
    /// `digits`: one grey digit, bright on dark, 0..1: luma, inverted where the picture's border is bright (a mean
    /// above 127), the whole of it bilinear to R×R (R = 28 for MNIST).
    Digits,
}

impl Recipe {
    /// Every recipe, in the order of the documentation.
    pub const ALL: [Self; 11] = [
        Self::Torchvision,
        Self::Torchvision2,
        Self::Timm,
        Self::TimmHalf,
        Self::TimmXception,
        Self::Keras,
        Self::Slim,
        Self::Raw255,
        Self::Caffe,
        Self::Megvii,
        Self::Digits,
    ];

    /// The name that [`Recipe::from_str`] takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Torchvision => "torchvision",
            Self::Torchvision2 => "torchvision2",
            Self::Timm => "timm",
            Self::TimmHalf => "timm_half",
            Self::TimmXception => "timm_xception",
            Self::Keras => "keras",
            Self::Slim => "slim",
            Self::Raw255 => "raw255",
            Self::Caffe => "caffe",
            Self::Megvii => "megvii",
            Self::Digits => "digits",
        }
    }

    /// Channels of the result: 1 for [`Recipe::Digits`], 3 for the others.
    pub const fn channels(self) -> usize {
        if matches!(self, Self::Digits) { 1 } else { 3 }
    }

    /// Prepares one image for a network whose input is `resolution` pixels wide and high.
    ///
    /// Returns `resolution` × `resolution` × [`Recipe::channels`] values: rows from the top, pixels from the left,
    /// channels interleaved. A recipe that crops never computes what the crop throws away, so that a picture of
    /// 1×5000 pixels costs no more than others.
    ///
    /// # Errors
    /// [`Error::Side`] for a picture with a side outside 1..=[`MAX_SIDE`], [`Error::Resolution`] for a `resolution`
    /// outside 1..=[`MAX_RESOLUTION`], [`Error::Memory`].
    pub fn apply(self, image: &RgbImage, resolution: u32) -> Result<Vec<f32>, Error> {
        let (r, (width, height)) = (resolution, image.dimensions());
        if !(1..=MAX_RESOLUTION).contains(&r) {
            return Err(Error::Resolution(r));
        }
        if width.min(height) < 1 || width.max(height) > MAX_SIDE {
            return Err(Error::Side(width, height));
        }
        // The result twice, a scaled picture with what lies between its two passes, and a digit's own copy; and the result
        // once more, since an allocator that had all of it in one piece may not have it in several.
        let [w, h, r_wide] = [width, height, r].map(u64::from);
        room(r_wide * r_wide * (3 * 4 + 1) * 3 + r_wide * h * 3 + if self == Self::Digits { w * h * 3 } else { 0 })?;
        let shorter = |crop: f64| (f64::from(r) / crop) as u32;
        let whole = |image| levels(&resize(image, r, r, Filter::Bilinear));
        Ok(match self {
            Self::Torchvision => centre(image, r * 256 / 224, r, Filter::Bilinear, IMAGENET),
            Self::Torchvision2 => centre(image, r * 232 / 224, r, Filter::Bilinear, IMAGENET),
            Self::Timm => centre(image, shorter(0.875), r, Filter::Bicubic, IMAGENET),
            Self::TimmHalf => centre(image, shorter(0.875), r, Filter::Bicubic, HALF),
            Self::TimmXception => centre(image, shorter(0.8975), r, Filter::Bicubic, HALF),
            Self::Keras => whole(image).iter().map(|v| v / 127.5 - 1.0).collect(),
            Self::Slim => slim(image, r),
            Self::Raw255 => whole(image),
            Self::Caffe => {
                let means = CAFFE.into_iter().cycle();
                blue_first(whole(image)).into_iter().zip(means).map(|(level, mean)| level - mean).collect()
            }
            Self::Megvii => blue_first(megvii(image, r * 256 / 224, r)),
            Self::Digits => {
                let grey = whole(&bright_on_dark(image));
                grey.iter().step_by(3).map(|v| v / 255.0).collect()
            }
        })
    }
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Recipe {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|recipe| recipe.name() == name);
        found.ok_or_else(|| Error::UnknownRecipe(name.to_owned()))
    }
}

/// Whether so many bytes are to be had: what is called next ends the program where they are not.
fn room(bytes: u64) -> Result<(), Error> {
    let length = usize::try_from(bytes).unwrap_or(usize::MAX);
    Vec::<u8>::new().try_reserve_exact(length).map_err(|_| Error::Memory(bytes))
}

/// Reads a JPEG or PNG file, whatever its name ends in, into 8-bit R, G, B.
///
/// What is not 8-bit RGB becomes so as in Pillow's `convert("RGB")`: grey is repeated, a palette looked up, alpha
/// dropped (not blended with any background). Of 16 bits the upper 8 are kept, as Pillow keeps them in colour; its
/// 16-bit grey, which it clips at 255, is not imitated. EXIF orientation is applied.
///
/// # Errors
/// All of [`Error`] that name a file, which is `path`, and [`Error::Memory`].
pub fn load(path: impl AsRef<Path>) -> Result<RgbImage, Error> {
    let path = path.as_ref();
    let owned = || path.to_owned();
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => Error::Missing(owned()),
        _ => Error::Unreadable(owned(), source),
    };
    let too_large = |what: String| Error::TooLarge(owned(), what);
    let meta = fs::metadata(path).map_err(unreadable)?;
    if meta.is_dir() {
        return Err(Error::NotAFile(owned(), "a directory"));
    }
    if !meta.is_file() {
        return Err(Error::NotAFile(owned(), "a device or a pipe"));
    }
    if meta.len() == 0 {
        return Err(Error::Empty(owned()));
    }
    if meta.len() > MAX_FILE {
        return Err(too_large(format!("a file of {} MiB", meta.len() >> 20)));
    }
    let file = io::BufReader::new(fs::File::open(path).map_err(unreadable)?);
    let mut reader = ImageReader::new(file).with_guessed_format().map_err(unreadable)?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(8 * MAX_PIXELS); // four channels of 16 bits
    reader.limits(limits);
    let format = reader.format();
    let checked = |width: u32, height: u32| {
        if width.max(height) > MAX_SIDE || u64::from(width) * u64::from(height) > MAX_PIXELS {
            return Err(too_large(format!("a picture of {width}x{height} pixels")));
        }
        Ok(())
    };
    if format == Some(ImageFormat::Jpeg) {
        let hint = ImageFormatHint::Exact(ImageFormat::Jpeg);
        let damaged = |why| Error::Damaged(owned(), ImageError::Decoding(DecodingError::new(hint.clone(), why)));
        let accept = |width: u32, height: u32| {
            checked(width, height)?;
            // Of CMYK, and what it is converted to; or what is turned upright, and into what.
            room(u64::from(width) * u64::from(height) * (4 + 3))
        };
        room(meta.len())?;
        return jpeg::decode(&fs::read(path).map_err(unreadable)?, accept, damaged);
    }
    let failed = |source: ImageError| match (source, format) {
        (ImageError::Limits(_), _) => too_large("the picture".to_owned()),
        (ImageError::Unsupported(e), Some(format)) if matches!(e.kind(), UnsupportedErrorKind::Format(_)) => {
            Error::NotAnImage(owned(), format!("a file of the kind {format:?}"))
        }
        (_, None) => Error::NotAnImage(owned(), "no image of any known kind".to_owned()),
        (source, _) => Error::Damaged(owned(), source),
    };
    let mut decoder = reader.into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    checked(width, height)?;
    // As it is decoded, and what it is turned and converted to: 8 bytes a pixel at most, then 3 or, by way of 16 bits, 6.
    room(decoder.total_bytes().saturating_add(u64::from(width) * u64::from(height) * 8))?;
    let orientation = decoder.orientation().map_err(failed)?;
    use ColorType::{L16, La16, Rgb16, Rgba16};
    let deep = matches!(decoder.color_type(), L16 | La16 | Rgb16 | Rgba16);
    let mut image = DynamicImage::from_decoder(decoder).map_err(failed)?;
    image.apply_orientation(orientation);
    if !deep {
        return Ok(image.into_rgb8());
    }
    let image = image.into_rgb16();
    let upper = |x, y| Rgb(image.get_pixel(x, y).0.map(|v| (v >> 8) as u8));
    Ok(RgbImage::from_fn(image.width(), image.height(), upper))
}

/// Scales so that the shorter side has `short` pixels, then cuts `r` × `r` out of the middle, with the roundings of
/// torchvision: the longer side truncated, the offset to the nearest, halves to even. Then (x/255 − mean) / deviation.
fn centre(image: &RgbImage, short: u32, r: u32, filter: Filter, spread: Spread) -> Vec<f32> {
    let least = u64::from(image.width().min(image.height()));
    let side = |from: u32| {
        let scaled = u64::from(short) * u64::from(from) / least;
        taps(from, scaled, margin(scaled, r), r, filter)
    };
    let cut = levels(&resample(image, &side(image.width()), &side(image.height())));
    let channels = (0..3).cycle();
    cut.iter().zip(channels).map(|(v, c)| (v / 255.0 - spread.0[c]) / spread.1[c]).collect()
}

/// The offset of `r` pixels in the middle of `scaled`: to the nearest, halves to even.
fn margin(scaled: u64, r: u32) -> u64 {
    let spare = scaled.saturating_sub(r.into());
    spare / 2 + (spare % 2) * (spare / 2 % 2)
}

/// As [`centre`], by OpenCV's resize, the longer side to the nearest pixel; levels.
fn megvii(image: &RgbImage, short: u32, r: u32) -> Vec<f32> {
    let (width, height) = image.dimensions();
    let side = |from: u32| {
        let long = (f64::from(short) / f64::from(width.min(height)) * f64::from(from) + 0.5) as u64;
        let scaled = if from == width.min(height) { short.into() } else { long };
        opencv::Side { scaled, offset: margin(scaled, r) }
    };
    levels(&opencv::cut(image, side(width), side(height), r))
}

/// R, G, B as B, G, R.
fn blue_first(mut values: Vec<f32>) -> Vec<f32> {
    values.chunks_exact_mut(3).for_each(|pixel| pixel.reverse());
    values
}

/// The levels 0..255 of every channel, in memory order.
fn levels(image: &RgbImage) -> Vec<f32> {
    image.iter().map(|&v| f32::from(v)).collect()
}

/// TF-slim's evaluation picture: `central_crop`, then `resize_bilinear`, as their kernels round.
fn slim(image: &RgbImage, r: u32) -> Vec<f32> {
    let side = |pixels: u32| {
        let margin = pixels / 16;
        let inner = pixels - 2 * margin;
        let scale = inner as f32 / r as f32;
        (0..r).map(move |i| {
            let at = i as f32 * scale;
            let low = (at as u32).min(inner - 1);
            let high = (low + 1).min(inner - 1);
            (margin + low, margin + high, at - at.floor())
        })
    };
    let mix = |a: f32, b: f32, t: f32| a + (b - a) * t;
    let columns: Vec<_> = side(image.width()).collect();
    let mut result = Vec::with_capacity(columns.len() * columns.len() * 3);
    for (top, bottom, v) in side(image.height()) {
        for &(left, right, h) in &columns {
            for c in 0..3 {
                let unit = |x, y| f32::from(image.get_pixel(x, y)[c]) * (1.0 / 255.0);
                let above = mix(unit(left, top), unit(right, top), h);
                let below = mix(unit(left, bottom), unit(right, bottom), h);
                result.push((mix(above, below, v) - 0.5) * 2.0);
            }
        }
    }
    result
}

/// Luma (ITU-R 601 in 16-bit fixed point, as Pillow's `convert("L")`) in all three channels, inverted where the border
/// is bright.
fn bright_on_dark(image: &RgbImage) -> RgbImage {
    let luma = |&Rgb([r, g, b]): &Rgb<u8>| {
        let sum = u32::from(r) * 19_595 + u32::from(g) * 38_470 + u32::from(b) * 7_471;
        ((sum + 0x8000) >> 16) as u8
    };
    let (width, height) = image.dimensions();
    let edge = |x, y| x == 0 || y == 0 || x + 1 == width || y + 1 == height;
    let border = image.enumerate_pixels().filter(|&(x, y, _)| edge(x, y));
    let (sum, count) = border.fold((0, 0), |(s, n), (_, _, p)| (s + u64::from(luma(p)), n + 1_u64));
    let flip = if sum > 127 * count { 255 } else { 0 };
    RgbImage::from_fn(width, height, |x, y| Rgb([luma(image.get_pixel(x, y)) ^ flip; 3]))
}
