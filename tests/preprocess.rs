//! Files, resize and recipes against hashes of what Pillow and numpy gave, and what `load` says of files that are not
//! photographs.

use std::{error::Error as _, fs, path::PathBuf};

use image::codecs::png::PngEncoder;
use image::{GrayAlphaImage, GrayImage, ImageBuffer, ImageEncoder, Luma, LumaA, Rgb, RgbImage, Rgba};
#[path = "../examples/common/preprocess/mod.rs"]
#[allow(dead_code)]
mod preprocess;

use preprocess::{Error, Filter, MAX_RESOLUTION, MAX_SIDE, Recipe, load, resize};

fn fnv(bytes: impl IntoIterator<Item = u8>) -> u64 {
    let step = |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// The picture of `tools/preprocess_tables.py`: a hash-like texture with full-contrast stairs, so that bicubic clips.
fn synthetic(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let texture = |c: u32| ((x * 73 + y * 151 + c * 199 + x * y * 7) ^ ((x * y) >> 3)) as u8;
        match (x / 3 + y / 2) % 5 {
            0 => Rgb([255; 3]),
            1 => Rgb([0; 3]),
            _ => Rgb([0, 1, 2].map(texture)),
        }
    })
}

/// From size, to size, FNV-1a 64 of the bilinear and of the bicubic result.
type Resize = ((u32, u32), (u32, u32), u64, u64);

// Printed by tools/preprocess_tables.py with Pillow 11.3.0; 12.1.0 and 13.0.0 (rows first) print the same.
#[rustfmt::skip]
const RESIZES: [Resize; 15] = [
    ((1, 1), (5, 3), 0x744c15ed532ce142, 0x744c15ed532ce142),
    ((1, 9), (4, 2), 0x3a62270f0d547f59, 0x585c7fe68dd412cd),
    ((9, 1), (2, 7), 0xcdd2f3feca21dac8, 0xccabdee27124394b),
    ((2, 2), (31, 17), 0x21e28dbfddf2eb42, 0x21e28dbfddf2eb42),
    ((7, 5), (96, 64), 0xf8214925c28065f6, 0x26edc4d749761b9c),
    ((97, 61), (97, 61), 0xfdce95e9cfd1acee, 0xfdce95e9cfd1acee),
    ((100, 80), (100, 33), 0xc93f7427b5115dfc, 0x7746fcb35aa8bec9),
    ((100, 80), (41, 80), 0x51fdff4517358e2c, 0xc5cf2eef4e344a43),
    ((64, 48), (16, 12), 0x1c2401ca9e0caf16, 0xb8f7682b4539ac43),
    ((61, 97), (28, 28), 0x26604e25924094f1, 0x98cfab795bee5902),
    ((256, 171), (224, 150), 0x63c430e89bf2e767, 0x13eb6ea6defb57f3),
    ((33, 200), (150, 20), 0xe0d9c229cb9b092c, 0x5c2abb21fa67a49d),
    ((200, 33), (20, 150), 0x126d4d927115de78, 0x250ad5e8fd1d7a95),
    ((341, 256), (10, 1), 0x8539cd8b0daa8be3, 0x1a3c2dbe1e008a50),
    ((500, 3), (7, 11), 0xd270a03532a8ff08, 0x6f3648382517ebc1),
];

