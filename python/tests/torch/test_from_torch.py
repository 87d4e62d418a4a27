"""Networks of PyTorch modules, against PyTorch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision.models as tv
from oracles import guide
from torch import nn
from torch.nn import functional as F

import sepconv

# PyTorch's own.
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    torch.manual_seed(5)
    with torch.no_grad():
        yield


def trained(module: nn.Module) -> nn.Module:
    """The module for inference, its normalisations with statistics as training leaves them."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
            if part.affine:
                part.weight.uniform_(0.5, 1.5)
                part.bias.normal_(0, 0.1)
    return module.eval()


def check(module: nn.Module, *shape: int, **arguments: Any) -> sepconv.Network:
    """The network of a module, whose results are the module's within 1e-5 of the largest, for other batches too."""
    module, example = trained(module), torch.randn(*shape)
    net = sepconv.from_torch(module, example, **arguments)
    for count in (shape[0], 3):
        x = torch.randn(count, *shape[1:])
        expected = module(x).numpy()
        for laid in (x, x.contiguous(memory_format=torch.channels_last)):
            got = net(laid.numpy(), layout="nchw")
            assert got.shape == expected.shape
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    return net


MODELS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "mobilenet_v2": (lambda: tv.mobilenet_v2(weights=None), 224),
    "shufflenet_v2_x1_0": (lambda: tv.shufflenet_v2_x1_0(weights=None), 224),
    "squeezenet1_1": (lambda: tv.squeezenet1_1(weights=None), 224),
    "mobilenetv1_100": (lambda: timm.create_model("mobilenetv1_100"), 224),
    "legacy_xception": (lambda: timm.create_model("legacy_xception"), 299),
    # Others that need nothing more.
    "resnet18": (lambda: tv.resnet18(weights=None), 96),
    "densenet121": (lambda: tv.densenet121(weights=None), 64),
    "mnasnet1_0": (lambda: tv.mnasnet1_0(weights=None), 96),
    "tf_mobilenetv3_small_minimal_100": (lambda: timm.create_model("tf_mobilenetv3_small_minimal_100"), 97),
    "repvgg_a0": (lambda: timm.create_model("repvgg_a0"), 64),
}


@pytest.mark.parametrize("name", MODELS)
def test_models(name: str) -> None:
    make, size = MODELS[name]
    check(make(), 1, 3, size, size, threads=2)


def test_bits_are_those_of_the_network_by_name() -> None:
    module = trained(tv.mobilenet_v2(weights=None))
    x = torch.randn(2, 3, 224, 224)
    weights = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    by_name = sepconv.Network("mobilenet_v2", weights=weights)
    net = sepconv.from_torch(module, x)
    np.testing.assert_array_equal(net(x.numpy(), layout="nchw"), by_name(x.numpy(), layout="nchw"))
    assert [step.kernels for step in net.describe()] == [step.kernels for step in by_name.describe()]
    # Nodes have the names of the modules.
    assert net.nodes[:2] == ["features.0.0", "features.0.2"] and net.nodes[-1] == "classifier.1"
    assert net.features(["features.18.2"])(x.numpy(), layout="nchw").shape == (2, 1280, 7, 7)
    np.testing.assert_allclose(
        net.features(["features.18.2"])(x.numpy(), layout="nchw"), module.features(x).numpy(), rtol=0, atol=1e-4
    )


class Of(nn.Module):
    """A module that computes a function, with layers for it to use."""

    def __init__(self, function: Callable[..., Any], *layers: nn.Module) -> None:
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(*inputs, *self.layers)


def standardised(x: torch.Tensor, conv: nn.Conv2d) -> torch.Tensor:
    weight = conv.weight
    weight = (weight - weight.mean((1, 2, 3), keepdim=True)) / weight.std((1, 2, 3), keepdim=True)
    return F.conv2d(x, weight, conv.bias, padding=1)


