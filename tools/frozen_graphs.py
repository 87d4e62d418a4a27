"""Reads frozen TensorFlow graphs (.pb) without TensorFlow."""

import pathlib
import re

import ml_dtypes
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tqdm import tqdm

from model import Model, Unreadable, nodes_under

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