// Printed by the same run: recipe, then the hash of its f32 values (little endian) for pictures of 333x250, 131x200 and
// 5x40, at resolution 96 (digits: 28).
#[rustfmt::skip]
const RECIPES: [(&str, [u64; 3]); 11] = [
    ("torchvision", [0x2f9ded3435a86896, 0x57c347b848f535cc, 0x808f2992dfdfce25]),
    ("torchvision2", [0xf9fd280fe8c8727f, 0xf02744bc3bda6468, 0x6954ef4e44486e05]),
    ("timm", [0xc94a1f8ca17fffaf, 0x54ce484c8a96212e, 0xea6447e329397fa6]),
    ("timm_half", [0x81e0f6ddfd506cf1, 0x87553a298561d278, 0xf5ea8fa304422d58]),
    ("timm_xception", [0xa2ad27e9a122c05b, 0x9fe963b70b3547eb, 0xaef75eb0c49a14ce]),
    ("keras", [0xeaa85f840a06abb4, 0x061686ae6da121b7, 0x920c0dfe99c74456]),
    ("slim", [0x597ac21b0aadb22f, 0x247d144cd3724aee, 0x5572a07f81c0b439]),
    ("raw255", [0xaa43eb944a900c24, 0xfa7dbddf70470ea2, 0x08464427315be7a2]),
    ("caffe", [0x2c2643122857a50c, 0xbea4196558162a88, 0x7255d649b659b004]),
    ("megvii", [0xf2cab7889bbd4864, 0xb6f1091b80b9397c, 0xe324999dc2495749]),
    ("digits", [0x5ce8da407f366737, 0x0fd150a860488b7f, 0x593c43f707df2092]),
];

#[test]
fn resize_is_pillows_bit_for_bit() {
    for ((w, h), (width, height), bilinear, bicubic) in RESIZES {
        for (filter, want) in [(Filter::Bilinear, bilinear), (Filter::Bicubic, bicubic)] {
            let got = resize(&synthetic(w, h), width, height, filter);
            assert_eq!(got.dimensions(), (width, height));
            assert_eq!(fnv(got.into_raw()), want, "{w}x{h} to {width}x{height} {filter:?}");
        }
    }
}

#[test]
fn recipes_are_their_sources_bit_for_bit() {
    assert_eq!(RECIPES.map(|(name, _)| name), Recipe::ALL.map(Recipe::name));
    for (name, hashes) in RECIPES {
        let recipe: Recipe = name.parse().unwrap();
        let resolution = if recipe == Recipe::Digits { 28 } else { 96 };
        for ((w, h), want) in [(333, 250), (131, 200), (5, 40)].into_iter().zip(hashes) {
            let got = recipe.apply(&synthetic(w, h), resolution).unwrap();
            assert_eq!(fnv(got.iter().flat_map(|v| v.to_le_bytes())), want, "{name} of {w}x{h}");
        }
    }
}

#[test]
fn recipes_take_any_shape() {
    let sides = [1, 2, 3, 15, 16, 17, 97];
    let mut shapes: Vec<_> = sides.iter().flat_map(|&w| sides.map(|h| (w, h))).collect();
    shapes.extend([(1, 5000), (5000, 1), (1, MAX_SIDE), (MAX_SIDE, 1), (3, 4001)]);
    for (w, h) in shapes {
        let image = synthetic(w, h);
        for recipe in Recipe::ALL {
            for resolution in [1, 2, 13] {
                let got = recipe.apply(&image, resolution).unwrap();
                assert_eq!(got.len(), (resolution * resolution) as usize * recipe.channels());
                let levels = matches!(recipe, Recipe::Raw255 | Recipe::Caffe | Recipe::Megvii);
                let limit = if levels { 255.0 } else { 2.7 };
                assert!(got.iter().all(|v| v.abs() <= limit), "{recipe} {w}x{h} {resolution}");
            }
        }
    }
    // The scaled picture would have 256 x 1,280,000 pixels; only the middle of it is computed.
    assert_eq!(Recipe::Torchvision.apply(&synthetic(1, 5000), 224).unwrap().len(), 224 * 224 * 3);
}

