"""Networks of the literature: to the bit what the Rust crate computes, and what other people's code does."""

import numpy as np
import pytest
from oracles import DIGITS, ROOT, arguments, bits, image, images, table, tensors

import sepconv

GOLDEN = {row["network"]: row for row in table("golden.csv")}


@pytest.mark.parametrize("row", table("bits.csv"), ids=lambda row: str(row["network"]))
def test_bits_are_those_of_rust(row: dict[str, str]) -> None:
    # Those beside the golden ones are small.
    classes = None if row["network"] in GOLDEN else 11
    net = sepconv.Network(**arguments(row["network"]), classes=classes, weights="hash")
    [(_, shape)] = net.inputs
    logits = net(image(*shape))
    assert bits(logits) == row["hash"]
    if row["network"] in GOLDEN:
        golden = GOLDEN[row["network"]]
        assert logits.shape == (1, int(golden["n_out"]))
        assert logits.argmax() == int(golden["argmax"])
        expected = [float(golden[f"y{at}"]) for at in range(8)]
        np.testing.assert_allclose(logits[0, :8], expected, rtol=0, atol=5e-6 * float(golden["max_abs"]))


@pytest.mark.parametrize("isa", sepconv.isas())
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("low_memory", [False, True])
def test_any_isa_any_threads(isa: str, threads: int, low_memory: bool) -> None:
    net = sepconv.Network(
        "mobilenet_v2",
        width=0.35,
        resolution=96,
        flavor="tf",
        weights="hash",
        isa=isa,
        threads=threads,
        low_memory=low_memory,
    )
    assert (net.isa, net.threads, net.name) == (isa, threads, "mobilenet_v2_0.35_96_tf")
    assert bits(net(image(96, 96, 3))) == "0c244b9de4912bd5"


def test_digits_are_read() -> None:
    held_out = tensors(ROOT / "data/digits/held_out.safetensors")
    digits = held_out["images"].astype(np.float32)[..., None] / np.float32(255)
    logits = sepconv.load(DIGITS, threads=2)(digits)
    assert logits.shape == (1000, 10)
    assert (logits.argmax(1) == held_out["labels"]).mean() >= 0.98


def test_every_source_of_weights() -> None:
    x = image(28, 28, 1)
    expected = bits(sepconv.load(DIGITS)(x))
    arrays = {name: array.astype(np.float32) for name, array in tensors(DIGITS).items()}
    counter = {"conv_1.bn.num_batches_tracked": np.zeros((), np.int64)}
    for weights in (DIGITS, str(DIGITS), arrays, arrays | counter):
        assert bits(sepconv.Network("digits", weights=weights)(x)) == expected
    assert bits(sepconv.Network("digits", weights="hash")(x)) != expected


def test_what_a_network_says_of_itself() -> None:
    net = sepconv.Network("mobilenet_v2", weights="hash")
    assert repr(net) == f"<sepconv.Network mobilenet_v2_1.0_224_torch, {net.isa}, threads=1>"
    assert (net.params, net.macs) == (3_504_872, 300_774_272)
    assert (net.inputs, net.outputs) == ([("image", (224, 224, 3))], [("classifier", (1, 1, 1000))])
    steps = net.describe()
    assert [name for step in steps for name in step.nodes if "_add" not in name] == [
        name for name in net.nodes if "_add" not in name
    ]
    assert sum(step.macs for step in steps) >= net.macs
    assert steps[0].input == (224, 224, 3) and steps[-1].output == (1, 1, 1000)
    assert all(step.tasks >= 1 and step.bytes > 0 and len(step.kernels) >= 1 for step in steps)
    assert str(steps[0]).startswith(steps[0].nodes[0]) and str(steps[0]) in repr(steps[0])


def test_features() -> None:
    net = sepconv.Network("mobilenet_v2", width=0.35, resolution=96, weights="hash", threads=2)
    x = images(3, 96, 96, 3)
    both = net.features(["block13_expand", "conv_last"])
    assert both.outputs == [("block13_expand", (6, 6, 192)), ("conv_last", (3, 3, 1280))]
    assert len(both.nodes) < len(net.nodes) and both.threads == 2
    fine, coarse = both(x)
    assert (fine.shape, coarse.shape) == ((3, 6, 6, 192), (3, 3, 3, 1280))
    planes = both(np.ascontiguousarray(x.transpose(0, 3, 1, 2)), layout="nchw")
    for got, expected in zip(planes, (fine, coarse)):
        np.testing.assert_array_equal(got, expected.transpose(0, 3, 1, 2))
    # Features of features, and the output by its own name.
    np.testing.assert_array_equal(both.features(["block13_expand"])(x), fine)
    np.testing.assert_array_equal(net.features([net.outputs[0][0]])(x), net(x))
    with pytest.raises(sepconv.Error, match="nonesuch: feature: got no node of this name, expected one of"):
        net.features(["nonesuch"])
