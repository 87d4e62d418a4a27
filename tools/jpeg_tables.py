"""Writes the pictures of tests/data/jpeg and prints what Pillow decodes them to, the table of tests/preprocess.rs.

    python3 tools/jpeg_tables.py tests/data/jpeg
"""
import io
import pathlib
import sys

import numpy as np
import PIL
from PIL import Image, ImageOps, features

from preprocess_tables import fnv

ORIENTATION = 0x0112


def patches(width, height, mode="RGB"):
    """Small patches of unlike colours, whose borders lie across the blocks of a JPEG."""
    y, x, c = np.mgrid[0:height, 0:width, 0 : len(mode)]
    levels = (x // 6 * 89 + y // 5 * 151 + c * 67 * (x // 6 + y // 5) & 255).astype(np.uint8)
    return Image.frombytes(mode, (width, height), levels.tobytes())


def encoded(image, **options):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80, **options)
    return file.getvalue()


def upright(orientation):
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return encoded(patches(45, 31), subsampling="4:2:0", exif=tags)


FILES = {
    "420": encoded(patches(45, 31), subsampling="4:2:0"),
    "420_progressive": encoded(patches(45, 31), subsampling="4:2:0", progressive=True),
    "422": encoded(patches(46, 30), subsampling="4:2:2"),
    "444": encoded(patches(17, 9), subsampling="4:4:4"),
    "grey": encoded(patches(31, 45).convert("L")),
    "cmyk": encoded(patches(16, 24, "CMYK")),
    "turned": upright(6),
}


def row(name, data):
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    return f"({name}, {image.size}, 0x{fnv(image.tobytes()):016x}),"


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    print(f"// Pillow {PIL.__version__}, libjpeg-turbo {features.version('libjpeg_turbo')}")
    for name, data in FILES.items():
        (folder / f"{name}.jpg").write_bytes(data)
        print("    " + row(f'"{name}"', data))
    print("\n// turned.jpg by the value of its orientation")
    for orientation in range(1, 9):
        print("    " + row(orientation, upright(orientation)))
