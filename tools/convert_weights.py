#!/usr/bin/env python3
"""Converts trained weights to safetensors, under the names and in the layouts of their source.

    python tools/convert_weights.py mobilenet_v2.pth mobilenet_v2.safetensors
    python tools/convert_weights.py detector.pb backbone.safetensors --until FeatureExtractor/MobilenetV1/.../Relu6
    python tools/convert_weights.py person.h5 person.safetensors --preprocess raw255

Sources: torch checkpoints (.pth, the zip format and the legacy one, read by a whitelisting unpickler), pickles of
arrays, Keras .h5, .weights.h5 and .keras, and frozen TensorFlow graphs (.pb). Neither torch nor TensorFlow is needed.

Left out, and named, are optimiser state, batch counters and what is no tensor (a moving average replaces the variable
that it shadows); a tensor that cannot be converted is an error.
Layers with generated Keras names (conv2d_3) are renamed by layer order: to Keras' own names where the layers are those
of MobileNet V1 or V2, else counted from the first. Values keep their type, except that f64 becomes f32.

The file says in its metadata what the source settles and what the options add: sepconv.network, sepconv.width,
sepconv.groups, sepconv.resolution (pixels), sepconv.flavor, sepconv.activation, sepconv.bn_eps, sepconv.preprocess and
sepconv.classes.

Runs under a bare Python of 3.11 or later: packages that it lacks go into a virtual environment of its own,
.sepconv-venv beside OUTPUT.
"""

import argparse
import collections
import dataclasses
import hashlib
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import venv

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))  # `python -I` leaves it out

PACKAGES = [
    "numpy==2.4.6", "ml-dtypes==0.6.0", "h5py==3.16.0", "protobuf==7.36.2", "safetensors==0.8.0", "tqdm==4.70.1",
]  # fmt: skip
#: Raised when the same source and options give another file than before.
VERSION = 2
#: Where the packages go: a name that no one gives an environment of their own.
ENVIRONMENT = ".sepconv-venv"
#: The networks that `--net` of the examples takes.
NETWORKS = [
    "digits", "mobilenet_v1", "mobilenet_v2", "xception", "shufflenet_v1", "shufflenet_v2", "squeezenet_1_0",
    "squeezenet_1_1", "effnet",
]  # fmt: skip
FLAVORS = ["torch", "timm", "tf", "keras", "slim", "paper", "megvii", "caffe"]
RECIPES = {
    "torchvision": "shorter side 256, bilinear; centre 224; ImageNet mean and deviation",
    "torchvision2": "the same with 232",
    "timm": "bicubic, crop 0.875; ImageNet mean and deviation",
    "timm_half": "bicubic, crop 0.875; (x - 0.5) / 0.5",
    "timm_xception": "the same with crop 0.8975",
    "keras": "whole picture, bilinear; x / 127.5 - 1",
    "slim": "central 87.5 %, bilinear; (x - 0.5) * 2",
    "raw255": "whole picture, bilinear; RGB 0..255",
    "caffe": "whole picture, bilinear; BGR less (104.006, 116.669, 122.679)",
    "megvii": "shorter side 256, OpenCV's bilinear; centre 224; BGR 0..255",
    "digits": "one grey digit, bright on dark, bilinear; 0..1",
}
#: The library's limits of each number: whether it holds, and in words.
LIMITS = {
    "width": (lambda value: 0 < value <= 16, "more than 0, at most 16"),
    "groups": (lambda value: value in (1, 2, 3, 4, 8), "1, 2, 3, 4 or 8"),
    "resolution": (lambda value: 1 <= value <= 8192, "1 to 8192 pixels"),
    "bn_eps": (lambda value: 0 <= value < 1, "at least 0, less than 1"),
    "classes": (lambda value: 1 <= value <= 1048576, "1 to 1048576"),
}


# --- environment ------------------------------------------------------------------------------------------------------