def shuffled(x: torch.Tensor, groups: int) -> torch.Tensor:
    n, c, h, w = x.shape
    return x.reshape(n, groups, c // groups, h, w).permute(0, 2, 1, 3, 4).flatten(1, 2)


SMALL: dict[str, Callable[[], nn.Module]] = {
    "windows of two sizes": lambda: nn.Conv2d(6, 5, (3, 5), stride=(2, 1), padding=(1, 0)),
    "as many pixels": lambda: nn.Conv2d(6, 5, (4, 3), padding="same"),
    "grouped 1x1": lambda: nn.Conv2d(6, 9, 1, groups=3, bias=False),
    "depthwise": lambda: nn.Conv2d(6, 6, 5, stride=2, padding=2, groups=6),
    "depthwise, dilated": lambda: nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=6),
    "normalised": lambda: nn.Sequential(nn.Conv2d(6, 4, 3), nn.BatchNorm2d(4, affine=False), nn.ReLU(inplace=True)),
    "normalised before": lambda: nn.Sequential(nn.BatchNorm2d(6, eps=1e-3), nn.ReLU6(), nn.Conv2d(6, 4, 3)),
    "normalised and read": lambda: Of(
        lambda x, conv, norm: norm(y := conv(x)) + y, nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6)
    ),
    "in place": lambda: Of(lambda x, conv: x + F.relu_(y := conv(x)) + y, nn.Conv2d(6, 6, 1)),
    "activations": lambda: nn.Sequential(nn.LeakyReLU(0.2), nn.Hardtanh(-0.5, 0.75), nn.Dropout(0.5), nn.Identity()),
    "cast to what it is": lambda: Of(lambda x: x.float().relu()),
    "clamps": lambda: Of(lambda x: x.clamp(min=-0.25).clamp(-1, 0.5)),
    "max pool": lambda: nn.MaxPool2d(3, stride=2, padding=1),
    "max pool, ceil": lambda: nn.MaxPool2d((3, 2), stride=2, ceil_mode=True),
    "average pool": lambda: nn.AvgPool2d(3, stride=2, padding=1),
    "average pool, ceil": lambda: nn.AvgPool2d(2, stride=3, ceil_mode=True),
    "average pool inside": lambda: nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True, count_include_pad=False),
    "adaptive pool": lambda: nn.AdaptiveAvgPool2d((4, 3)),
    "adaptive pool of all": lambda: nn.AdaptiveAvgPool2d((12, 9)),
    "global pool": lambda: Of(lambda x: x.mean((-1, -2))),
    "flattened": lambda: nn.Sequential(nn.MaxPool2d(3), nn.Flatten(), nn.Linear(72, 7), nn.ReLU(), nn.Linear(7, 2)),
    "channels": lambda: Of(lambda x: torch.cat([x[:, 4:], *x.split([1, 3, 2], 1)[::-1], *x.chunk(4, 1)], 1)),
    "shuffled": lambda: Of(lambda x, conv: conv(shuffled(shuffled(x, 2), 3)), nn.Conv2d(6, 4, 1)),
    "shuffled by a module": lambda: nn.Sequential(nn.ChannelShuffle(3), nn.Conv2d(6, 4, 1)),
    "squeezed": lambda: Of(lambda x: F.adaptive_avg_pool2d(x, 1).squeeze(-1).squeeze(-1)),
    "zeros around": lambda: Of(lambda x, conv: conv(F.pad(x, (0, 1, 1, 0))), nn.Conv2d(6, 4, 3, stride=2)),
    "computed weights": lambda: Of(standardised, nn.Conv2d(6, 4, 3)),
}


@pytest.mark.parametrize("name", SMALL)
def test_layers(name: str) -> None:
    check(SMALL[name](), 2, 6, 12, 9)


