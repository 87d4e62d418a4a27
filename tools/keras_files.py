"""Reads Keras files: HDF5 of every version, and .keras."""

import collections
import dataclasses
import io
import json
import pathlib
import re
import zipfile

import h5py
import numpy as np
from tqdm import tqdm

from model import Model, Unreadable, nodes_under

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