#[test]
fn sizes_out_of_range_are_errors() {
    let image = synthetic(2, 2);
    for resolution in [0, MAX_RESOLUTION + 1, u32::MAX] {
        assert!(matches!(Recipe::Keras.apply(&image, resolution), Err(Error::Resolution(_))));
    }
    for (w, h) in [(0, 0), (0, 5), (5, 0), (MAX_SIDE + 1, 1), (1, MAX_SIDE + 1)] {
        let error = Recipe::Slim.apply(&RgbImage::new(w, h), 8).unwrap_err();
        assert!(error.to_string().contains(&format!("{w}x{h}")), "{error}");
    }
    assert_eq!(resize(&RgbImage::new(0, 3), 2, 2, Filter::Bicubic).into_raw(), [0; 12]);
    assert_eq!(resize(&RgbImage::new(3, 0), 2, 2, Filter::Bilinear).into_raw(), [0; 12]);
    assert_eq!(resize(&image, 0, 4, Filter::Bilinear).dimensions(), (0, 4));
}

#[test]
fn names_round_trip_and_unknown_ones_are_listed() {
    for recipe in Recipe::ALL {
        assert_eq!(recipe.to_string().parse::<Recipe>().unwrap(), recipe);
    }
    let error = "Keras".parse::<Recipe>().unwrap_err().to_string();
    assert!(error.contains("\"Keras\"") && error.contains("torchvision, torchvision2"), "{error}");
}

#[test]
fn digits_come_out_bright_on_dark() {
    let stroke = |x, y| (10..14).contains(&x) && (4..24).contains(&y);
    let page = |ink, paper| RgbImage::from_fn(28, 28, move |x, y| Rgb([if stroke(x, y) { ink } else { paper }; 3]));
    let want: Vec<f32> = page(255, 0).pixels().map(|p| f32::from(p[0]) / 255.0).collect();
    assert_eq!(Recipe::Digits.apply(&page(255, 0), 28).unwrap(), want);
    assert_eq!(Recipe::Digits.apply(&page(0, 255), 28).unwrap(), want);
    // A border of exactly 127 is dark, one of 128 bright.
    assert_eq!(Recipe::Digits.apply(&page(127, 127), 28).unwrap()[0], 127.0 / 255.0);
    assert_eq!(Recipe::Digits.apply(&page(128, 128), 28).unwrap()[0], 127.0 / 255.0);
    // Luma of pure red, green, blue: 76, 150, 29 in Pillow.
    for (colour, luma) in [([255, 0, 0], 76), ([0, 255, 0], 255 - 150), ([0, 0, 255], 29)] {
        let got = Recipe::Digits.apply(&RgbImage::from_pixel(3, 3, Rgb(colour)), 1).unwrap();
        assert_eq!(got, [luma as f32 / 255.0]);
    }
}

/// A file of the given name and bytes in the tests' own directory.
fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// A PNG that promises this picture and ends after its header.
fn png_header(width: u32, height: u32, checksum: u32) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
    bytes.extend(width.to_be_bytes());
    bytes.extend(height.to_be_bytes());
    bytes.extend([8, 2, 0, 0, 0]);
    bytes.extend(checksum.to_be_bytes());
    bytes.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e");
    bytes
}

/// 420.jpg with another size in its frame header.
fn large_jpeg(side: u16) -> Vec<u8> {
    let mut bytes = jpeg("420");
    let size = bytes.windows(4).position(|window| window == [0, 31, 0, 45]).unwrap();
    bytes[size..size + 2].copy_from_slice(&side.to_be_bytes());
    bytes[size + 2..size + 4].copy_from_slice(&side.to_be_bytes());
    bytes
}