def enter(directory: pathlib.Path, packages: list[str]):
    """Starts this program again under the virtual environment `directory`, made and filled first where it is not.

    Only an environment that this function made is ever filled.
    """
    directory = directory.resolve()
    inside = pathlib.Path(sys.prefix).resolve() == directory
    record = directory / "packages.txt"
    if not record.exists():
        if directory.exists():
            raise ValueError(f"{directory}: expected nothing there, or an environment of this program: move it away")
        if importlib.util.find_spec("ensurepip") is None:
            raise ValueError("this Python cannot make a virtual environment: install its venv package (python3-venv)")
        directory.mkdir(parents=True)
        record.touch()
    if not set(packages) <= set(record.read_text().split()):
        print(f"Making a Python environment in {directory}", file=sys.stderr, flush=True)
        if not inside:
            try:
                venv.create(directory, with_pip=True, symlinks=os.name != "nt")
            except subprocess.CalledProcessError as fault:
                raise ValueError(f"no virtual environment could be made in {directory}: {fault}") from fault
        install = [python_of(directory), "-I", "-m", "pip", "install", "-q", *packages]
        run_quietly(install, "pip could not install its packages")
        record.write_text("\n".join(packages) + "\n")
    if not inside:
        again = subprocess.run([python_of(directory), "-I", *sys.argv])
        sys.exit(again.returncode)