def test_several_inputs_and_outputs() -> None:
    module = Of(lambda x, y, conv: (conv(x) + y, conv(y)), nn.Conv2d(4, 4, 1)).eval()
    x, y = torch.randn(2, 4, 5, 6), torch.randn(2, 4, 5, 6)
    net = sepconv.from_torch(module, (x, y))
    assert [shape for _, shape in net.inputs] == [(5, 6, 4), (5, 6, 4)]
    for got, expected in zip(net(x.numpy(), y.numpy(), layout="nchw"), module(x, y), strict=True):
        np.testing.assert_allclose(got, expected.numpy(), rtol=0, atol=1e-5)


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "activation": (lambda: nn.Sequential(nn.SiLU(), nn.SiLU()), "SiLU: aten.silu.default (0, 1)"),
    "groups": (
        lambda: nn.Sequential(nn.Conv2d(6, 6, 3, groups=3)),
        "Conv2d: 6 channels to 6 in 3 groups under 3x3 windows (0)",
    ),
    "depthwise": (
        lambda: nn.Sequential(nn.Conv2d(6, 6, 7, padding=3, groups=6)),
        "Conv2d: depthwise: depthwise window: got 7x7 stride 1, expected one of 3x3 stride 1",
    ),
    "dilation": (lambda: nn.Sequential(nn.Conv2d(6, 6, 3, dilation=(1, 2))), "Conv2d: a dilation of (1, 2), expected"),
    "dense, dilated": (lambda: nn.Sequential(nn.Conv2d(6, 6, 3, dilation=2)), "Conv2d: 0: "),
    "product": (lambda: Of(lambda x: x * x), "Of: aten.mul.Tensor (mul)"),
    "broadcast": (lambda: Of(lambda x: x + x.mean((2, 3), keepdim=True)), "Of: a sum of [(2, 6, 12, 9), (2, 6, 1, 1)]"),
    "parameters": (lambda: Of(lambda x, conv: x + conv.bias[0], nn.Conv2d(1, 1, 1)), "Of: a sum of "),
    "images": (lambda: Of(lambda x: torch.cat([x, x])), "Of: a concatenation along axis 0, expected the channels'"),
    "rows": (lambda: Of(lambda x: x[:, :, 1:]), "Of: a slice along axis 2, expected the channels'"),
    "steps": (lambda: Of(lambda x: x[:, ::2]), "Of: a slice in steps of 2"),
    "transposed": (lambda: Of(lambda x: x.transpose(2, 3)), "Of: axes in another order"),
    "mean": (lambda: Of(lambda x: x.mean(1, keepdim=True)), "Of: a mean over the axes [1], expected the pixels'"),
    "reflected": (lambda: nn.Sequential(nn.ReflectionPad2d(1)), "ReflectionPad2d: padding of "),
    "zeros": (lambda: Of(lambda x: F.relu(F.pad(x, (1, 1)))), "Of: got an image with zeros around it, expected an image"),
    "adaptive": (lambda: nn.Sequential(nn.AdaptiveAvgPool2d(5)), "AdaptiveAvgPool2d: an average of (12, 9) pixels to (5, 5)"),
    "divisor": (lambda: nn.Sequential(nn.AvgPool2d(2, divisor_override=3)), "AvgPool2d: an average that is divided by 3"),
    "beyond": (
        lambda: nn.Sequential(nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True)),
        "AvgPool2d: an average of padding under windows that reach beyond it",
    ),
    "last axis": (lambda: nn.Sequential(nn.Linear(9, 4)), "Linear: a linear layer that gives (2, 6, 12, 4)"),
    "nothing": (lambda: Of(lambda x: None), "module: got nothing, expected an image (output)"),
    "alpha": (lambda: Of(lambda x: torch.add(x, x, alpha=2)), "Of: a sum with the second times 2"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_modules_are_refused(name: str) -> None:
    make, sentence = REFUSED[name]
    with pytest.raises(sepconv.Error, match=re.escape(sentence)) as caught:
        sepconv.from_torch(make().eval(), torch.randn(2, 6, 12, 9))
    assert "there is no network of these modules" in str(caught.value)


def test_all_that_cannot_be_taken_is_listed() -> None:
    """One line for each kind, also behind what cannot be taken."""
    module = tv.mobilenet_v3_small(weights=None).eval()
    with pytest.raises(sepconv.Error) as caught:
        sepconv.from_torch(module, torch.randn(1, 3, 64, 64))
    first, *lines = str(caught.value).split("\n")
    assert first.startswith("MobileNetV3: there is no network of these modules")
    kinds = {line.split(": ")[0].strip(): line for line in lines}
    assert sorted(kinds) == ["Hardsigmoid", "Hardswish", "SqueezeExcitation"]
    of_kind = [name for name, part in module.named_modules() if isinstance(part, nn.Hardswish)]
    assert kinds["Hardswish"] == f"  Hardswish: aten.hardswish.default ({', '.join(of_kind)})"


def test_wrong_calls() -> None:
    with pytest.raises(sepconv.Error, match="^Conv2d: got a module in training mode, expected one for inference"):
        sepconv.from_torch(nn.Conv2d(3, 3, 1), torch.randn(1, 3, 4, 4))
    decides = Of(lambda x: x if x.sum() > 0 else -x).eval()
    with pytest.raises(sepconv.Error, match="^Of: torch.export cannot read it: GuardOnDataDependentSymNode: "):
        sepconv.from_torch(decides, torch.randn(1, 3, 4, 4))
    module = nn.Sequential(nn.Conv2d(3, 3, 1)).eval()
    with pytest.raises(sepconv.Error, match=r"an example of shape \(3, 4, 4\), torch.float32, expected images x"):
        sepconv.from_torch(module, torch.randn(3, 4, 4))
    with pytest.raises(sepconv.Error, match="parameters of torch.bfloat16, expected torch.float32"):
        sepconv.from_torch(module.bfloat16(), torch.randn(1, 3, 4, 4).bfloat16())


def test_the_guide_runs() -> None:
    names: dict[str, Any] = {}
    exec(guide(torch=True), names)
    assert names["logits"].shape == (1, 1000)
