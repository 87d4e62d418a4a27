"""Readers of trained weights: torch pickles, Keras files and frozen TensorFlow graphs.

`read` returns the tensors under the source's names and in the source's layouts. Pickles are read by a whitelisting
unpickler, so that a file can build tensors and plain containers and nothing else; neither torch nor TensorFlow is
needed. Every fault of a file is an `Unreadable` whose text is one line.
"""

import collections
import dataclasses
import difflib
import io
import json
import pathlib
import pickle
import re
import zipfile

import h5py
import ml_dtypes
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tqdm import tqdm


class Unreadable(ValueError):
    """What a file should have held and what to do about it, in one line."""


@dataclasses.dataclass
class Model:
    """Tensors by name in the source's order, and what else the source says of the network."""

    tensors: dict[str, np.ndarray]
    #: Keras only: (layer name, kind) of each layer with weights, in layer order; the kind is a class in snake case.
    layers: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    #: Metadata that the file states itself: resolution, activation, bn_eps.
    facts: dict[str, str] = dataclasses.field(default_factory=dict)
    #: Names of what the source holds besides and is left out on purpose.
    left_out: list[str] = dataclasses.field(default_factory=list)

    def add(self, tensors: dict[str, np.ndarray]):
        """Takes tensors in; none may have the name of another."""
        if twice := self.tensors.keys() & tensors.keys():
            raise Unreadable(f"expected one tensor of the name {min(twice)}, found two: name the layers apart")
        self.tensors |= tensors


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


# --- pickles ----------------------------------------------------------------------------------------------------------

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


def read_zip(path: pathlib.Path, until: str | None) -> Model:
    """A .keras file, or torch's zip format: ROOT/data.pkl with the object, ROOT/data/KEY with each storage."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if "config.json" in names and "model.weights.h5" in names:
            return read_keras_zip(archive, path.name, until)
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
        for key, storage in tqdm(unpickler.storages.items(), path.name, unit="storage", leave=False):
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


# --- Keras ------------------------------------------------------------------------------------------------------------

# Variables of each kind of layer, in Keras' order; a layer without a bias has one fewer.
VARIABLES = {
    "conv2d": ["kernel", "bias"],
    "dense": ["kernel", "bias"],
    "depthwise_conv2d": ["depthwise_kernel", "bias"],
    "separable_conv2d": ["depthwise_kernel", "pointwise_kernel", "bias"],
    "batch_normalization": ["gamma", "beta", "moving_mean", "moving_variance"],
}


@dataclasses.dataclass
class Layer:
    """One layer of a Keras configuration; models inside the model are laid out flat, in front of their own entry."""

    name: str
    kind: str
    settings: dict
    place: str  # group inside model.weights.h5
    reads: set[str]  # layers whose output it takes


def snake_case(name: str) -> str:
    """Keras' file spelling of a class: DepthwiseConv2D is depthwise_conv2d, ReLU is re_lu."""
    return re.sub(r"(?<!^)(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])", "_", name).lower()


def inputs_of(nodes) -> set[str]:
    """Layer names in an entry's inbound nodes, in Keras 2's or Keras 3's spelling: every [name, int, int, ...]."""
    if isinstance(nodes, dict):
        return inputs_of(list(nodes.values()))
    if not isinstance(nodes, list):
        return set()
    if len(nodes) >= 3 and isinstance(nodes[0], str) and isinstance(nodes[1], int) and isinstance(nodes[2], int):
        return {nodes[0]}
    return set().union(*map(inputs_of, nodes))


def layers_of(model: dict, folder: str, parent: str = "", feeds: set[str] = frozenset()) -> list[Layer]:
    """The layers of a model's configuration, in order.

    `folder` is the name of the groups of layers in model.weights.h5, `parent` the group of this model, and `feeds` are
    the layers that the model's inputs read.
    """
    entries = model["config"] if isinstance(model["config"], list) else model["config"]["layers"]
    counts = collections.Counter()
    before, layers = set(feeds), []
    for entry in entries:
        settings, kind = entry["config"], snake_case(entry["class_name"])
        name = entry.get("name") or settings["name"]
        place = f"{parent}{folder}/{kind}" + (f"_{counts[kind]}" if counts[kind] else "")
        counts[kind] += 1
        reads = inputs_of(entry.get("inbound_nodes")) or before
        nested = isinstance(settings, list) or "layers" in settings
        inside = layers_of(entry, folder, f"{place}/", reads) if nested else []
        layers += [*inside, Layer(name, kind, settings, place, {layer.name for layer in inside} or reads)]
        if model["class_name"] == "Sequential":
            before = {name}
    return layers


