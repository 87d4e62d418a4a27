"""The engines under one interface, and their turns on the clock. Nothing is imported before an engine is loaded."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import pathlib
import subprocess
import time
import tomllib
import typing

from environments import Failure, call

if typing.TYPE_CHECKING:
    import numpy as np

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
OURS = "sepconv"

#: Runs a number of inferences and returns the milliseconds of each.
Clock = typing.Callable[[int], list[float]]


@dataclasses.dataclass
class Peer:
    """A network loaded by an engine of others."""

    infer: typing.Callable[[], typing.Any]  # what is timed
    outputs: typing.Callable[[], list]  # what it computes, for the check

    def clock(self, count: int) -> list[float]:
        """Runs `count` inferences and returns the milliseconds of each."""
        times = []
        for _ in range(count):
            start = time.perf_counter()
            self.infer()
            times.append((time.perf_counter() - start) * 1e3)
        return times


def onnxruntime(path: pathlib.Path, threads: int, image: np.ndarray) -> Peer:
    """ONNX Runtime's CPU provider with all its optimisations, which are its default."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def infer():
        return session.run(None, {"image": image})

    return Peer(infer, infer)


def openvino(path: pathlib.Path, threads: int, image: np.ndarray) -> Peer:
    """OpenVINO's CPU plugin, held to f32."""
    import openvino

    options = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    model = openvino.Core().compile_model(path, "CPU", options)
    request = model.create_infer_request()

    def infer():
        return request.infer({0: image}, share_inputs=True)

    return Peer(infer, lambda: [infer()[output] for output in model.outputs])


def ncnn(path: pathlib.Path, threads: int, image: np.ndarray) -> Peer:
    """ncnn, held to f32."""
    import ncnn

    net = ncnn.Net()
    options = net.opt
    options.num_threads = threads
    options.use_fp16_storage = options.use_fp16_packed = options.use_fp16_arithmetic = options.use_bf16_storage = False
    for load, file in [(net.load_param, path), (net.load_model, path.with_suffix(".bin"))]:
        status = load(str(file))
        if status != 0:
            raise Failure(f"{file}: ncnn reads it with status {status}, expected 0")
    source = ncnn.Mat(image[0])
    [name] = net.output_names()

    def infer():
        extractor = net.create_extractor()
        extractor.input("image", source)
        return extractor.extract(name)[1]

    return Peer(infer, lambda: [infer()])


def tflite(path: pathlib.Path, threads: int, image: np.ndarray) -> Peer:
    """TFLite with its XNNPACK kernels, which are its default."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=threads)
    source = interpreter.get_input_details()[0]["index"]
    pixels = image.transpose(0, 2, 3, 1).copy()
    interpreter.resize_tensor_input(source, pixels.shape)
    interpreter.allocate_tensors()

    def infer():
        interpreter.set_tensor(source, pixels)
        interpreter.invoke()

    def outputs():
        infer()
        return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]

    return Peer(infer, outputs)


@dataclasses.dataclass(frozen=True)
class Kind:
    """An engine: how it loads a file with a number of threads, the file's suffix, the package that it comes in.

    Those without `batches` run one image at a time.
    """

    load: typing.Callable[[pathlib.Path, int, np.ndarray], Peer]
    suffix: str
    package: str
    batches: bool = True


PEERS = {
    "onnxruntime": Kind(onnxruntime, "onnx", "onnxruntime"),
    "openvino": Kind(openvino, "onnx", "openvino"),
    "ncnn": Kind(ncnn, "param", "ncnn", batches=False),
    "tflite": Kind(tflite, "tflite", "ai-edge-litert"),
}


def version(engine: str) -> str:
    """The version of an engine."""
    if engine == OURS:
        return tomllib.loads((REPOSITORY / "Cargo.toml").read_text())["package"]["version"]
    return importlib.metadata.version(PEERS[engine].package)


class Program:
    """One of our examples: it says `ready`, then answers each line N with the milliseconds of N inferences."""

    def __init__(self, executable: pathlib.Path, flags: dict[str, typing.Any]):
        parts = (part for flag in flags.items() for part in flag if part is not None)
        self.command = [str(executable), *map(str, parts)]
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer("ready", lambda line: line == "ready")

    def clock(self, count: int) -> list[float]:
        """Runs `count` inferences and returns the milliseconds of each."""
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        line = self._answer(f"{count} times", lambda line: len(line.split()) == count)
        return [float(time) for time in line.split()]

    def _answer(self, expected: str, good: typing.Callable[[str], bool]) -> str:
        line = self.process.stdout.readline().strip()
        if not good(line):
            raise Failure(f"{' '.join(self.command)}: it printed {line!r}, expected {expected}")
        return line

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def built(example: str) -> pathlib.Path:
    """Builds one of our examples and names its program."""
    command = ["cargo", "build", "--release", "--example", example, "--message-format", "json"]
    messages = map(json.loads, call(command, f"building example {example}", cwd=REPOSITORY).splitlines())
    [program] = [
        message["executable"]
        for message in messages
        if message.get("executable") and message["target"]["name"] == example
    ]
    return pathlib.Path(program)


def turns(clocks: dict[str, Clock], rounds: int, inferences: int) -> dict[str, list[list[float]]]:
    """Returns the milliseconds of each engine, round by round.

    In a round every engine has its turn, and every round begins with another one. A turn begins with an inference that
    does not count: it brings the weights back into the caches, and outlasts threads of the engine before that still
    wait for work.
    """
    names = list(clocks)
    times = {name: [] for name in names}
    for name in names:
        clocks[name](2)
    for first in range(rounds):
        for turn in range(len(names)):
            name = names[(first + turn) % len(names)]
            times[name].append(clocks[name](inferences + 1)[1:])
    return times