#[test]
fn load_converts_as_pillow_does() {
    let at = |name| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let pixel = |path: &PathBuf| load(path).unwrap().get_pixel(0, 0).0;

    let path = at("grey.png");
    GrayImage::from_pixel(2, 3, Luma([77])).save(&path).unwrap();
    assert_eq!((load(&path).unwrap().dimensions(), pixel(&path)), ((2, 3), [77; 3]));
    let path = at("grey-alpha.png");
    GrayAlphaImage::from_pixel(2, 3, LumaA([77, 0])).save(&path).unwrap();
    assert_eq!(pixel(&path), [77; 3]);
    let path = at("alpha.png");
    image::RgbaImage::from_pixel(2, 3, Rgba([10, 20, 30, 0])).save(&path).unwrap();
    assert_eq!(pixel(&path), [10, 20, 30]);
    // Of 16 bits the upper 8, not the nearest: 0x01ff would round to 2, and 0x7fff to 128.
    let path = at("deep.png");
    ImageBuffer::from_pixel(2, 3, Rgb([0x01ff_u16, 0x7fff, 0xffff])).save(&path).unwrap();
    assert_eq!(pixel(&path), [1, 127, 255]);
    let path = at("deep-alpha.png");
    ImageBuffer::from_pixel(2, 3, Rgba([0x01ff_u16, 0x7fff, 0xff00, 9])).save(&path).unwrap();
    assert_eq!(pixel(&path), [1, 127, 255]);
    let path = at("deep-grey.png");
    ImageBuffer::from_pixel(2, 3, Luma([0x80ff_u16])).save(&path).unwrap();
    assert_eq!(pixel(&path), [128; 3]);
    // The content decides, not the name.
    let named_wrongly = at("really-a-png.jpg");
    fs::copy(&path, &named_wrongly).unwrap();
    assert_eq!(pixel(&named_wrongly), [128; 3]);
}

/// Printed by tools/jpeg_tables.py with Pillow 13.0.0: file, size, FNV-1a 64 of its levels.
#[rustfmt::skip]
const JPEGS: [(&str, (u32, u32), u64); 7] = [
    ("420", (45, 31), 0x8a43227632c6c9b8),
    ("420_progressive", (45, 31), 0x8a43227632c6c9b8),
    ("422", (46, 30), 0x16b4374d999e99de),
    ("444", (17, 9), 0xd424b3f06975de50),
    ("grey", (31, 45), 0x21a856d656050e7b),
    ("cmyk", (16, 24), 0xc83080fbedfb48c8),
    ("turned", (31, 45), 0xd478a4d850ecd580),
];

/// Printed by the same run: an EXIF orientation of turned.jpg, size, FNV-1a 64 of its levels.
#[rustfmt::skip]
const TURNED: [(u8, (u32, u32), u64); 8] = [
    (1, (45, 31), 0x8a43227632c6c9b8),
    (2, (45, 31), 0xd2472633c307445c),
    (3, (45, 31), 0x92c843190c196c2c),
    (4, (45, 31), 0xf6f6545c54526360),
    (5, (31, 45), 0x94291fea186bfb1c),
    (6, (31, 45), 0xd478a4d850ecd580),
    (7, (31, 45), 0x2a3eee1d630a7c40),
    (8, (31, 45), 0x3a714b30a991f274),
];

/// A file of `tools/jpeg_tables.py`.
fn jpeg(name: &str) -> Vec<u8> {
    fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/jpeg/{name}.jpg"))).unwrap()
}

#[test]
fn jpegs_are_pillows_bit_for_bit() {
    for (name, size, want) in JPEGS {
        let got = load(file(&format!("{name}.jpg"), &jpeg(name))).unwrap();
        assert_eq!((got.dimensions(), fnv(got.into_raw())), (size, want), "{name}");
    }
}

