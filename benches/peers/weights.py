"""The numbers of the networks: random, and the same for every engine."""

import numpy as np

from networks import Network


def weights(network: Network) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Weights after He et al. 2015 (in the order of `Layer.weights`) and biases of each layer that has any."""
    random = np.random.default_rng(0)
    made = {}
    for layer in network.layers:
        if layer.weights is not None:
            deviation = np.sqrt(2 / np.prod(layer.weights[1:]))
            values = random.standard_normal(layer.weights) * deviation
            bias = random.standard_normal(layer.output.channels) * 0.05
            made[layer.name] = values.astype(np.float32), bias.astype(np.float32)
    return made


def image(network: Network, batch: int = 1) -> np.ndarray:
    """Random images: batch, channels, rows, columns."""
    shape = (batch, network.image.channels, network.image.size, network.image.size)
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)
