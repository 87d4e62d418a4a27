"""Writes networks for ncnn: a text file of layers and a binary file of weights."""

import pathlib

import numpy as np

from networks import Layer, Network, Tensor
from weights import weights

MAGIC = "7767517"
#: Values of `activation_type` and its parameters.
ACTIVATIONS = {None: "", "relu": "9=1", "relu6": "9=3 -23310=2,0.0,6.0"}


def write(network: Network, path: pathlib.Path):
    """Writes `network` to `path`, a .param file, and to the .bin file beside it."""
    lines, blobs, copies = [], 0, {}

    def emit(kind: str, name: str, inputs: list[str], outputs: list[str], parameters: str = ""):
        nonlocal blobs
        blobs += len(outputs)
        lines.append(" ".join([kind, name, str(len(inputs)), str(len(outputs)), *inputs, *outputs, parameters]).strip())

    def split(tensor: Tensor):
        """Gives every reader of a tensor a blob of its own, as ncnn wants it."""
        readers = network.uses(tensor)
        copies[tensor] = [tensor.name]
        if readers > 1:
            copies[tensor] = [f"{tensor.name}_{reader}" for reader in range(readers)]
            emit("Split", f"split_{tensor.name}", [tensor.name], copies[tensor])

    image = network.image
    emit("Input", image.name, [], [image.name], f"0={image.size} 1={image.size} 2={image.channels}")
    split(image)
    for layer in network.layers:
        kind, parameters = expressed(layer)
        emit(kind, layer.name, [copies[tensor].pop() for tensor in layer.inputs], [layer.name], parameters)
        split(layer.output)
    path.write_text("\n".join([MAGIC, f"{len(lines)} {blobs}", *lines]) + "\n")

    float_weights = np.uint32(0).tobytes()  # the tag in front of weights that are plain f32
    parts = [float_weights + values.tobytes() + bias.tobytes() for values, bias in weights(network).values()]
    path.with_suffix(".bin").write_bytes(b"".join(parts))


def expressed(layer: Layer) -> tuple[str, str]:
    """Names ncnn's kind of layer and its parameters."""
    before, after = layer.padding
    weight_count = int(np.prod(layer.weights or 0))
    match layer.operation:
        case "convolution":
            parameters = (
                f"0={layer.output.channels} 1={layer.window} 3={layer.stride} 4={before} 14={before} 15={after} "
                f"16={after} 5=1 6={weight_count} {ACTIVATIONS[layer.activation]}"
            )
            return ("ConvolutionDepthWise", f"{parameters} 7={layer.groups}") if layer.groups > 1 else (
                "Convolution", parameters)
        case "max_pool":
            sides = f"3={before} 13={before} 14={after} 15={after} 5=1"
            return "Pooling", f"0=0 1={layer.window} 2={layer.stride} {sides}"
        case "add":
            return "BinaryOp", "0=0"
        case "relu":
            return "ReLU", ""
        case "average":
            return "Pooling", "0=1 4=1"
        case "classifier":
            return "InnerProduct", f"0={layer.output.channels} 1=1 2={weight_count}"
    raise ValueError(f"layer {layer.name}: operation {layer.operation}, expected one that ncnn files can hold")