def nodes_under(until: str, reads: dict[str, set[str]]) -> set[str]:
    """`until` and everything that it depends on, in a graph given as the inputs of each node."""
    if until not in reads:
        close = difflib.get_close_matches(until, reads, 3, 0.4)
        raise Unreadable(
            f"expected --until to name one of its {len(reads)} nodes, not {until!r}: did you mean {close}?"
        )
    found, todo = set(), [until]
    while todo:
        node = todo.pop()
        if node not in found:
            found.add(node)
            todo += reads.get(node, ())
    return found


def facts_of(layers: list[Layer]) -> dict[str, str]:
    """Resolution, activation and epsilon as far as the configuration settles them."""
    facts = {}
    shapes = [layer.settings.get("batch_shape") or layer.settings.get("batch_input_shape") for layer in layers]
    shape = next(filter(None, shapes), [])
    if len(shape) == 4 and shape[1] and shape[1] == shape[2]:
        facts["resolution"] = str(shape[1])
    acts = {str(layer.settings.get("activation")) for layer in layers}
    if any("relu6" in act for act in acts) or any(layer.settings.get("max_value") == 6 for layer in layers):
        facts["activation"] = "relu6"
    elif "relu" in acts or any(layer.kind == "re_lu" for layer in layers):
        facts["activation"] = "relu"
    epsilons = {layer.settings["epsilon"] for layer in layers if layer.kind == "batch_normalization"}
    if len(epsilons) == 1:
        facts["bn_eps"] = f"{epsilons.pop():g}"
    return facts


def keep_until(layers: list[Layer], until: str | None) -> list[Layer]:
    if not until:
        return layers
    kept = nodes_under(until, {layer.name: layer.reads for layer in layers})
    return [layer for layer in layers if layer.name in kept]


def numbered(group: h5py.Group) -> list[np.ndarray]:
    """The variables 0, 1, 2... of a layer."""
    return [np.asarray(group[key]) for key in sorted(group, key=int)]


def fields(layer: str, kind: str, values: list[np.ndarray], settings: dict) -> dict[str, np.ndarray]:
    """Names the variables of a layer that are stored by number."""
    names = VARIABLES[kind]
    if kind == "batch_normalization":
        switches = {"gamma": "scale", "beta": "center"}
        names = [name for name in names if settings.get(switches.get(name), True)]
    elif not settings.get("use_bias", len(values) == len(names)):
        names = names[:-1]
    if len(values) != len(names):
        raise Unreadable(f"expected {names} of layer {layer}, found {len(values)} variables: save the model again")
    return {f"{layer}/{name}": value for name, value in zip(names, values)}


def account(model: Model, file: h5py.File, used: set[str], cut: tuple[str, ...] = ()):
    """Sorts the arrays of `file` that were not `used`: optimiser, metrics, random seeds and those under the groups `cut`
    are left out, any other is an error."""

    def visit(place, entry):
        if not isinstance(entry, h5py.Dataset) or place in used:
            return
        top = place.split("/")[0]
        if "optimizer" in top or "metric" in top:
            model.left_out.append(top)
        elif "seed_generator" in place or place.startswith(cut):
            model.left_out.append(re.sub(r"/vars/\d+$", "", place))
        else:
            raise Unreadable(
                f"expected weights of {', '.join(VARIABLES)} alone, found {place}, which cannot be converted: save the "
                "model without that layer"
            )

    file.visititems(visit)


