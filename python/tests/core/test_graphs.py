"""Graphs of one's own."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from oracles import Floats, bits, image, images

import sepconv
from sepconv import Clamp, Flatten, Graph, Layer, Padding, Window


def test_a_network_of_the_literature_call_by_call() -> None:
    """The digits network, under the names that the hash weights are made from."""
    graph = Graph()
    x = graph.input("image", (28, 28, 1))

    def layer(name: str, norm: str) -> Layer:
        return Layer.named(name).norm(norm, 1e-5).clamp(Clamp.RELU)

    x = graph.conv("conv_1", x, 16, Window.PIXEL.stride(2), layer("conv_1", "conv_1.bn"))
    blocks = [(64, 1), (128, 1), (128, 1), (256, 1), (256, 1), *[(512, 1)] * 6, (1024, 2), (1024, 1)]
    for index, (channels, stride) in enumerate(blocks, 2):
        name = f"ds_conv_{index}"
        window = Window.square(3).stride(stride).same(graph.shape(x))
        x = graph.depthwise(f"{name}_dw", x, window, layer(f"{name}.dw_conv", f"{name}.dw_bn"))
        x = graph.pointwise(f"{name}_pw", x, channels // 2, layer(f"{name}.pw_conv", f"{name}.pw_bn"))
    x = graph.global_average_pool("avg_pool_15", x)
    x = graph.fully_connected("fc_16", x, 10, Layer.named("fc_16").bias())
    net = graph.build([x], weights="hash", threads=2)
    assert bits(net(image(28, 28, 1))) == bits(sepconv.Network("digits", weights="hash")(image(28, 28, 1)))
    assert net.name == "graph" and net.features(["ds_conv_5_pw"])(image(28, 28, 1)).shape == (1, 14, 14, 128)


def convolved(x: Floats, weights: Floats, window: tuple[int, int, int, int], groups: int = 1) -> np.ndarray[Any, Any]:
    """A convolution in float64 of zero-padded images; `window` has rows and columns of stride, rows and columns of padding."""
    down, across, rows, columns = window
    outputs, _, height, width = weights.shape
    padded = np.pad(x.astype(np.float64), ((0, 0), (rows, rows), (columns, columns), (0, 0)))
    taps = np.lib.stride_tricks.sliding_window_view(padded, (height, width), (1, 2))[:, ::down, ::across]
    parts = np.split(taps, groups, axis=3), np.split(weights, groups)
    return np.concatenate([np.einsum("nyxckl,ockl->nyxo", tap, weight) for tap, weight in zip(*parts)], axis=3)


def test_every_call() -> None:
    """Against numpy in float64."""
    random = np.random.default_rng(3)

    def array(*shape: int) -> Floats:
        return random.uniform(-1, 1, shape).astype(np.float32)

    x = images(3, 12, 10, 4)
    dense, bias, dw, grouped = array(6, 4, 3, 3), array(6), array(6, 1, 3, 3), array(8, 3, 1, 1)
    scale, shift, mean, variance = array(6), array(6), array(6), array(6) ** 2
    classes, others, ones, zeros = array(5, 8), array(7, 3 * 3 * 8), np.ones(8, np.float32), np.zeros(8, np.float32)

    graph = Graph()
    t = graph.input("x", (12, 10, 4))
    layer = Layer.arrays(dense, bias).norm_arrays(scale, shift, mean, variance, 1e-3).clamp(Clamp(-0.5, 0.75))
    t = a = graph.conv("conv", t, 6, Window(3, 3).strides(2, 1).padding(Padding.all(1)), layer)
    t = graph.depthwise("dw", t, Window.square(3).symmetric(), Layer.arrays(dw, np.zeros(6, np.float32)))
    t = graph.clamp("relu", graph.add("sum", t, a, Clamp.NONE), Clamp.RELU)
    t = graph.shuffle(graph.concat(graph.split(t, [4, 2])[::-1]), 3)
    t = graph.grouped_pointwise("grouped", t, 8, 2, Layer.arrays(grouped, zeros))
    t = graph.leaky_norm("leaky", t, 0.1, Layer.without_weights().norm_arrays(ones, zeros, zeros, ones, 0.0))
    m = graph.max_pool("max", t, Window(2, 3).strides(2, 3))
    t = graph.average_pool("average", t, Window.square(3).stride(2).symmetric(), False)
    f = graph.flattened("flat", m, Flatten.CHANNELS_FIRST, 7, Layer.arrays(others, np.zeros(7, np.float32)))
    p = graph.pointwise("pw", graph.slice(t, 2, 6), 2, Layer.arrays(np.ones((2, 4), np.float32), np.zeros(2, np.float32)))
    g = graph.fully_connected(
        "classes", graph.global_average_pool("mean", t), 5, Layer.arrays(classes, np.zeros(5, np.float32))
    )
    assert graph.shape(m) == (3, 3, 8)
    net = graph.build([f, p, g])

    y = convolved(x, dense, (2, 1, 1, 1)) + bias
    y = a_ = np.clip((y - mean) / np.sqrt(variance + 1e-3) * scale + shift, -0.5, 0.75)
    y = np.maximum(convolved(y.astype(np.float32), dw, (1, 1, 1, 1), groups=6) + a_, 0)
    y = np.concatenate([y[..., 4:], y[..., :4]], axis=3).reshape(3, 6, 10, 3, 2).swapaxes(3, 4).reshape(3, 6, 10, 6)
    y = convolved(y.astype(np.float32), grouped, (1, 1, 0, 0), groups=2)
    y = np.where(y < 0, y * 0.1, y)
    largest = np.lib.stride_tricks.sliding_window_view(y, (2, 3), (1, 2))[:, ::2, ::3].max((4, 5))
    flat = largest.transpose(0, 3, 1, 2).reshape(3, -1) @ others.T.astype(np.float64)
    holes = np.pad(y, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=np.nan)
    y = np.nanmean(np.lib.stride_tricks.sliding_window_view(holes, (3, 3), (1, 2))[:, ::2, ::2], (4, 5))
    expected = [flat, np.repeat(y[..., 2:6].sum(3, keepdims=True), 2, 3), y.mean((1, 2)) @ classes.T.astype(np.float64)]
    for got, wanted in zip(net(x), expected):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_windows_and_clamps() -> None:
    window = Window.square(3).stride(2).symmetric()
    assert window == Window(3, 3).strides(2, 2).padding(Padding(top=1, bottom=1, left=1, right=1))
    assert hash(window) == hash(Window.square(3).symmetric().stride(2)) and window != Window.PIXEL
    assert window.output(224, 224) == (112, 112) and Window.square(3).output(2, 2) is None
    assert repr(window) == "Window(3, 3).strides(2, 2).padding(Padding(top=1, bottom=1, left=1, right=1))"
    assert eval(repr(window.dilation(2))) == window.dilation(2)
    same = Window.square(3).stride(2).same((224, 224, 3))
    assert same == window.padding(Padding(bottom=1, right=1)) and Padding.NONE == Padding(0, 0, 0, 0)
    padding = Padding(1, 2, 3, 4)
    assert (padding.top, padding.bottom, padding.left, padding.right) == (1, 2, 3, 4)
    assert (Clamp.RELU6.lo, Clamp.RELU6.hi, Clamp(0, 6)) == (0.0, 6.0, Clamp.RELU6)
    assert repr(Layer.named("a").bias()).startswith("Layer { ")


def refused() -> dict[str, tuple[Callable[[Graph, Any], Any], str]]:
    ones, bias = np.ones((8, 4, 1, 1), np.float32), np.ones(8, np.float32)
    named = Layer.named("a")
    pixel = Window.PIXEL
    return {
        "shape": (lambda g, x: g.input("y", (0, 4, 4)), "y: shape: got 0x4x4, expected at least one element"),
        "name": (lambda g, x: g.pointwise("x", x, 8, named), "x: name: got one that another node has"),
        "rank": (
            lambda g, x: g.conv("a", x, 8, pixel, Layer.arrays(ones.reshape(8, 4), bias)),
            "a: weights: got shape [8, 4], expected [8, 4, 1, 1]",
        ),
        "order": (
            lambda g, x: g.conv("a", x, 8, Window.square(2), Layer.arrays(np.ones((2, 2, 4, 8), np.float32), bias)),
            "a: weights: got shape [2, 2, 4, 8], expected [8, 4, 2, 2]",
        ),
        "depthwise": (
            lambda g, x: g.depthwise("a", x, Window.square(3), Layer.arrays(np.ones((4, 3, 3), np.float32), bias[:4])),
            "a: weights: got shape [4, 3, 3], expected [4, 1, 3, 3]",
        ),
        "either": (
            lambda g, x: g.pointwise("a", x, 4, Layer.arrays(ones, bias)),
            "a: weights: got shape [8, 4, 1, 1], expected [4, 4, 1, 1] or [4, 4]",
        ),
        "bias": (lambda g, x: g.pointwise("a", x, 8, Layer.arrays(ones, bias[:7])), "a: bias: got 7 elements, expected 8"),
        "vector": (lambda g, x: Layer.arrays(ones, bias[None]), "bias: got an array of 2 axes, expected one of one axis"),
        "type": (lambda g, x: Layer.arrays(ones.astype(int), bias), "weights: got an array of int64, expected a numpy array"),
        "window": (lambda g, x: g.max_pool("a", x, Window.square(9)), "a: "),
        "groups": (lambda g, x: g.shuffle(x, 3), "shuffle: groups: got 3, expected a divisor of the 4 channels"),
        "no groups": (lambda g, x: g.grouped_pointwise("a", x, 8, 0, named), "a: "),
        "slice": (lambda g, x: g.slice(x, 3, 5), "slice: channels: got 3..5, expected at least one of the 4 there are"),
        "split": (lambda g, x: g.split(x, [1, 2]), "split: channels: got [1, 2], expected at least one a slice, 4 in sum"),
        "classifier": (lambda g, x: g.fully_connected("a", x, 8, named), "an image of one pixel: pool it first"),
        "another graph's": (lambda g, x: g.clamp("a", Graph().input("z", (1, 1, 1)), Clamp.RELU), "one of another builder"),
        "no output": (lambda g, x: g.build([]), "graph: outputs: got none, expected at least one tensor"),
        "weights": (
            lambda g, x: g.build([g.pointwise("a", x, 8, named)]),
            "a.weight: missing, expected shape [8, 4, 1, 1]: there are no `weights`",
        ),
        "kernel": (
            lambda g, x: g.build([g.depthwise("a", x, Window.square(7).symmetric(), named)], weights="hash"),
            "a: depthwise window: got 7x7 stride 1, expected one of 3x3 stride 1",
        ),
    }


@pytest.mark.parametrize("name", refused())
def test_calls_are_refused(name: str) -> None:
    call, sentence = refused()[name]
    graph = Graph()
    x = graph.input("x", (8, 8, 4))
    with pytest.raises(sepconv.Error, match=re.escape(sentence)):
        call(graph, x)


def test_a_refused_call_changes_nothing() -> None:
    graph = Graph()
    x = graph.input("x", (8, 8, 4))
    with pytest.raises(sepconv.Error):
        graph.max_pool("pool", x, Window.square(9))
    net = graph.build([graph.max_pool("pool", x, Window.square(8))])
    np.testing.assert_array_equal(net(images(2, 8, 8, 4)), images(2, 8, 8, 4).max((1, 2), keepdims=True))
    with pytest.raises(sepconv.Error, match="graph: got a call after build, expected none: make another Graph"):
        graph.input("y", (1, 1, 1))
