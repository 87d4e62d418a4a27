"""Reads trained weights of any known kind: torch pickles, Keras files and frozen TensorFlow graphs.

`read` returns the tensors under the source's names and in the source's layouts; neither torch nor TensorFlow is needed.
Every fault of a file is an `Unreadable` whose text is one line.
"""

import pathlib
import zipfile

from frozen_graphs import read_frozen_graph
from keras_files import read_hdf5, read_keras_zip
from model import Model, Unreadable
from torch_pickles import read_pickle, read_torch_zip


def read(path: pathlib.Path, until: str | None = None) -> Model:
    """Reads a file of any known kind, told by its first bytes; `until` keeps what that node or layer depends on."""
    what, reader = recognise(path)
    try:
        model = reader(path, until)
    except Unreadable as fault:
        raise Unreadable(f"{path}: {fault}") from None
    except Exception as fault:  # a damaged file can make any parser below raise anything
        reason = " ".join(f"{type(fault).__name__} {fault}".split())[:200]
        raise Unreadable(f"{path}: expected {what}, but it is damaged ({reason}): fetch or save it again") from fault
    if not model.tensors:
        raise Unreadable(f"{path}: expected {what} with weights in it, but it holds no tensor: save the weights")
    return model


def recognise(path: pathlib.Path):
    """The kind of a file, in words, and its reader."""
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(b"PK\x03\x04"):
        return "a zip-format torch checkpoint or a .keras file", read_zip
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return "a Keras HDF5 file", read_hdf5
    if start.startswith(b"\x80") and len(start) > 1 and 2 <= start[1] <= 5:
        return "a torch checkpoint or a pickle of arrays", read_pickle
    if start and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start):
        raise Unreadable(
            f"{path}: expected weights, but it is text (an error page or a pointer?): fetch the file itself"
        )
    if path.suffix == ".pb":
        return "a frozen TensorFlow graph", read_frozen_graph
    raise Unreadable(
        f"{path}: expected a torch checkpoint (.pth), Keras weights (.h5, .keras) or a frozen graph (.pb), but its "
        "first bytes are none of these: fetch it again, or export the model to one of them"
    )


def read_zip(path: pathlib.Path, until: str | None) -> Model:
    """A .keras file, or torch's zip format."""
    with zipfile.ZipFile(path) as archive:
        keras = {"config.json", "model.weights.h5"} <= set(archive.namelist())
        return (read_keras_zip if keras else read_torch_zip)(archive, path.name, until)