def read_keras_zip(archive: zipfile.ZipFile, title: str, until: str | None) -> Model:
    """A .keras file: the layer names are in config.json, the weights in model.weights.h5 by class and number."""
    config = json.loads(archive.read("config.json"))
    with h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as weights:
        root = next((root for root in ("layers", "_layer_checkpoint_dependencies") if root in weights), None)
        if root is None or "config" not in config:
            raise Unreadable("expected a Functional or Sequential model: save it as one, or save its weights as .h5")
        everything = layers_of(config, root)
        layers = keep_until(everything, until)
        model, used = Model({}, facts=facts_of(layers)), set()
        for layer in tqdm(layers, title, unit="layer", leave=False):
            if layer.kind not in VARIABLES:
                continue
            if f"{layer.place}/vars" not in weights:
                raise Unreadable(f"expected weights of layer {layer.name} at {layer.place}: save the model again")
            group = weights[f"{layer.place}/vars"]
            model.layers.append((layer.name, layer.kind))
            model.add(fields(layer.name, layer.kind, numbered(group), layer.settings))
            used |= {f"{layer.place}/vars/{key}" for key in group}
        kept = {layer.name for layer in layers}
        account(model, weights, used, tuple(f"{layer.place}/" for layer in everything if layer.name not in kept))
    return model


def read_hdf5(path: pathlib.Path, until: str | None) -> Model:
    """A whole-model or weights-only file of Keras 1 or 2 (and Keras 3's .h5), or Keras 3's .weights.h5."""
    with h5py.File(path) as file:
        group = file.get("model_weights", file)
        if "layer_names" in group.attrs or "layer_names0" in group.attrs:
            return read_named_layers(file, group, path.name, until)
        if "layers" in file or "_layer_checkpoint_dependencies" in file:
            return read_numbered_layers(file, path.name, until)
    raise Unreadable("expected Keras weights in the HDF5 file (layer_names or layers): save the model with Keras")


def texts(attributes, name: str) -> list[str]:
    """A list of strings, which Keras splits over NAME0, NAME1... where it is long."""
    parts = [attributes[name]] if name in attributes else []
    while f"{name}{len(parts)}" in attributes:
        parts.append(attributes[f"{name}{len(parts)}"])
    return [text.decode() if isinstance(text, bytes) else str(text) for part in parts for text in part]


def read_named_layers(file: h5py.File, group: h5py.Group, title: str, until: str | None) -> Model:
    """Weights by layer and name; the names end in LAYER/VARIABLE, with `:0` in Keras 1 and 2."""
    config = json.loads(file.attrs["model_config"]) if "model_config" in file.attrs else None
    layers = layers_of(config, "layers") if config else []
    if until and not layers:
        raise Unreadable("expected the model's configuration for --until, found weights only: use --backbone")
    kept = {layer.name for layer in keep_until(layers, until)}
    kinds = {layer.name: layer.kind for layer in layers}
    variables: dict[str, dict[str, np.ndarray]] = {}
    used, cut = set(), []
    for top in tqdm(texts(group.attrs, "layer_names"), title, unit="layer", leave=False):
        names = texts(group[top].attrs, "weight_names")
        owners = [name.split("/")[-2] if "/" in name else top for name in names]
        nested = len(set(owners)) > 1
        for name, owner in zip(names, owners):
            layer, variable = owner if nested else top, re.sub(r":\d+$", "", name.split("/")[-1])
            place = group[top][name].name.strip("/")
            if until and layer not in kept:
                cut.append(place)
                continue
            if variable in variables.setdefault(layer, {}):
                raise Unreadable(f"expected one {variable} of layer {layer}, found two: name the layers apart")
            variables[layer][variable] = np.asarray(group[top][name])
            used.add(place)
    # Layer order is the configuration's: a model inside the model lists its trainable weights first.
    order = {layer.name: index for index, layer in enumerate(layers)}
    model = Model({}, facts=facts_of(keep_until(layers, until)))
    account(model, file, used, tuple(cut))
    for layer in sorted(variables, key=lambda name: order.get(name, len(order))):
        kind = kinds.get(layer) or kind_of(layer, variables[layer])
        model.layers.append((layer, kind))
        for variable, value in variables[layer].items():
            if kind == "depthwise_conv2d" and variable == "kernel":
                variable = "depthwise_kernel"
            model.add({f"{layer}/{variable}": value})
    return model


