"""PyTorch modules as networks: `from_torch`.

`torch.export` gives the module as a graph of ATen's functions, without side effects and with the shape of every value; here
each function becomes a call of `Graph`.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ._native import Clamp, Error, Flatten, Graph, Layer, Network, Padding, Tensor, Window

if TYPE_CHECKING:
    import torch

_Floats = NDArray[np.float32]
_Shape = tuple[int, ...]


def from_torch(
    module: torch.nn.Module,
    example: torch.Tensor | Sequence[torch.Tensor],
    *,
    threads: int = 1,
    isa: str | None = None,
    low_memory: bool = False,
) -> Network:
    """The network that computes what `module` does, with its weights.

    `module` is in evaluation mode and of float32; `example` is what it is called with, one tensor or several, images x
    channels x height x width. The network takes images of the same size, any number of them: `net(x.numpy(),
    layout="nchw")`. Its nodes have the names of the modules; a batch normalisation after a convolution is a part of it.

    An `Error` lists all modules and functions that there is no network of.
    """
    import torch

    if module.training:
        raise Error(f"{type(module).__name__}: got a module in training mode, expected one for inference: call its eval()")
    examples = (example,) if isinstance(example, torch.Tensor) else tuple(example)
    with torch.no_grad():
        try:
            program = torch.export.export(module, examples, strict=False).run_decompositions({})
        except Exception as why:
            reason = str(why).strip().partition("\n")[0]
            raise Error(f"{type(module).__name__}: torch.export cannot read it: {type(why).__name__}: {reason}") from why
        reader = _Reader(program)
        outputs = reader.outputs()
    if reader.problems:
        raise Error(_listed(type(module).__name__, reader.problems))
    return reader.graph.build(outputs, threads=threads, isa=isa, low_memory=low_memory)


def _listed(name: str, problems: dict[tuple[str, str], list[str]]) -> str:
    """One line for each kind of module and what is wrong with it, with all that are of the kind."""
    lines = [f"  {kind}: {why} ({', '.join(where)})" for (kind, why), where in problems.items()]
    return f"{name}: there is no network of these modules; replace them, or take the part before them:\n" + "\n".join(lines)


class _Refused(Exception):
    """Why a function cannot be taken."""


@dataclass(frozen=True)
class _Padded:
    """An image with zeros around it, for a convolution."""

    image: Tensor
    padding: tuple[int, int, int, int]  # top, bottom, left, right


@dataclass(frozen=True)
class _Groups:
    """An image with its channels in two axes: groups x the rest, or, turned, the rest x groups."""

    image: Tensor
    groups: int
    turned: bool


@dataclass(frozen=True)
class _Row:
    """All elements of an image, one after the other, channel by channel."""

    image: Tensor


class _Unknown:
    """What comes out of a function that cannot be taken."""


_WHAT = {
    _Padded: "an image with zeros around it",
    _Groups: "channels in groups",
    _Row: "an image flattened",
    list: "several images",
    type(None): "nothing",
}


# What stands for a value of the exported graph: an image is a `Tensor`, several are a list, parameters are PyTorch's tensors.

_Function = TypeVar("_Function", bound=Callable[..., Any])
_FUNCTIONS: dict[str, Callable[..., Any]] = {}


def _takes(*names: str) -> Callable[[_Function], _Function]:
    """The decorated method takes these functions of ATen; its parameters after the node are theirs."""

    def enter(method: _Function) -> _Function:
        _FUNCTIONS.update(dict.fromkeys(names, method))
        return method

    return enter


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    """Rows and columns; ATen gives one number where they are equal."""
    sizes = (size,) if isinstance(size, int) else tuple(size)
    return (sizes[0], sizes[-1])


def _array(tensor: torch.Tensor) -> _Floats:
    if str(tensor.dtype) != "torch.float32":
        raise _Refused(f"parameters of {tensor.dtype}, expected torch.float32")
    return cast(_Floats, tensor.detach().cpu().contiguous().numpy())


@functools.cache
def _check_depthwise(window: Window, size: tuple[int, int]) -> None:
    """Raises the error of a depthwise convolution that has no kernel: a graph says so when it is built."""
    graph = Graph()
    height, width = size
    image = graph.input("image", (height, width, 1))
    graph.build([graph.depthwise("depthwise", image, window, Layer.named("depthwise"))], weights="hash")


class _Reader:
    """Makes a graph of an exported program."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        self.program = program
        self.graph = Graph()
        #: By kind of module and reason: where.
        self.problems: dict[tuple[str, str], list[str]] = {}
        self.values: dict[torch.fx.Node, Any] = {}
        self.names: set[str] = set()
        #: Batch normalisations that are part of the convolutions before them.
        self.merged: dict[torch.fx.Node, Tensor] = {}
        self.count = 0

    def outputs(self) -> list[Tensor]:
        """Reads the program; gives its outputs, and leaves what is wrong in `problems`."""
        outputs: list[Tensor] = []
        for node in self.program.graph.nodes:
            try:
                if node.op == "output":
                    outputs = [] if self.problems else [self.image(self.value(arg)) for arg in node.args[0]]
                else:
                    self.values[node] = self.placeholder(node) if node.op == "placeholder" else self.call(node)
            except (_Refused, Error) as why:
                self.values[node] = self.instead(node)
                kind, where = self.module(node)
                places = self.problems.setdefault((kind, str(why)), [])
                if where not in places:
                    places.append(where)
        return outputs

    def instead(self, node: torch.fx.Node) -> Any:
        """An image like the one that could not be had, so that what reads it is looked at too."""
        shape = self.shape(node)
        if len(shape) not in (2, 4) or 0 in shape:
            return _Unknown()
        channels, *pixels = shape[1:]
        height, width = pixels or (1, 1)
        return self.graph.input(self.name(node), (height, width, channels))

    def placeholder(self, node: torch.fx.Node) -> Any:
        signature = self.program.graph_signature
        if node.name in signature.inputs_to_parameters:
            return self.program.state_dict[signature.inputs_to_parameters[node.name]]
        if node.name in signature.inputs_to_buffers:
            name = signature.inputs_to_buffers[node.name]
            return self.program.state_dict.get(name, self.program.constants.get(name))
        if node.name in signature.inputs_to_lifted_tensor_constants:
            return self.program.constants[signature.inputs_to_lifted_tensor_constants[node.name]]
        shape, dtype = self.shape(node), getattr(node.meta.get("val"), "dtype", "no tensor")
        if len(shape) != 4 or 0 in shape or str(dtype) != "torch.float32":
            got = f"an example of shape {shape}, {dtype}"
            raise _Refused(f"{got}, expected images x channels x height x width, torch.float32")
        images, channels, height, width = shape
        if self.count not in (0, images):
            raise _Refused(f"an example of {images} images beside one of {self.count}")
        self.count = images
        return self.graph.input(self.name(node), (height, width, channels))

    def call(self, node: torch.fx.Node) -> Any:
        target = str(node.target) if not inspect.isbuiltin(node.target) else node.target.__name__
        args = [self.value(arg) for arg in node.args]
        kwargs = {name: self.value(arg) for name, arg in node.kwargs.items()}
        inputs = [self.values[input] for input in node.all_input_nodes]
        if not any(isinstance(value, (Tensor, _Padded, _Groups, _Row, _Unknown, list)) for value in inputs):
            # Of parameters alone: computed once, here.
            return node.target(*args, **kwargs)
        function = _FUNCTIONS.get(target)
        if function is None:
            raise _Refused(target)
        if any(isinstance(value, _Unknown) for value in inputs):
            return _Unknown()
        try:
            inspect.signature(function).bind(self, node, *args, **kwargs)
        except TypeError as why:
            raise _Refused(f"{target}: {why}") from None
        return function(self, node, *args, **kwargs)

    def value(self, argument: Any) -> Any:
        """An argument of a call, with values for nodes."""
        if isinstance(argument, (list, tuple)):
            return [self.value(item) for item in argument]
        return self.values[argument] if hasattr(argument, "all_input_nodes") else argument

    def image(self, value: Any) -> Tensor:
        if not isinstance(value, Tensor):
            raise _Refused(f"got {_WHAT.get(type(value), 'parameters')}, expected an image")
        return value

    def shape(self, node: torch.fx.Node) -> _Shape:
        """The shape of what a node gives, as PyTorch has it."""
        return tuple(int(size) for size in getattr(node.meta.get("val"), "shape", ()))

    def axes(self, image: Tensor) -> tuple[int, int, int]:
        """Channels, height, width."""
        height, width, channels = self.graph.shape(image)
        return channels, height, width

    def module(self, node: torch.fx.Node) -> tuple[str, str]:
        """The class and the path of the module that a node is of."""
        stack = list((node.meta.get("nn_module_stack") or {"": ("", "")}).values())
        path, kind = stack[-1]
        kind = kind if isinstance(kind, str) else kind.__name__
        return kind.rpartition(".")[2] or "module", path or node.name

    def name(self, node: torch.fx.Node) -> str:
        """A name for what a node computes: its module's, where it has one of its own."""
        path = self.module(node)[1]
        name = path if path not in self.names else f"{path}.{node.name}"
        self.names.add(name)
        return name

    def window(
        self,
        node: torch.fx.Node,
        image: Tensor,
        size: tuple[int, int],
        stride: tuple[int, int],
        dilation: tuple[int, int],
        before: tuple[int, int],
    ) -> Window:
        """The window with the padding `before` the image, and as much after it as the output needs."""
        if dilation[0] != dilation[1]:
            raise _Refused(f"a dilation of {dilation}, expected the same for rows and columns")
        inputs, outputs = self.axes(image)[1:], self.shape(node)[-2:]
        after = [
            max(0, (outputs[at] - 1) * stride[at] + (size[at] - 1) * dilation[at] + 1 - inputs[at] - before[at])
            for at in (0, 1)
        ]
        window = Window(*size).strides(*stride).dilation(dilation[0])
        return window.padding(Padding(top=before[0], bottom=after[0], left=before[1], right=after[1]))

    @_takes("aten.conv2d.default", "aten.conv2d.padding")
    def conv2d(
        self,
        node: torch.fx.Node,
        x: Any,
        weight: Any,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        outputs, _, *size = weight.shape
        stride, dilation = _pair(stride), _pair(dilation)
        if padding == "same":
            # The odd pixel comes after the image.
            padding = [(size[at] - 1) * dilation[at] // 2 for at in (0, 1)]
        before = (0, 0) if padding == "valid" else _pair(padding)
        if isinstance(x, _Padded):
            before = (before[0] + x.padding[0], before[1] + x.padding[2])
            x = x.image
        image = self.image(x)
        channels, *pixels = self.axes(image)
        window = self.window(node, image, (size[0], size[1]), stride, dilation, before)
        zeros = np.zeros(outputs, np.float32)
        layer = Layer.arrays(_array(weight), zeros if bias is None else _array(bias))
        norm = self.norm_after(node)
        if norm is not None:
            layer = layer.norm_arrays(*self.norm(outputs, *(self.value(arg) for arg in norm.args[1:])))
        if groups == 1:
            result = self.graph.conv(self.name(node), image, outputs, window, layer)
        elif groups == channels == outputs:
            _check_depthwise(window, (pixels[0], pixels[1]))
            result = self.graph.depthwise(self.name(node), image, window, layer)
        elif window == Window.PIXEL:
            result = self.graph.grouped_pointwise(self.name(node), image, outputs, groups, layer)
        else:
            raise _Refused(f"{channels} channels to {outputs} in {groups} groups under {size[0]}x{size[1]} windows")
        if norm is not None:
            self.merged[norm] = result
        return result

    def norm_after(self, node: torch.fx.Node) -> torch.fx.Node | None:
        """The batch normalisation that alone reads what a node gives."""
        users = list(node.users)
        if len(users) != 1 or str(users[0].target) != _NORM or users[0].args[0] is not node:
            return None
        # What it has besides may be computed later.
        return users[0] if all(other is node or other in self.values for other in users[0].all_input_nodes) else None

    def norm(self, channels: int, weight: Any, bias: Any, mean: Any, variance: Any, _: float, epsilon: float) -> Any:
        """The arguments of `Layer.norm_arrays`."""
        scale = np.ones(channels, np.float32) if weight is None else _array(weight)
        shift = np.zeros(channels, np.float32) if bias is None else _array(bias)
        return scale, shift, _array(mean), _array(variance), epsilon

    @_takes("aten._native_batch_norm_legit_no_training.default")
    def batch_norm(self, node: torch.fx.Node, x: Any, *parameters: Any) -> list[Any]:
        merged = self.merged.get(node)
        if merged is None:
            image = self.image(x)
            layer = Layer.without_weights().norm_arrays(*self.norm(self.axes(image)[0], *parameters))
            merged = self.graph.leaky_norm(self.name(node), image, 1.0, layer)
        # With the statistics of training, which are empty.
        return [merged, None, None]

    @_takes("aten.linear.default")
    def linear(self, node: torch.fx.Node, x: Any, weight: Any, bias: Any = None) -> Tensor:
        outputs = weight.shape[0]
        if len(self.shape(node)) != 2:
            raise _Refused(f"a linear layer that gives {self.shape(node)}, expected images x channels")
        layer = Layer.arrays(_array(weight), np.zeros(outputs, np.float32) if bias is None else _array(bias))
        if isinstance(x, _Row):
            return self.graph.flattened(self.name(node), x.image, Flatten.CHANNELS_FIRST, outputs, layer)
        return self.graph.fully_connected(self.name(node), self.image(x), outputs, layer)

    @_takes("aten.relu.default")
    def relu(self, node: torch.fx.Node, x: Any) -> Tensor:
        return self.clamp(node, x, 0.0)

    @_takes("aten.hardtanh.default")
    def hardtanh(self, node: torch.fx.Node, x: Any, lo: float = -1.0, hi: float = 1.0) -> Tensor:
        return self.clamp(node, x, lo, hi)

    @_takes("aten.clamp.default", "aten.clamp_min.default")
    def clamp(self, node: torch.fx.Node, x: Any, min: float | None = None, max: float | None = None) -> Tensor:
        clamp = Clamp(-math.inf if min is None else min, math.inf if max is None else max)
        return self.graph.clamp(self.name(node), self.image(x), clamp)

    @_takes("aten.leaky_relu.default")
    def leaky_relu(self, node: torch.fx.Node, x: Any, slope: float = 0.01) -> Tensor:
        image = self.image(x)
        ones, zeros = (make(self.axes(image)[0], np.float32) for make in (np.ones, np.zeros))
        layer = Layer.without_weights().norm_arrays(ones, zeros, zeros, ones, 0.0)
        return self.graph.leaky_norm(self.name(node), image, slope, layer)

    @_takes("aten.add.Tensor")
    def add(self, node: torch.fx.Node, a: Any, b: Any, alpha: float = 1) -> Tensor:
        if alpha != 1:
            raise _Refused(f"a sum with the second times {alpha}")
        if len({self.shape(input) for input in (node, *node.all_input_nodes)}) != 1:
            raise _Refused(f"a sum of {[self.shape(input) for input in node.all_input_nodes]}, expected equal shapes")
        return self.graph.add(self.name(node), self.image(a), self.image(b))

    @_takes("aten.max_pool2d.default")
    def max_pool2d(
        self,
        node: torch.fx.Node,
        x: Any,
        size: Any,
        stride: Any = (),
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
    ) -> Tensor:
        image = self.image(x)
        window = self.window(node, image, _pair(size), _pair(stride or size), _pair(dilation), _pair(padding))
        return self.graph.max_pool(self.name(node), image, window)

    @_takes("aten.avg_pool2d.default")
    def avg_pool2d(
        self,
        node: torch.fx.Node,
        x: Any,
        size: Any,
        stride: Any = (),
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Tensor:
        image, padding = self.image(x), _pair(padding)
        if divisor_override is not None:
            raise _Refused(f"an average that is divided by {divisor_override}")
        count_padding = count_include_pad and padding != (0, 0)
        if count_padding and ceil_mode:
            raise _Refused("an average of padding under windows that reach beyond it")
        window = self.window(node, image, _pair(size), _pair(stride or size), (1, 1), padding)
        return self.graph.average_pool(self.name(node), image, window, count_padding)

    @_takes("aten.adaptive_avg_pool2d.default")
    def adaptive_avg_pool2d(self, node: torch.fx.Node, x: Any, size: Any) -> Tensor:
        image = self.image(x)
        inputs, outputs = self.axes(image)[1:], self.shape(node)[2:]
        if outputs == (1, 1):
            return self.graph.global_average_pool(self.name(node), image)
        if outputs == inputs:
            return image
        if any(input % output for input, output in zip(inputs, outputs)):
            raise _Refused(f"an average of {inputs} pixels to {outputs}, expected divisors")
        steps = [input // output for input, output in zip(inputs, outputs)]
        return self.graph.average_pool(self.name(node), image, Window(*steps).strides(*steps), False)

    @_takes("aten.mean.dim")
    def mean(self, node: torch.fx.Node, x: Any, dims: Sequence[int], keepdim: bool = False) -> Tensor:
        axes = len(self.shape(node.all_input_nodes[0]))
        if axes != 4 or sorted(dim % axes for dim in dims) != [2, 3]:
            raise _Refused(f"a mean over the axes {dims}, expected the pixels'")
        return self.graph.global_average_pool(self.name(node), self.image(x))

    @_takes("aten.pad.default")
    def pad(
        self, node: torch.fx.Node, x: Any, pads: Sequence[int], mode: str = "constant", value: float | None = None
    ) -> _Padded:
        left, right, top, bottom = (*pads, 0, 0, 0, 0)[:4]
        if len(pads) > 4 or mode != "constant" or value or min(pads) < 0:
            raise _Refused(f"padding of {pads}, {mode} {value or 0}, expected zeros around the pixels")
        return _Padded(self.image(x), (top, bottom, left, right))

    @_takes("aten.clone.default", "aten.alias.default", "aten.detach.default", "aten.contiguous.default")
    def same(self, node: torch.fx.Node, x: Any, **_: Any) -> Any:
        return x

    @_takes("aten._assert_tensor_metadata.default")
    def asserted(self, node: torch.fx.Node, x: Any, *_: Any, **__: Any) -> None:
        """Nothing: a network takes arrays of one type alone."""

    @_takes(
        "aten.view.default",
        "aten.reshape.default",
        "aten._unsafe_view.default",
        "aten.squeeze.default",
        "aten.squeeze.dim",
        "aten.squeeze.dims",
        "aten.unsqueeze.default",
    )
    def reshape(self, node: torch.fx.Node, x: Any, *_: Any) -> Any:
        got = self.shape(node)
        if isinstance(x, Tensor):
            channels, height, width = self.axes(x)
            if got == (self.count, channels, height, width):
                return x
            if (height, width) == (1, 1) and got[:2] == (self.count, channels) and math.prod(got[2:]) == 1:
                return x
            if got == (self.count, channels * height * width):
                return _Row(x)
            if len(got) == 5 and got == (self.count, got[1], channels // got[1], height, width):
                return _Groups(x, got[1], False)
        if isinstance(x, _Groups) and got == (self.count, *self.axes(x.image)):
            return self.graph.shuffle(x.image, x.groups) if x.turned else x.image
        raise _Refused(f"a reshape to {got}")

    @_takes("aten.transpose.int", "aten.permute.default")
    def turn(self, node: torch.fx.Node, x: Any, *axes: Any) -> _Groups:
        order = list(axes[0]) if len(axes) == 1 else list(axes)
        order = [axis % 5 for axis in order]
        if isinstance(x, _Groups) and (sorted(order) == [1, 2] or order == [0, 2, 1, 3, 4]):
            return _Groups(x.image, x.groups, not x.turned)
        raise _Refused("axes in another order, which is taken of a channel shuffle alone")

    @_takes("aten.channel_shuffle.default")
    def channel_shuffle(self, node: torch.fx.Node, x: Any, groups: int) -> Tensor:
        return self.graph.shuffle(self.image(x), groups)

    def of_channels(self, node: torch.fx.Node, dim: int, what: str) -> None:
        """Refuses what is done along another axis."""
        if dim % len(self.shape(node.all_input_nodes[0])) != 1:
            raise _Refused(f"{what} along axis {dim}, expected the channels'")

    @_takes("aten.cat.default")
    def cat(self, node: torch.fx.Node, images: Sequence[Any], dim: int = 0) -> Tensor:
        self.of_channels(node, dim, "a concatenation")
        return self.graph.concat([self.image(image) for image in images])

    @_takes("aten.split.Tensor")
    def split(self, node: torch.fx.Node, x: Any, size: int, dim: int = 0) -> list[Tensor]:
        image = self.image(x)
        channels = self.axes(image)[0]
        return self.split_with_sizes(node, x, [min(size, channels - at) for at in range(0, channels, size)], dim)

    @_takes("aten.split_with_sizes.default")
    def split_with_sizes(self, node: torch.fx.Node, x: Any, sizes: Sequence[int], dim: int = 0) -> list[Tensor]:
        self.of_channels(node, dim, "a split")
        return self.graph.split(self.image(x), list(sizes))

    @_takes("aten.slice.Tensor")
    def slice(
        self, node: torch.fx.Node, x: Any, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
    ) -> Tensor:
        image = self.image(x)
        if self.shape(node) == self.shape(node.all_input_nodes[0]):
            return image
        self.of_channels(node, dim, "a slice")
        first, last, step = slice(start, end, step).indices(self.axes(image)[0])
        if step != 1:
            raise _Refused(f"a slice in steps of {step}")
        return self.graph.slice(image, first, last)

    @_takes("getitem")
    def item(self, node: torch.fx.Node, values: Sequence[Any], at: int) -> Any:
        return values[at]


_NORM = "aten._native_batch_norm_legit_no_training.default"
