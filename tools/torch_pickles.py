"""Reads torch checkpoints and pickles of arrays by a whitelisting unpickler: a file can build tensors and plain
containers and nothing else. Torch is not needed."""

import collections
import dataclasses
import io
import pathlib
import pickle
import re
import zipfile

import ml_dtypes
import numpy as np
from tqdm import tqdm

from model import Model, Unreadable

DTYPES = {
    "Float": "<f4", "Double": "<f8", "Half": "<f2", "BFloat16": ml_dtypes.bfloat16, "Long": "<i8", "Int": "<i4",
    "Short": "<i2", "Char": "i1", "Byte": "u1", "Bool": "?",
}  # fmt: skip
TORCH_MAGIC, TORCH_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
# Where training scripts keep the state dict, averaged weights first.
WRAPPERS = [
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "state_dict",
    "model_state_dict",
    "model",
    "network",
    "net",
]


@dataclasses.dataclass
class Storage:
    """A flat run of `count` elements; the data arrive later."""

    dtype: np.dtype
    count: int
    data: np.ndarray | None = None

    def fill(self, raw: bytes, key: str):
        if len(raw) != self.count * self.dtype.itemsize:
            raise Unreadable(
                f"expected {self.count * self.dtype.itemsize} bytes of tensor storage {key}, found {len(raw)}: the "
                "file is cut short or damaged, fetch it again"
            )
        self.data = np.frombuffer(raw, self.dtype)

    def __setstate__(self, state):
        raise Unreadable("expected storages made by torch, found one with a state of its own: do not trust this file")


@dataclasses.dataclass
class Strided:
    """A tensor as a view of a storage; offset and strides are in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> np.ndarray:
        if 0 in self.shape:
            return np.zeros(self.shape, self.storage.dtype)
        last = self.offset + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        if min(self.offset, *self.shape, *self.strides) < 0 or last >= self.storage.data.size:
            raise Unreadable("expected tensors that lie inside their storage, but one does not: fetch the file again")
        step = self.storage.dtype.itemsize
        view = np.lib.stride_tricks.as_strided(
            self.storage.data[self.offset :], self.shape, [stride * step for stride in self.strides]
        )
        return view.copy()

    def __setstate__(self, state):
        raise Unreadable("expected tensors made by torch, found one with a state of its own: do not trust this file")


class NumpyType:
    """Stands for a numpy dtype while a pickle is read."""

    def __init__(self, code, align=False, copy=False):
        self.code, self.order = code, "<"

    def __setstate__(self, state):
        self.order = state[1]

    def dtype(self) -> np.dtype:
        if not re.fullmatch(r"[fiu][1248]|b1", str(self.code)):
            raise Unreadable(f"expected arrays of numbers, found one of numpy type {self.code!r}: save it without that")
        return np.dtype(self.code).newbyteorder(self.order if self.order in "<>" else "<")


class NumpyArray:
    """Stands for a numpy array while a pickle is read."""

    def __setstate__(self, state):
        _, self.shape, self.kind, self.by_columns, self.raw = state

    def array(self) -> np.ndarray:
        raw = self.raw.encode("latin1") if isinstance(self.raw, str) else self.raw
        return np.frombuffer(raw, self.kind.dtype()).reshape(self.shape, order="F" if self.by_columns else "C")


def tensor_of(storage, offset, size, stride, *_gradient_and_hooks):
    if not isinstance(storage, Storage):
        raise Unreadable("expected a tensor to view a storage, found something else: fetch the file again")
    return Strided(storage, offset, tuple(size), tuple(stride))


def latin1_bytes(text, encoding):
    if encoding != "latin1":
        raise Unreadable(f"expected bytes packed as latin1, found {encoding}: save the file again")
    return text.encode("latin1")


ALLOWED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("_codecs", "encode"): latin1_bytes,
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor"): tensor_of,
    ("torch._utils", "_rebuild_tensor_v2"): tensor_of,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_gradient_and_hooks: tensor,
    ("numpy", "dtype"): NumpyType,
    ("numpy", "ndarray"): NumpyArray,
    **{("torch", f"{kind}Storage"): kind for kind in DTYPES},
    **{
        (f"numpy.{core}.multiarray", "_reconstruct"): lambda _type, _shape, _code: NumpyArray()
        for core in ("core", "_core")
    },
}


class Unpickler(pickle.Unpickler):
    """Builds tensors and plain containers; any other global is an error that names it."""

    def __init__(self, file):
        super().__init__(file, encoding="latin1")
        self.storages: dict[str, Storage] = {}

    def find_class(self, module, name):
        if (module, name) not in ALLOWED:
            raise Unreadable(
                f"expected a state dict of tensors, but the pickle asks for {module}.{name}, which is not allowed: "
                "save the state dict alone, torch.save(model.state_dict(), PATH)"
            )
        return ALLOWED[module, name]

    def persistent_load(self, pid):
        if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage" and pid[1] in DTYPES):
            raise Unreadable("expected tensor storages in the pickle, found something else: save the state dict alone")
        if len(pid) > 5 and pid[5] is not None:
            raise Unreadable("expected whole storages, found a view of one: save the state dict with a newer torch")
        _, kind, key, _, count = pid[:5]
        return self.storages.setdefault(str(key), Storage(np.dtype(DTYPES[kind]), int(count)))


def read_pickle(path: pathlib.Path, until: str | None) -> Model:
    """Legacy torch.save (three header pickles, the object, the storage keys, the raw storages), or one plain pickle."""
    with path.open("rb") as file:
        value = Unpickler(file).load()
        if value != TORCH_MAGIC:
            return state_dict(value, until)
        if Unpickler(file).load() != TORCH_PROTOCOL:
            raise Unreadable("expected torch's legacy protocol 1001: save it with a newer torch")
        little_endian(Unpickler(file).load().get("little_endian", True))
        unpickler = Unpickler(file)
        value = unpickler.load()
        for key in tqdm(Unpickler(file).load(), path.name, unit="storage", leave=False):
            storage = unpickler.storages.get(str(key))
            if storage is None:
                raise Unreadable(f"expected storage {key} to belong to a tensor: fetch the file again")
            if int.from_bytes(file.read(8), "little") != storage.count:
                raise Unreadable(
                    f"expected storage {key} of {storage.count} elements: the file is cut short, fetch it again"
                )
            storage.fill(file.read(storage.count * storage.dtype.itemsize), key)
    return state_dict(value, until)


def read_torch_zip(archive: zipfile.ZipFile, title: str, until: str | None) -> Model:
    """Torch's zip format: ROOT/data.pkl with the object, ROOT/data/KEY with each storage."""
    names = archive.namelist()
    pickles = [name for name in names if re.fullmatch(r"[^/]+/data\.pkl", name)]
    if len(pickles) != 1:
        raise Unreadable(
            "expected data.pkl (torch) or config.json and model.weights.h5 (Keras) in the zip: unpack it and "
            "convert the weights file inside, or save the model again"
        )
    root = pickles[0].removesuffix("data.pkl")
    little_endian(root + "byteorder" not in names or archive.read(root + "byteorder").strip() == b"little")
    unpickler = Unpickler(io.BytesIO(archive.read(pickles[0])))
    value = unpickler.load()
    for key, storage in tqdm(unpickler.storages.items(), title, unit="storage", leave=False):
        storage.fill(archive.read(f"{root}data/{key}"), key)
    return state_dict(value, until)