def kind_of(layer: str, variables: dict[str, np.ndarray]) -> str:
    """The kind of a layer of a weights-only file, by its variables."""
    if "moving_mean" in variables:
        return "batch_normalization"
    if "pointwise_kernel" in variables:
        return "separable_conv2d"
    kernel = variables.get("depthwise_kernel", variables.get("kernel", np.empty(0)))
    if kernel.ndim == 2:
        return "dense"
    if "depthwise_kernel" in variables or (kernel.ndim == 4 and kernel.shape[2] > kernel.shape[3] == 1):
        return "depthwise_conv2d"
    return "conv2d" if kernel.ndim == 4 else layer


def read_numbered_layers(file: h5py.File, title: str, until: str | None) -> Model:
    """Keras 3's .weights.h5: variables by class and number; the layer's own name is an attribute."""
    if until:
        raise Unreadable("expected the model's configuration for --until, found weights only: use --backbone")
    places = []

    def visit(place, entry):
        parts = place.split("/")
        if parts[0] in ("layers", "_layer_checkpoint_dependencies") and parts[-1] == "vars" and len(entry):
            places.append(parts)

    file.visititems(visit)
    model, used = Model({}), set()

    def by_number(parts):
        return [int(run) if run.isdigit() else run for run in re.split(r"(\d+)", "/".join(parts))]

    for parts in tqdm(sorted(places, key=by_number), title, unit="layer", leave=False):
        group, kind = file["/".join(parts)], re.sub(r"_\d+$", "", parts[-2])
        if kind in VARIABLES:
            name = str(group.attrs.get("name", parts[-2]))
            model.layers.append((name, kind))
            model.add(fields(name, kind, numbered(group), {}))
            used |= {"/".join([*parts, key]) for key in group}
    account(model, file, used)
    return model


# --- frozen graphs ----------------------------------------------------------------------------------------------------

# The part of TensorFlow's GraphDef that weights need: message -> (field, number, type); `[]` marks a repeated field.
GRAPH = {
    "Graph": [("node", 1, "Node[]")],
    "Node": [("name", 1, "string"), ("op", 2, "string"), ("input", 3, "string[]"), ("attr", 5, "Entry[]")],
    "Entry": [("key", 1, "string"), ("value", 2, "Attribute")],
    "Attribute": [("f", 4, "float"), ("shape", 7, "Shape"), ("tensor", 8, "Tensor")],
    "Shape": [("dim", 2, "Extent[]")],
    "Extent": [("size", 1, "int64")],
    "Tensor": [
        ("dtype", 1, "int32"), ("shape", 2, "Shape"), ("content", 4, "bytes"), ("float_values", 5, "float[]"),
        ("double_values", 6, "double[]"), ("half_values", 13, "int32[]"),
    ],
}  # fmt: skip
# TensorFlow's number of each float type, and the list that holds its values where there are no raw bytes.
FLOATS = {
    1: ("<f4", "float_values"),
    2: ("<f8", "double_values"),
    14: ("bfloat16", "half_values"),
    19: ("<f2", "half_values"),
}
VARIABLE_OPS = {"Variable", "VariableV2", "VarHandleOp"}
AVERAGE = "/ExponentialMovingAverage"
WEIGHT_NAMES = {
    "weights", "depthwise_weights", "pointwise_weights", "biases", "gamma", "beta", "moving_mean", "moving_variance",
    "kernel", "depthwise_kernel", "pointwise_kernel", "bias",
}  # fmt: skip


