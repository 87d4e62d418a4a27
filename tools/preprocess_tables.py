"""Prints the hash tables of tests/preprocess.rs from Pillow, OpenCV and numpy (python3 tools/preprocess_tables.py).

The recipes are written here a second time, from Pillow's calls and numpy's f32, as the libraries they come from do it.
"""
import math

import cv2
import numpy as np
import PIL
from PIL import Image

f32 = np.float32
NAMES = [
    "torchvision", "torchvision2", "timm", "timm_half", "timm_xception", "keras", "slim", "raw255", "caffe", "megvii",
    "digits",
]  # fmt: skip
IMAGENET = (np.array([0.485, 0.456, 0.406], f32), np.array([0.229, 0.224, 0.225], f32))
HALF = (np.array([0.5] * 3, f32), np.array([0.5] * 3, f32))


def fnv(data):
    h = 0xCBF29CE484222325
    for b in data:
        h = (h ^ b) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def synthetic(w, h):
    y, x, c = np.mgrid[0:h, 0:w, 0:3]
    v = ((x * 73 + y * 151 + c * 199 + x * y * 7) ^ (x * y >> 3)) & 255
    edge = (x // 3 + y // 2) % 5
    return np.where(edge == 0, 255, np.where(edge == 1, 0, v)).astype(np.uint8)


def resize(im, size, filter):
    """Rows first, then columns: Image.resize of every Pillow up to 12.1 (later ones choose the order by the sizes)."""
    return im.resize((size[0], im.height), filter).resize(size, filter)


def cropped(a, short, r, filter, mean, std):
    im = Image.fromarray(a)
    w, h = im.size
    size = (short, int(short * h / w)) if w <= h else (int(short * w / h), short)
    im = resize(im, size, filter)
    left, top = int(round((size[0] - r) / 2.0)), int(round((size[1] - r) / 2.0))
    a = np.asarray(im.crop((left, top, left + r, top + r))).astype(f32) / f32(255)
    return (a - mean) / std


def whole(a, r):
    return np.asarray(resize(Image.fromarray(a), (r, r), Image.BILINEAR))


def slim(a, r):
    h, w = a.shape[:2]
    top, left = int((h - h * 0.875) / 2), int((w - w * 0.875) / 2)
    a = a[top : h - top, left : w - left].astype(f32) * f32(1.0 / 255)

    def span(n):
        at = np.arange(r).astype(f32) * (f32(n) / f32(r))
        low = np.floor(at).astype(int)
        return low, np.minimum(np.ceil(at).astype(int), n - 1), (at - np.floor(at)).astype(f32)

    y0, y1, v = span(a.shape[0])
    x0, x1, t = span(a.shape[1])
    v, t = v[:, None, None], t[None, :, None]
    above = a[y0][:, x0] + (a[y0][:, x1] - a[y0][:, x0]) * t
    below = a[y1][:, x0] + (a[y1][:, x1] - a[y1][:, x0]) * t
    return (above + (below - above) * v - f32(0.5)) * f32(2)


def megvii(a, r):
    short = r * 256 // 224
    h, w = a.shape[:2]
    size = (int(short / h * w + 0.5), short) if h < w else (short, int(short / w * h + 0.5))
    a = cv2.resize(a[..., ::-1], size, interpolation=cv2.INTER_LINEAR)
    left, top = int(round((size[0] - r) / 2.0)), int(round((size[1] - r) / 2.0))
    return a[top : top + r, left : left + r].astype(f32)


def digits(a, r):
    grey = np.asarray(Image.fromarray(a).convert("L"))
    ring = np.ones(grey.shape, bool)
    ring[1:-1, 1:-1] = False
    if grey[ring].mean() > 127:
        grey = 255 - grey
    return (whole(grey, r).astype(f32) / f32(255))[..., None]


def recipe(name, a, r):
    return {
        "torchvision": lambda: cropped(a, r * 256 // 224, r, Image.BILINEAR, *IMAGENET),
        "torchvision2": lambda: cropped(a, r * 232 // 224, r, Image.BILINEAR, *IMAGENET),
        "timm": lambda: cropped(a, math.floor(r / 0.875), r, Image.BICUBIC, *IMAGENET),
        "timm_half": lambda: cropped(a, math.floor(r / 0.875), r, Image.BICUBIC, *HALF),
        "timm_xception": lambda: cropped(a, math.floor(r / 0.8975), r, Image.BICUBIC, *HALF),
        "keras": lambda: whole(a, r).astype(f32) / f32(127.5) - f32(1),
        "slim": lambda: slim(a, r),
        "raw255": lambda: whole(a, r).astype(f32),
        "caffe": lambda: whole(a, r)[..., ::-1].astype(f32) - np.array([104.006, 116.669, 122.679], f32),
        "megvii": lambda: megvii(a, r),
        "digits": lambda: digits(a, r),
    }[name]()


RESIZES = [
    # enlarging, shrinking, both, one pass only, no pass, single pixels, sides that do not divide
    ((1, 1), (5, 3)), ((1, 9), (4, 2)), ((9, 1), (2, 7)), ((2, 2), (31, 17)), ((7, 5), (96, 64)), ((97, 61), (97, 61)),
    ((100, 80), (100, 33)), ((100, 80), (41, 80)), ((64, 48), (16, 12)), ((61, 97), (28, 28)), ((256, 171), (224, 150)),
    ((33, 200), (150, 20)), ((200, 33), (20, 150)), ((341, 256), (10, 1)), ((500, 3), (7, 11)),
]

if __name__ == "__main__":
    print(f"// Pillow {PIL.__version__}, OpenCV {cv2.__version__}, numpy {np.__version__}")
    for (w, h), (ow, oh) in RESIZES:
        im = Image.fromarray(synthetic(w, h))
        a, b = (fnv(resize(im, (ow, oh), f).tobytes()) for f in (Image.BILINEAR, Image.BICUBIC))
        print(f"    (({w}, {h}), ({ow}, {oh}), 0x{a:016x}, 0x{b:016x}),")
    print()
    for name in NAMES:
        hashes = []
        for w, h in [(333, 250), (131, 200), (5, 40)]:
            a = recipe(name, synthetic(w, h), 28 if name == "digits" else 96)
            hashes.append(f"0x{fnv(a.astype('<f4').tobytes()):016x}")
        print(f'    ("{name}", [{", ".join(hashes)}]),')
