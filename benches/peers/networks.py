"""The networks, layer by layer, as every engine's file is written from them.

Batch normalisation is folded away and images are square. Padding is that of TensorFlow: as many outputs as strides fit
into the image, an odd pixel of padding after it. In networks that are `symmetric` it is PyTorch's: half the window on
every side.
"""

import dataclasses
import typing

#: Operations that are only written to ONNX files.
ONNX_ALONE = {"average_pool", "concat", "shuffle", "split"}


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A name, and the shape of `size` rows of `size` pixels of `channels`."""

    name: str
    size: int
    channels: int


@dataclasses.dataclass(frozen=True)
class Layer:
    """One operation.

    It is convolution, max_pool, average_pool (padding counts), add, relu, concat, split, shuffle, average (over all
    pixels) or classifier.
    """

    operation: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    window: int = 1
    stride: int = 1
    padding: tuple[int, int] = (0, 0)  # before and after, on both axes
    groups: int = 1
    activation: str | None = None  # relu, relu6

    @property
    def name(self) -> str:
        """The name, which is that of the output."""
        return self.output.name

    @property
    def output(self) -> Tensor:
        """The only output, or the first."""
        return self.outputs[0]

    @property
    def input(self) -> Tensor:
        """The only input, or the first."""
        return self.inputs[0]

    @property
    def weights(self) -> tuple[int, ...] | None:
        """The shape of the weights: output channels, input channels of a group, rows, columns."""
        match self.operation:
            case "convolution":
                return self.output.channels, self.input.channels // self.groups, self.window, self.window
            case "classifier":
                return self.output.channels, self.input.channels
        return None

    @property
    def is_depthwise(self) -> bool:
        """Whether every channel has its own filter."""
        return self.operation == "convolution" and self.groups == self.input.channels

    @property
    def multiplications(self) -> int:
        """Multiply-adds, those with padding among them."""
        if self.weights is None:
            return 0
        return self.output.size**2 * self.output.channels * self.weights[1] * self.window**2


class Network:
    """A list of layers; each method appends one and returns its output."""

    def __init__(self, name: str, size: int, channels: int = 3, *, symmetric: bool = False,
                 flags: dict[str, typing.Any] | None = None):
        self.name = name
        self.symmetric = symmetric
        self.flags = flags or {}  # with which `examples/latency.rs --net` has the same layers
        self.image = Tensor("image", size, channels)
        self.layers: list[Layer] = []
        self.outputs: list[Tensor] = []

    @property
    def multiplications(self) -> int:
        """Multiply-adds of one inference."""
        return sum(layer.multiplications for layer in self.layers)

    @property
    def onnx_alone(self) -> bool:
        """Whether only ONNX files can hold it."""
        return any(layer.operation in ONNX_ALONE for layer in self.layers)

    def uses(self, tensor: Tensor) -> int:
        """How many inputs of layers a tensor is."""
        return sum(layer.inputs.count(tensor) for layer in self.layers)

    def convolution(self, x: Tensor, channels: int, window: int, stride: int = 1, *, same: bool = True,
                    groups: int = 1, activation: str | None = None) -> Tensor:
        """A convolution with bias; `same` pads."""
        return self._windowed("convolution", x, channels, window, stride, same, groups=groups, activation=activation)

    def depthwise(self, x: Tensor, stride: int = 1, activation: str | None = None) -> Tensor:
        """A depthwise 3x3 convolution with bias."""
        return self.convolution(x, x.channels, 3, stride, groups=x.channels, activation=activation)

    def pointwise(self, x: Tensor, channels: int, activation: str | None = None, groups: int = 1) -> Tensor:
        """A 1x1 convolution with bias."""
        return self.convolution(x, channels, 1, groups=groups, activation=activation)

    def max_pool(self, x: Tensor, window: int, stride: int, *, same: bool = True) -> Tensor:
        """The largest value of each window."""
        return self._windowed("max_pool", x, x.channels, window, stride, same)

    def average_pool(self, x: Tensor, window: int, stride: int) -> Tensor:
        """The mean of each window, zeros of the padding among its values."""
        return self._windowed("average_pool", x, x.channels, window, stride, True)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """The sum of two tensors."""
        return self._append("add", (x, y), x.size, x.channels)

    def relu(self, x: Tensor) -> Tensor:
        """The larger of each value and zero."""
        return self._append("relu", (x,), x.size, x.channels)

    def concat(self, x: Tensor, y: Tensor) -> Tensor:
        """The channels of one tensor, then those of the other."""
        return self._append("concat", (x, y), x.size, x.channels + y.channels)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The first half of the channels, and the second."""
        name = f"split{len(self.layers) + 1}"
        first, second = (Tensor(f"{name}_{half}", x.size, x.channels // 2) for half in ("first", "second"))
        self.layers.append(Layer("split", (x,), (first, second)))
        return first, second

    def shuffle(self, x: Tensor, groups: int) -> Tensor:
        """The first channel of each group, then the second of each, and so on."""
        return self._append("shuffle", (x,), x.size, x.channels, groups=groups)

    def average(self, x: Tensor) -> Tensor:
        """The mean over all pixels."""
        return self._append("average", (x,), 1, x.channels)

    def head(self, x: Tensor, classes: int = 1000) -> Tensor:
        """The mean over all pixels and the classifier."""
        return self._append("classifier", (self.average(x),), 1, classes)

    def end(self, output: Tensor, multiplications: int) -> "Network":
        """Ends the network, which is known to need so many multiply-adds."""
        if self.multiplications != multiplications:
            raise ValueError(f"{self.name}: {self.multiplications} multiply-adds, expected {multiplications}")
        self.outputs = [output]
        return self

    def _windowed(self, operation, x, channels, window, stride, same, **options) -> Tensor:
        if same and not self.symmetric:
            size = -(-x.size // stride)
            total = max((size - 1) * stride + window - x.size, 0)
            padding = (total // 2, total - total // 2)
        else:
            padding = (window // 2,) * 2 if same else (0, 0)
            size = (x.size + sum(padding) - window) // stride + 1
        return self._append(operation, (x,), size, channels, window=window, stride=stride, padding=padding, **options)

    def _append(self, operation, inputs, size, channels, **options) -> Tensor:
        output = Tensor(f"{operation}{len(self.layers) + 1}", size, channels)
        self.layers.append(Layer(operation, inputs, (output,), **options))
        return output


def mobilenet_v1() -> Network:
    """MobileNet V1 1.0, 224 pixels (Howard et al. 2017, Table 1), with the ReLU6 of its published weights."""
    net = Network("mobilenet_v1", 224, flags={"--flavor": "tf"})
    x = net.convolution(net.image, 32, 3, 2, activation="relu6")
    blocks = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    for channels, stride in blocks:
        x = net.depthwise(x, stride, "relu6")
        x = net.pointwise(x, channels, "relu6")
    return net.end(net.head(x), 568_740_352)


def mobilenet_v2() -> Network:
    """MobileNet V2 1.0, 224 pixels (Sandler et al. 2018, Table 2)."""
    net = Network("mobilenet_v2", 224, flags={"--flavor": "tf"})
    x = net.convolution(net.image, 32, 3, 2, activation="relu6")
    groups = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    for expansion, channels, blocks, first_stride in groups:
        for block in range(blocks):
            shortcut, stride = x, first_stride if block == 0 else 1
            if expansion > 1:
                x = net.pointwise(x, expansion * x.channels, "relu6")
            x = net.depthwise(x, stride, "relu6")
            x = net.pointwise(x, channels)
            if stride == 1 and shortcut.channels == channels:
                x = net.add(shortcut, x)
    return net.end(net.head(net.pointwise(x, 1280, "relu6")), 300_774_272)


def xception() -> Network:
    """Xception, 299 pixels (Chollet 2017, Figure 5)."""
    net = Network("xception", 299, flags={"--flavor": "tf"})

    def separable(x: Tensor, channels: int, activation: str | None) -> Tensor:
        return net.pointwise(net.depthwise(x), channels, activation)

    x = net.convolution(net.image, 32, 3, 2, same=False, activation="relu")
    x = net.convolution(x, 64, 3, same=False, activation="relu")
    middle = [(728, 728, 728)] * 8
    for block, widths in enumerate([(128, 128), (256, 256), (728, 728), *middle, (728, 1024)]):
        down = len(widths) == 2
        shortcut = net.convolution(x, widths[-1], 1, 2) if down else x
        if block > 0:  # the stem has rectified the first block's input
            x = net.relu(x)
        for channels in widths[:-1]:
            x = separable(x, channels, "relu")
        x = separable(x, widths[-1], None)
        x = net.add(shortcut, net.max_pool(x, 3, 2) if down else x)
    for channels in (1536, 2048):
        x = separable(x, channels, "relu")
    return net.end(net.head(x), 8_357_403_496)


def shufflenet_v1() -> Network:
    """ShuffleNet V1 1.0 with 3 groups, 224 pixels (Zhang et al. 2017, Table 1)."""
    net = Network("shufflenet_v1", 224, symmetric=True, flags={"--flavor": "paper", "--groups": 3})
    x = net.convolution(net.image, 24, 3, 2, activation="relu")
    x = net.max_pool(x, 3, 2)
    groups = 1  # of the first unit's first convolution, whose input is narrow
    for channels, units in [(240, 4), (480, 8), (960, 4)]:
        for unit in range(units):
            shortcut, down = x, unit == 0
            x = net.pointwise(x, channels // 4, "relu", groups=groups)
            groups = 3
            x = net.shuffle(x, groups)
            x = net.depthwise(x, 2 if down else 1)
            if down:
                x = net.pointwise(x, channels - shortcut.channels, "relu", groups=groups)
                x = net.concat(net.average_pool(shortcut, 3, 2), x)
            else:
                x = net.relu(net.add(shortcut, net.pointwise(x, channels, groups=groups)))
    return net.end(net.head(x), 137_460_672)


def shufflenet_v2() -> Network:
    """ShuffleNet V2 1.0, 224 pixels (Ma et al. 2018, Table 5), as torchvision has it."""
    net = Network("shufflenet_v2", 224, symmetric=True, flags={"--flavor": "torch"})
    x = net.convolution(net.image, 24, 3, 2, activation="relu")
    x = net.max_pool(x, 3, 2)
    for channels, units in [(116, 4), (232, 8), (464, 4)]:
        half = channels // 2
        for unit in range(units):
            if unit == 0:
                stride, right = 2, x
                left = net.pointwise(net.depthwise(x, stride), half, "relu")
            else:
                stride, (left, right) = 1, net.split(x)
            right = net.pointwise(right, half, "relu")
            right = net.pointwise(net.depthwise(right, stride), half, "relu")
            x = net.shuffle(net.concat(left, right), 2)
    return net.end(net.head(net.pointwise(x, 1024, "relu")), 144_907_992)


def squeezenet_1_1() -> Network:
    """SqueezeNet 1.1, 224 pixels (Iandola et al. 2016 and their repository), as torchvision has it.

    Its pools round sizes up, which at this size changes none.
    """
    net = Network("squeezenet_1_1", 224, symmetric=True, flags={"--flavor": "torch"})
    x = net.convolution(net.image, 64, 3, 2, same=False, activation="relu")
    for modules in ([(16, 64)] * 2, [(32, 128)] * 2, [(48, 192)] * 2 + [(64, 256)] * 2):
        x = net.max_pool(x, 3, 2, same=False)
        for squeeze, expand in modules:
            x = net.pointwise(x, squeeze, "relu")
            x = net.concat(net.pointwise(x, expand, "relu"), net.convolution(x, expand, 3, activation="relu"))
    return net.end(net.average(net.pointwise(x, 1000, "relu")), 349_151_936)


NETWORKS: dict[str, typing.Callable[[], Network]] = {
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v2": mobilenet_v2,
    "xception": xception,
    "shufflenet_v1": shufflenet_v1,
    "shufflenet_v2": shufflenet_v2,
    "squeezenet_1_1": squeezenet_1_1,
}


#: Layers of the two stacks whose difference is timed.
FEWEST, MOST = 8, 24


def depthwise_layers() -> list[Layer]:
    """The depthwise layers of the MobileNets, one of each shape and stride, the largest images first."""
    layers = [layer for build in (mobilenet_v1, mobilenet_v2) for layer in build().layers if layer.is_depthwise]
    distinct = {(layer.input.size, layer.input.channels, layer.stride): layer for layer in layers}
    return sorted(distinct.values(), key=lambda layer: (-layer.input.size, layer.stride, layer.input.channels))


def depthwise_stack(layer: Layer, count: int) -> Network:
    """`count` depthwise layers of the shape of `layer`: with a stride of 1 each on the one before, else side by side.

    Those side by side read the output of one more layer, which has the layout that the engine chose. A reader looks at
    a corner of what each puts out, so that no engine leaves one out and none copies its output. There are `MOST`
    readers whatever `count` is, those without a layer on what the layers read: between the two stacks only depthwise
    layers differ. No two readers have the same stride, which only keeps engines from taking two for one.
    """
    size, channels, stride = layer.input.size, layer.input.channels, layer.stride
    net = Network(f"depthwise_{size}x{channels}_stride_{stride}_times_{count}", size, channels)
    x = net.image
    if stride == 1:
        for _ in range(count):
            x = net.depthwise(x, activation=layer.activation)
        net.outputs = [x]
    else:
        x = net.depthwise(x)
        branches = [net.depthwise(x, stride, layer.activation) for _ in range(count)]
        for reader in range(MOST):
            read = branches[reader] if reader < count else x
            net.outputs.append(net.max_pool(read, 2, read.size + reader, same=False))
    return net