def graph_class():
    """The protobuf class of `GRAPH`."""
    file = descriptor_pb2.FileDescriptorProto(name="graph.proto", package="graph", syntax="proto3")
    for message, entries in GRAPH.items():
        described = file.message_type.add(name=message)
        for name, number, kind in entries:
            base = kind.removesuffix("[]")
            field = described.field.add(name=name, number=number, label=3 if kind.endswith("[]") else 1)
            if base in GRAPH:
                field.type, field.type_name = field.TYPE_MESSAGE, f".graph.{base}"
            else:
                field.type = getattr(field, f"TYPE_{base.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("graph.Graph"))


def constant(tensor, name: str) -> np.ndarray:
    """The array of a float TensorProto: raw bytes, or a list whose last value repeats up to the tensor's size."""
    kind, values = FLOATS[tensor.dtype]
    dtype = np.dtype(ml_dtypes.bfloat16 if kind == "bfloat16" else kind)
    shape = [extent.size for extent in tensor.shape.dim]
    count = int(np.prod(shape, dtype=np.int64))
    if tensor.content:
        flat = np.frombuffer(tensor.content, dtype)
    else:
        listed = getattr(tensor, values)
        flat = np.array(listed, np.uint16).view(dtype) if values == "half_values" else np.array(listed, dtype)
        flat = np.pad(flat, (0, count - len(flat)), "edge") if 0 < len(flat) < count else flat
    if len(flat) != count:
        raise Unreadable(f"expected {count} values of {name}, found {len(flat)}: fetch or freeze the graph again")
    return flat.reshape(shape)


def read_frozen_graph(path: pathlib.Path, until: str | None) -> Model:
    """The float constants of a frozen graph by node name; a moving average replaces the variable that it shadows."""
    graph = graph_class().FromString(path.read_bytes())
    nodes = {node.name: node for node in graph.node}
    if not any(node.op for node in nodes.values()):
        raise Unreadable("expected a GraphDef with nodes, found none (a SavedModel?): freeze the model first")
    if variable := next((name for name, node in nodes.items() if node.op in VARIABLE_OPS), None):
        raise Unreadable(
            f"expected a frozen graph, found {variable}, whose values are elsewhere: freeze the model first"
        )
    reads = {name: {re.sub(r"^\^|:\d+$", "", source) for source in node.input} for name, node in nodes.items()}
    kept = nodes_under(until, reads) if until else set(nodes)

    attributes = {name: {entry.key: entry.value for entry in node.attr} for name, node in nodes.items()}
    tensors = {
        name: attributes[name]["value"].tensor
        for name, node in nodes.items()
        if node.op == "Const" and attributes[name]["value"].tensor.dtype in FLOATS
    }
    extents = {name: [extent.size for extent in tensor.shape.dim] for name, tensor in tensors.items()}
    sized = [name for name in tensors if extents[name] and min(extents[name]) > 0]
    chosen = dict.fromkeys(name.removesuffix(AVERAGE) for name in sized if name in kept)
    if any(name.split("/")[-1] in WEIGHT_NAMES for name in chosen):
        chosen = [name for name in chosen if name.split("/")[-1] in WEIGHT_NAMES]  # and no optimiser's slots
    model = Model({}, facts=graph_facts([(nodes[name].op, attributes[name]) for name in nodes if name in kept]))
    taken = {*chosen}
    for name, node in nodes.items():
        if node.op == "Const" and name.removesuffix(AVERAGE) not in taken:
            if name in kept and name not in tensors and name.split("/")[-1] in WEIGHT_NAMES:
                raise Unreadable(f"expected float weights, found {name} of another type: export without quantisation")
            model.left_out.append(name)
    for name in tqdm(chosen, path.name, unit="tensor", leave=False):
        # A scope in front of slim's own belongs to a detector around the network.
        short = re.sub(r"^.*(?=MobilenetV[12]/)", "", name)
        model.add({short: constant(tensors.get(name + AVERAGE, tensors.get(name)), name)})
    return model


def graph_facts(nodes: list) -> dict[str, str]:
    """Resolution, activation and epsilon as far as the (operation, attributes) of the graph settle them."""
    facts = {}
    for op, attributes in nodes:
        extents = [extent.size for extent in attributes["shape"].shape.dim] if "shape" in attributes else []
        if op == "Placeholder" and len(extents) == 4 and extents[1] == extents[2] > 0:
            facts["resolution"] = str(extents[1])
    operations = {op for op, _ in nodes}
    if operations & {"Relu", "Relu6"}:
        facts["activation"] = "relu6" if "Relu6" in operations else "relu"
    epsilons = {f"{attributes['epsilon'].f:g}" for op, attributes in nodes if op.startswith("FusedBatchNorm")}
    if len(epsilons) == 1:
        facts["bn_eps"] = epsilons.pop()
    return facts
