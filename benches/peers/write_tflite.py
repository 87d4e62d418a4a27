"""Writes networks for TFLite. The only part that needs TensorFlow, and so a program of its own:

    python write_tflite.py mobilenet_v1 mobilenet_v1.tflite
"""

import pathlib
import sys

import tensorflow as tf

from networks import NETWORKS, Layer, Network
from weights import weights


def write(network: Network, path: pathlib.Path):
    """Writes `network` to `path`."""
    parameters = weights(network)
    image = network.image

    @tf.function(input_signature=[tf.TensorSpec([1, image.size, image.size, image.channels], tf.float32)])
    def run(x):
        values = {image: x}
        for layer in network.layers:
            inputs = [values[tensor] for tensor in layer.inputs]
            values[layer.output] = apply(layer, inputs, *parameters.get(layer.name, ()))
        return [values[tensor] for tensor in network.outputs]

    converter = tf.lite.TFLiteConverter.from_concrete_functions([run.get_concrete_function()], run)
    path.write_bytes(converter.convert())


def apply(layer: Layer, inputs: list[tf.Tensor], weight=None, bias=None) -> tf.Tensor:
    """Computes one layer."""
    x, *others = inputs
    # The rule for padding is TensorFlow's, and a layer that it leaves without any can be called either.
    padding = "SAME" if layer.padding != (0, 0) else "VALID"
    strides = [1, layer.stride, layer.stride, 1]
    match layer.operation:
        case "convolution" if layer.groups > 1:
            x = tf.nn.depthwise_conv2d(x, weight.transpose(2, 3, 0, 1), strides, padding) + bias
        case "convolution":
            x = tf.nn.conv2d(x, weight.transpose(2, 3, 1, 0), strides, padding) + bias
        case "max_pool":
            x = tf.nn.max_pool2d(x, layer.window, layer.stride, padding)
        case "add":
            x = x + others[0]
        case "relu":
            x = tf.nn.relu(x)
        case "average":
            x = tf.reduce_mean(x, [1, 2])
        case "classifier":
            x = tf.matmul(x, weight, transpose_b=True) + bias
        case other:
            raise ValueError(f"layer {layer.name}: operation {other}, expected one that TensorFlow computes")
    match layer.activation:
        case "relu":
            return tf.nn.relu(x)
        case "relu6":
            return tf.nn.relu6(x)
    return x


if __name__ == "__main__":
    write(NETWORKS[sys.argv[1]](), pathlib.Path(sys.argv[2]))