def python_of(directory: pathlib.Path) -> str:
    return str(directory / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def run_quietly(command: list[str], complaint: str, cwd: pathlib.Path | None = None) -> str:
    """Runs a command and returns what it prints; a failure is one line, with the command's own first error."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        said = next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "no message")
        raise ValueError(f"{complaint}: {said[:200]}")
    return done.stdout


def sha256(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def guarded(program):
    """Runs `program`; a fault is one line and exit status 2."""
    try:
        program()
    except (ValueError, OSError, ImportError) as fault:
        print(f"{pathlib.Path(sys.argv[0]).name}: {' '.join(str(fault).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


# --- what the names tell ----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Family:
    """A network in one flavor, known by a tensor that no other has."""

    network: str
    flavor: str | None
    marker: str
    heads: tuple[str, ...]  # prefixes of the classifier's tensors
    activation: str
    bn_eps: str | None = None
    preprocess: str | None = None
    # (tensor, axis, channels there at width 1) or None
    width: tuple[str, int, int] | None = None
    # Prefixes of all tensors but the head's, where these are known.
    body: tuple[str, ...] = ()


# Of timm's MobileNets.
TIMM_BODY = ("conv_stem.", "bn1.", "blocks.", "conv_head.", "bn2.")
# More specific markers stand first.
FAMILIES = [
    Family("mobilenet_v2", "torch", "features.2.conv.0.0.weight", ("classifier.",), "relu6", "1e-05", "torchvision",
           ("features.17.conv.2.weight", 0, 320), ("features.",)),
    Family("mobilenet_v2", "timm", "blocks.1.0.conv_pwl.weight", ("classifier.",), "relu6", "1e-05", "timm",
           ("blocks.6.0.conv_pwl.weight", 0, 320), TIMM_BODY),
    Family("mobilenet_v1", "timm", "blocks.0.0.conv_dw.weight", ("classifier.",), "relu6", "1e-05", "timm_half",
           ("blocks.4.1.conv_pw.weight", 0, 1024), TIMM_BODY),
    Family("xception", "timm", "block1.rep.0.conv1.weight", ("fc.",), "relu", "1e-05"),
    Family("shufflenet_v2", "torch", "stage2.0.branch2.0.weight", ("fc.",), "relu", "1e-05", "torchvision"),
    Family("shufflenet_v2", "megvii", "features.0.branch_main.0.weight", ("classifier.",), "relu", "1e-05", "megvii"),
    Family("shufflenet_v1", "megvii", "features.0.branch_main_1.0.weight", ("classifier.",), "relu", "1e-05", "megvii"),
    Family("squeezenet_1_0", "torch", "features.5.squeeze.weight", ("classifier.",), "relu", None, "torchvision"),
    Family("squeezenet_1_1", "torch", "features.6.squeeze.weight", ("classifier.",), "relu", None, "torchvision"),
    Family("squeezenet_1_1", "caffe", "fire2/squeeze1x1/kernel", ("conv10/",), "relu", None, "caffe"),
    Family("mobilenet_v1", "keras", "conv_dw_1/depthwise_kernel", ("conv_preds/",), "relu6", "0.001", "keras",
           ("conv_pw_13/kernel", 3, 1024)),
    Family("mobilenet_v2", "keras", "block_1_depthwise/depthwise_kernel", ("predictions/", "Logits/"), "relu6", "0.001",
           "keras", ("block_16_project/kernel", 3, 320)),
    Family("xception", "keras", "block2_sepconv1/depthwise_kernel", ("predictions/",), "relu", "0.001", "keras"),
    Family("mobilenet_v1", "slim", "MobilenetV1/Conv2d_1_depthwise/depthwise_weights", ("MobilenetV1/Logits/",),
           "relu6", "0.001", "slim", ("MobilenetV1/Conv2d_13_pointwise/weights", 3, 1024)),
    Family("mobilenet_v2", "slim", "MobilenetV2/expanded_conv_1/depthwise/depthwise_weights", ("MobilenetV2/Logits/",),
           "relu6", "0.001", "slim", ("MobilenetV2/expanded_conv_16/project/weights", 3, 320)),
]  # fmt: skip
# Channels of one branch of ShuffleNet V2's second stage, by width.
SHUFFLENET_V2 = {24: "0.5", 58: "1.0", 88: "1.5", 122: "2.0"}


def family_of(names) -> Family | None:
    return next((family for family in FAMILIES if family.marker in names), None)


def describe(tensors, family: Family | None, facts: dict[str, str]) -> dict[str, str]:
    """The metadata that names, shapes and the source's own configuration settle."""
    if family is None:
        return dict(facts)
    said = {key: getattr(family, key) for key in ("network", "flavor", "activation", "bn_eps", "preprocess")}
    if family.width and family.width[0] in tensors:
        tensor, axis, channels = family.width
        # Channel counts are rounded, to a multiple of 8 in some networks; widths are round numbers.
        said["width"] = str(round(tensors[tensor].shape[axis] / channels, 2))
    if family.network == "shufflenet_v2":
        said["width"] = SHUFFLENET_V2.get(tensors[family.marker].shape[0])
    if said["preprocess"] == "torchvision" and said.get("width") in ("1.5", "2.0"):
        said["preprocess"] = "torchvision2"  # torchvision trained these later
    if family.flavor == "caffe" and "conv1/kernel" in tensors and tensors["conv1/kernel"].shape[0] == 7:
        said["network"] = "squeezenet_1_0"
    head = {name.rpartition("/" if "/" in name else ".")[2]: tensor for name, tensor in tensors.items()
            if name.startswith(family.heads)}  # fmt: skip
    for field, axis in [("bias", 0), ("biases", 0), ("weight", 0), ("kernel", -1), ("weights", -1)]:
        if field in head:
            said["classes"] = str(head[field].shape[axis])
            break
    return {key: value for key, value in (said | facts).items() if value is not None}


# --- renaming ---------------------------------------------------------------------------------------------------------


def mobilenet_names(version: int) -> dict[str, list[str]]:
    """Keras' layer names of MobileNet V1 or V2 without its head, by kind, in layer order."""
    if version == 1:
        blocks = [(f"conv_dw_{i}", f"conv_pw_{i}") for i in range(1, 14)]
        return {
            "conv2d": ["conv1", *(point for _, point in blocks)],
            "depthwise_conv2d": [depth for depth, _ in blocks],
            "batch_normalization": ["conv1_bn", *(f"{name}_bn" for block in blocks for name in block)],
        }
    scopes = ["expanded_conv", *(f"block_{i}" for i in range(1, 17))]
    steps = [[f"{scope}_{step}" for step in ("expand", "depthwise", "project")] for scope in scopes]
    steps[0] = steps[0][1:]
    return {
        "conv2d": ["Conv1", *(name for block in steps for name in block if "depthwise" not in name), "Conv_1"],
        "depthwise_conv2d": [name for block in steps for name in block if "depthwise" in name],
        "batch_normalization": ["bn_Conv1", *(f"{name}_BN" for block in steps for name in block), "Conv_1_bn"],
    }


def is_mobilenet(renamed: dict[str, str], tensors) -> bool:
    """Whether each depthwise layer, under its new name, has as many channels as the projection after it takes."""
    old = {new: name for name, new in renamed.items()}
    for new in filter(re.compile("conv_dw_|.*_depthwise$").match, old):
        after = new.replace("conv_dw", "conv_pw").replace("depthwise", "project")
        if after in old and not after.endswith("_bn"):
            depthwise, pointwise = tensors[f"{old[new]}/depthwise_kernel"], tensors[f"{old[after]}/kernel"]
            if depthwise.shape[2] != pointwise.shape[2]:
                return False
    return True


def new_names(layers: list[tuple[str, str]], tensors) -> dict[str, str]:
    """Names for the Keras layers whose names are generated: a class in snake case, perhaps with a number."""
    generated = collections.defaultdict(list)
    for name, kind in layers:
        if re.fullmatch(re.escape(kind) + r"(_\d+)?", name):
            generated[kind].append(name)
    if sum(map(len, generated.values())) == len(layers):
        for version, head in [(1, "conv_preds"), (2, "predictions")]:
            targets = mobilenet_names(version)
            ends = {kind: generated[kind][len(targets.get(kind, [])) :] for kind in [*targets, "dense"]}
            tail = [*ends["conv2d"], *ends["dense"]]
            spare = ends["depthwise_conv2d"] or ends["batch_normalization"] or generated.keys() - ends.keys()
            if len(tail) <= 1 and not spare and all(len(generated[kind]) >= len(targets[kind]) for kind in targets):
                canonical = {old: new for kind in targets for old, new in zip(generated[kind], targets[kind])}
                if is_mobilenet(canonical, tensors):
                    return canonical | dict.fromkeys(tail, head)
    renamed = {name: f"{kind}_{i}" if i else kind for kind, names in generated.items() for i, name in enumerate(names)}
    # A single dense layer that Keras named is the head of the network in front of it.
    family = family_of({f"{name}/{part}" for name, _ in layers for part in ("kernel", "depthwise_kernel")})
    if family and len(generated["dense"]) == 1 and not any(f"{name}/".startswith(family.heads) for name, _ in layers):
        renamed[generated["dense"][0]] = family.heads[0].rstrip("/")
    return renamed


def rename(model) -> int:
    """Renames the generated names of a Keras model; returns how many layers got another name."""
    renamed = {old: new for old, new in new_names(model.layers, model.tensors).items() if old != new}
    tensors = {}
    for name, tensor in model.tensors.items():
        layer, _, variable = name.rpartition("/")
        tensors[f"{renamed.get(layer, layer)}/{variable}" if layer else name] = tensor
    if len(tensors) != len(model.tensors):
        raise ValueError("the new names of generated layers meet names that the model has: name its layers in Keras")
    model.tensors = tensors
    model.layers = [(renamed.get(name, name), kind) for name, kind in model.layers]
    return len(renamed)


def drop_head(model, family: Family | None):
    """Takes the classifier away, and whatever else the source has in its place."""
    if family is None:
        raise ValueError("--backbone needs a network that it knows by its names, and these are not: use --until NODE")
    dense = tuple(f"{name}/" for name, kind in model.layers if kind == "dense")
    kept = family.body or ("",)
    heads = [name for name in model.tensors if name.startswith(family.heads + dense) or not name.startswith(kept)]
    model.left_out += heads
    for name in heads:
        del model.tensors[name]


# --- conversion -------------------------------------------------------------------------------------------------------


def check(said: dict[str, str]):
    """An error where a number of the metadata is beyond the library's limits."""
    for key, (holds, expected) in LIMITS.items():
        if key in said and not holds(float(said[key])):
            raise ValueError(f"{key} {said[key]}: expected {expected}: give --{key.replace('_', '-')}")


def kinds(names: list[str]) -> str:
    """The last parts of the names, each with how often it occurs: `gamma (2), epoch`."""
    last = [re.sub(r"_\d+$", "", re.split(r"[/.]", name)[-1]) for name in names]
    return ", ".join(f"{kind} ({n})" if n > 1 else kind for kind, n in collections.Counter(last).items())


def convert(
    source: pathlib.Path,
    output: pathlib.Path,
    until: str | None = None,
    backbone: bool = False,
    given: dict[str, str] | None = None,
) -> str:
    """Converts `source` unless `output` was made from it with the same options; returns a line on what was done.

    `given` is metadata without its `sepconv.` prefix and goes before what the source tells.
    """
    import numpy as np  # here and not above: `enter` may have to fetch these first
    from safetensors import SafetensorError, safe_open
    from safetensors.numpy import save

    from model_files import read

    given = given or {}
    if output.is_dir() or output.resolve() == source.resolve():
        what = "a folder" if output.is_dir() else "the source"
        raise ValueError(f"{output}: expected the name of a file to write, found {what}: name another")
    options = {"version": VERSION, "source": sha256(source), "until": until, "backbone": backbone, "given": given}
    stamp = json.dumps(options, sort_keys=True)
    try:
        with safe_open(output, "np") as file:
            if (file.metadata() or {}).get("converter") == stamp:
                return f"{output} is there already, made from this file with these options"
    except (SafetensorError, OSError):
        pass

    model = read(source, until)
    renamed = rename(model)
    family = family_of(model.tensors)
    if backbone:
        drop_head(model, family)
    tensors = {
        name: np.ascontiguousarray(tensor, np.float32 if tensor.dtype == np.float64 else None)
        for name, tensor in model.tensors.items()
    }
    said = describe(tensors, family, model.facts) | given
    check(said)
    metadata = {f"sepconv.{key}": value for key, value in said.items()} | {"converter": stamp}
    output.parent.mkdir(parents=True, exist_ok=True)
    part = output.with_name(output.name + ".part")
    part.write_bytes(in_order(save(tensors, metadata)))
    part.replace(output)
    notes = [f"; {renamed} layers renamed by their order"] if renamed else []
    notes += [f"; left out: {kinds(model.left_out)}"] if model.left_out else []
    values = sum(tensor.size for tensor in tensors.values())
    facts = ", ".join(f"{key} {value}" for key, value in sorted(said.items())) or "names of no network that it knows"
    return f"{output}: {len(tensors)} tensors, {values:,} values; {facts}{''.join(notes)}"


def in_order(data: bytes) -> bytes:
    """The same safetensors file with its metadata sorted, so that equal conversions are equal bytes."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=pathlib.Path, help="weights: .pth, .pkl, .h5, .keras or .pb")
    parser.add_argument("output", type=pathlib.Path, help="safetensors file to write")
    parser.add_argument(
        "--until", metavar="NODE", help="keep what this graph node or Keras layer depends on, and itself"
    )
    parser.add_argument("--backbone", action="store_true", help="leave the classifier out")
    parser.add_argument(
        "--venv",
        type=pathlib.Path,
        help=f"folder of its virtual environment, made where it is not (default: {ENVIRONMENT} beside OUTPUT)",
    )
    recipes = "; ".join(f"{name}: {text}" for name, text in RECIPES.items()).replace("%", "%%")
    told = parser.add_argument_group("metadata", "goes before what the source tells")
    told.add_argument("--network", choices=NETWORKS)
    told.add_argument("--width", type=float, metavar="W", help="width multiplier, 1 for the paper's network")
    told.add_argument("--groups", type=int, metavar="G", help="groups of shufflenet_v1's pointwise convolutions")
    told.add_argument("--resolution", type=int, metavar="PIXELS", help="side of the input picture")
    told.add_argument("--flavor", choices=FLAVORS, help="whose names, layouts and padding the weights have")
    told.add_argument("--activation", choices=["linear", "relu", "relu6"])
    told.add_argument("--bn-eps", type=float, metavar="E", help="epsilon of batch normalisation")
    told.add_argument("--preprocess", choices=RECIPES, help=recipes)
    told.add_argument("--classes", type=int, metavar="N", help="outputs of the classifier")
    arguments = parser.parse_args()

    def program():
        if not arguments.source.is_file():
            raise ValueError(f"{arguments.source}: expected a file of weights, there is none: check the path")
        keys = ["network", "width", "groups", "resolution", "flavor", "activation", "bn_eps", "preprocess", "classes"]
        given = {key: str(value) for key in keys if (value := getattr(arguments, key)) is not None}
        check(given)
        try:
            import safetensors.numpy  # noqa: F401

            import model_files  # noqa: F401
        except ImportError:
            enter(arguments.venv or arguments.output.resolve().parent / ENVIRONMENT, PACKAGES)
        print(convert(arguments.source, arguments.output, arguments.until, arguments.backbone, given))

    guarded(program)


if __name__ == "__main__":
    main()
