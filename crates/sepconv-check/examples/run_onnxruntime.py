"""Runs the vectors of `sepconv-check --vectors` on ONNX Runtime and holds its outputs to the bound that stands in them.

    python run_onnxruntime.py conv.json

Needs numpy, onnx and onnxruntime. Prints {cases, failures, first}. Status 1: an output is outside its bound. Status 2: the
file is not what was written.
"""

import argparse
import json
import pathlib
import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

ARRAYS = ("input", "weights", "bias", "residual", "output")


def fnv1a(values: np.ndarray) -> str:
    """The hash of an array, as the file has it."""
    digest = 0xCBF29CE484222325
    for byte in np.where(np.isnan(values), np.float32(np.nan), values).astype("<f4").tobytes():
        digest = (digest ^ byte) * 0x100000001B3 % 2**64
    return f"{digest:016x}"


def read(vector: dict) -> dict[str, np.ndarray]:
    """The arrays of a vector, each as its hash says."""
    present = {name: vector[name] for name in ARRAYS if vector[name] is not None}
    arrays = {name: np.array(array["bits"], np.uint32).view(np.float32) for name, array in present.items()}
    for name, values in arrays.items():
        if fnv1a(values) != present[name]["hash"]:
            raise ValueError(f"{name}: hash {fnv1a(values)}, expected {present[name]['hash']}")
    return arrays


def model(case: dict, arrays: dict[str, np.ndarray], pads: list[int]) -> bytes:
    """Conv, then Add of the residual and Clip, where the case has them."""
    depth = case["inputs"] // case["groups"]
    constants = {
        "weights": arrays["weights"].reshape(case["outputs"], depth, *case["window"]),
        "bias": arrays["bias"],
    }
    window = {"kernel_shape": case["window"], "strides": case["stride"], "dilations": case["dilation"], "pads": pads}
    nodes = [helper.make_node("Conv", ["input", "weights", "bias"], ["sum"], group=case["groups"], **window)]
    inputs, last = ["input"], "sum"
    if "residual" in arrays:
        nodes.append(helper.make_node("Add", [last, "residual"], ["added"]))
        inputs, last = ["input", "residual"], "added"
    if case["clamp"] != ["-inf", "inf"]:
        constants |= {name: np.float32(bound) for name, bound in zip(("lo", "hi"), case["clamp"], strict=True)}
        nodes.append(helper.make_node("Clip", [last, "lo", "hi"], ["clamped"]))
        last = "clamped"

    def image(name: str):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4)

    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "case", [image(name) for name in inputs], [image(last)], initializers)
    opset = [helper.make_opsetid("", 13)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def run(case: dict, arrays: dict[str, np.ndarray], size: list[int], fault: bool) -> np.ndarray:
    """The output, tight NHWC. With the fault, the image's edge goes on where nothing is."""
    image = arrays["input"].reshape(1, case["height"], case["width"], case["inputs"])
    top, bottom, left, right = case["padding"]
    if fault:
        image = np.pad(image, ((0, 0), (top, bottom), (left, right), (0, 0)), mode="edge")
        top = bottom = left = right = 0
    feeds = {"input": image.transpose(0, 3, 1, 2)}
    if "residual" in arrays:
        feeds["residual"] = arrays["residual"].reshape(1, *size).transpose(0, 3, 1, 2)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model(case, arrays, [top, left, bottom, right]), options, providers=["CPUExecutionProvider"]
    )
    (output,) = session.run(None, {name: np.ascontiguousarray(value) for name, value in feeds.items()})
    return output.transpose(0, 2, 3, 1).reshape(-1)


def mismatch(output: np.ndarray, exact: dict) -> dict | None:
    """The first output outside its bound, and how many there are; where the bound is null, anything goes."""
    value, bound = (np.array(exact[name], np.float64) for name in ("value", "bound"))  # null becomes NaN
    if output.shape != value.shape:
        return {"outputs": output.size, "expected": value.size}
    within = np.isnan(bound) | (np.abs(output - value) <= bound)
    if within.all():
        return None
    index = int(np.argmin(within))
    got, expected, allowed = (float(values[index]) for values in (output, value, bound))
    return {"index": index, "got": got, "expected": expected, "allowed": allowed, "count": int((~within).sum())}


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs vectors on ONNX Runtime.")
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--fault", action="store_true", help="pad by the image's edge: what has to be found")
    arguments = parser.parse_args()
    try:
        vectors = json.loads(arguments.file.read_text())["vectors"]
        operands = [read(vector) for vector in vectors]
    except (OSError, ValueError, KeyError) as error:
        print(f"error: {arguments.file}: {error}", file=sys.stderr)
        return 2
    failures, first = 0, None
    for vector, arrays in zip(vectors, operands, strict=True):
        output = run(vector["case"], arrays, vector["output_size"], arguments.fault)
        if wrong := mismatch(output, vector["exact"]):
            failures, first = failures + 1, first or {"case": vector["case"], **wrong}
    print(json.dumps({"cases": len(vectors), "failures": failures, "first": first}))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
