"""Writes networks for ONNX Runtime, OpenVINO and tract. Also a program of its own:

    python write_onnx.py mobilenet_v1 mobilenet_v1.onnx
"""

import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from networks import NETWORKS, Layer, Network, Tensor
from weights import weights


def write(network: Network, path: pathlib.Path, batch: int):
    """Writes `network`, for `batch` images a run, to `path`."""
    constants = {"zero": np.float32(0), "six": np.float32(6)}
    for name, (values, bias) in weights(network).items():
        constants |= {f"{name}_weights": values, f"{name}_bias": bias}
    for layer in network.layers:
        if layer.operation == "shuffle":
            image, channels, groups = [layer.output.size] * 2, layer.output.channels, layer.groups
            constants[f"{layer.name}_grouped_shape"] = np.int64([batch, groups, channels // groups, *image])
            constants[f"{layer.name}_shape"] = np.int64([batch, channels, *image])
    flat = {layer.name for layer in network.layers if layer.operation in ("average", "classifier")}

    def described(tensor: Tensor) -> onnx.ValueInfoProto:
        pixels = [] if tensor.name in flat else [tensor.size, tensor.size]
        return helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, [batch, tensor.channels, *pixels])

    graph = helper.make_graph(
        [node for layer in network.layers for node in nodes(layer)],
        network.name,
        [described(network.image)],
        [described(tensor) for tensor in network.outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def nodes(layer: Layer) -> list[onnx.NodeProto]:
    """Expresses a layer in ONNX."""
    name, inputs = layer.name, [tensor.name for tensor in layer.inputs]
    parameters = [f"{name}_weights", f"{name}_bias"]
    before, after = layer.padding
    window = {
        "kernel_shape": [layer.window] * 2,
        "strides": [layer.stride] * 2,
        "pads": [before, before, after, after],
    }
    match layer.operation:
        case "convolution":
            raw = f"{name}_raw" if layer.activation else name
            convolution = helper.make_node("Conv", inputs + parameters, [raw], group=layer.groups, **window)
            match layer.activation:
                case "relu":
                    return [convolution, helper.make_node("Relu", [raw], [name])]
                case "relu6":
                    return [convolution, helper.make_node("Clip", [raw, "zero", "six"], [name])]
            return [convolution]
        case "max_pool":
            return [helper.make_node("MaxPool", inputs, [name], **window)]
        case "average_pool":
            return [helper.make_node("AveragePool", inputs, [name], count_include_pad=1, **window)]
        case "add":
            return [helper.make_node("Add", inputs, [name])]
        case "relu":
            return [helper.make_node("Relu", inputs, [name])]
        case "concat":
            return [helper.make_node("Concat", inputs, [name], axis=1)]
        case "split":
            return [helper.make_node("Split", inputs, [half.name for half in layer.outputs], axis=1)]
        case "shuffle":
            grouped, turned = f"{name}_grouped", f"{name}_turned"
            return [
                helper.make_node("Reshape", [*inputs, f"{name}_grouped_shape"], [grouped]),
                helper.make_node("Transpose", [grouped], [turned], perm=[0, 2, 1, 3, 4]),
                helper.make_node("Reshape", [turned, f"{name}_shape"], [name]),
            ]
        case "average":
            pooled = f"{name}_pooled"
            return [
                helper.make_node("GlobalAveragePool", inputs, [pooled]),
                helper.make_node("Flatten", [pooled], [name]),
            ]
        case "classifier":
            return [helper.make_node("Gemm", inputs + parameters, [name], transB=1)]
    raise ValueError(f"layer {name}: operation {layer.operation}, expected one that ONNX files can hold")


if __name__ == "__main__":
    write(NETWORKS[sys.argv[1]](), pathlib.Path(sys.argv[2]), 1)