def little_endian(yes: bool):
    if not yes:
        raise Unreadable("expected little-endian data: save the file on a little-endian machine")


def state_dict(value, until: str | None) -> Model:
    """The tensors of a state dict, out of the dicts that training scripts wrap it in."""
    if until:
        raise Unreadable("expected a Keras model or a graph for --until, a state dict has no nodes: use --backbone")
    model = Model({})
    while isinstance(value, dict) and (inner := [key for key in WRAPPERS if isinstance(value.get(key), dict)]):
        beside = [str(key) for key in value if key != inner[0]]
        if stray := [key for key in beside if isinstance(value.get(key), (Strided, NumpyArray))]:
            raise Unreadable(f"expected every tensor inside {inner[0]!r}, found {stray[0]!r} beside it: save one dict")
        model.left_out += beside
        value = value[inner[0]]
    if not isinstance(value, dict):
        raise Unreadable(f"expected a dict of tensors, found a {type(value).__name__}: save the state dict alone")
    for name, entry in value.items():
        pair = isinstance(entry, (list, tuple)) and len(entry) <= 2  # [kernel] or [kernel, bias] of a layer
        entries = dict(zip([f"{name}/kernel", f"{name}/bias"], entry)) if pair else {str(name): entry}
        for full_name, array in entries.items():
            if full_name.endswith("num_batches_tracked") or isinstance(array, (type(None), int, float, str)):
                model.left_out.append(full_name)
            elif isinstance(array, (Strided, NumpyArray)):
                model.add({full_name: array.array()})
            else:
                raise Unreadable(
                    f"expected a tensor under {full_name!r}, found a {type(array).__name__}: save the state dict "
                    "alone, torch.save(model.state_dict(), PATH)"
                )
    if all(name.startswith("module.") for name in model.tensors):  # left by torch's DataParallel
        model.tensors = {name.removeprefix("module."): array for name, array in model.tensors.items()}
    return model