#[test]
fn photographs_are_set_upright() {
    let bytes = jpeg("turned");
    let entry = b"\x01\x12\0\x03\0\0\0\x01\0\x06"; // orientation, one short: 6
    let value = bytes.windows(entry.len()).position(|window| window == entry).unwrap() + entry.len() - 1;
    let with = |orientation: u8| {
        let mut bytes = bytes.clone();
        bytes[value] = orientation;
        load(file(&format!("turned-{orientation}.jpg"), &bytes)).unwrap()
    };
    for (orientation, size, want) in TURNED {
        let got = with(orientation);
        assert_eq!((got.dimensions(), fnv(got.into_raw())), (size, want), "orientation {orientation}");
    }
    // No orientation at all: as it lies.
    for unknown in [0, 9] {
        assert_eq!(with(unknown), with(1));
    }
    // PNG has it too. Orientation 6: the first row is the right-hand column.
    let mut png = Vec::new();
    let mut encoder = PngEncoder::new(&mut png);
    let exif = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0".to_vec();
    encoder.set_exif_metadata(exif).unwrap();
    encoder.write_image(&[10, 20, 30, 40, 50, 60], 3, 2, image::ExtendedColorType::L8).unwrap();
    let got = load(file("turned.png", &png)).unwrap();
    let levels: Vec<u8> = got.pixels().map(|pixel| pixel[0]).collect();
    assert_eq!((got.dimensions(), levels), ((2, 3), vec![40, 10, 50, 20, 60, 30]));
}

#[test]
fn a_jpeg_that_ends_early_is_an_error() {
    for (name, ..) in JPEGS {
        let whole = jpeg(name);
        for length in 1..whole.len() {
            let path = file("cut.jpg", &whole[..length]);
            let error = load(&path).expect_err(&format!("{name}.jpg cut to {length} bytes"));
            // Two bytes do not tell a JPEG yet.
            let told = if length < 3 { "no image of any known kind" } else { "is damaged" };
            assert!(error.to_string().contains(told), "{name}.jpg cut to {length} bytes: {error}");
        }
    }
}

#[test]
fn a_damaged_jpeg_never_panics() {
    let whole = jpeg("420_progressive");
    let mut refused = 0;
    for at in 0..whole.len() {
        for bits in [0xff, 0x10, 0x01] {
            let mut bytes = whole.clone();
            bytes[at] ^= bits;
            match load(file("damaged.jpg", &bytes)) {
                Ok(image) => assert!(image.width() > 0 && image.height() > 0),
                Err(error) => {
                    assert!(error.to_string().contains("damaged.jpg"), "byte {at}: {error}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn load_explains_what_is_not_a_photograph() {
    let good = {
        let path = file("whole.png", b"");
        synthetic(64, 64).save(&path).unwrap();
        fs::read(path).unwrap()
    };
    let cases = [
        (PathBuf::from("no/such/photo.jpg"), "no such file"),
        (PathBuf::from(env!("CARGO_TARGET_TMPDIR")), "a directory"),
        (file("empty.jpg", b""), "is empty"),
        (file("text.jpg", b"Dear photographer,"), "no image of any known kind"),
        (file("short.png", b"\x89"), "no image of any known kind"),
        (file("moving.jpg", b"GIF89a\x01\0\x01\0\0\0\0;"), "of the kind Gif"),
        (file("cut.png", &good[..good.len() / 2]), "damaged"),
        (file("cut-early.png", &good[..20]), "damaged"),
        (file("stub.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF"), "damaged"),
        (file("square.png", &png_header(100_000, 100_000, 0x2730_9c9f)), "100000x100000 pixels"),
        (file("area.png", &png_header(15_000, 15_000, 0x5176_5ef2)), "15000x15000 pixels"),
        (file("wide.jpg", &large_jpeg(40_000)), "40000x40000 pixels"),
        (file("tall.png", &png_header(1, 70_000, 0x5d0a_1a5e)), "1x70000 pixels"),
        (file("wide.png", &png_header(0x7fff_ffff, 1, 0x2f54_a48a)), "too large"),
    ];
    for (path, reason) in cases {
        let error = load(&path).unwrap_err();
        let said = error.to_string();
        assert!(said.starts_with(&path.display().to_string()) && said.contains(reason), "{said}");
        assert!(said.contains("JPEG or PNG") || said.contains("scale it down"), "{said}");
        assert_eq!(error.source().is_some(), matches!(error, Error::Damaged(..)), "{said}");
    }
}
