"""Calls: every batch, every layout in memory, many threads."""

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from oracles import Floats, images

import sepconv

SIZE = 33


@pytest.fixture(scope="module", params=[1, 2], ids=["one thread", "two threads"])
def net(request: pytest.FixtureRequest) -> sepconv.Network:
    return sepconv.Network("mobilenet_v1", width=0.25, resolution=SIZE, weights="hash", threads=request.param)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 8, 17])
def test_any_batch(net: sepconv.Network, count: int) -> None:
    x = images(count, SIZE, SIZE, 3)
    y = net(x)
    assert y.shape == (count, 1000) and y.dtype == np.float32 and y.flags.c_contiguous and y.flags.owndata
    for at in range(count):
        np.testing.assert_array_equal(net(x[at : at + 1])[0], y[at])


def gaps(x: Floats) -> Floats:
    """The same images with gaps between channels' ends, pixels, rows and images."""
    count, height, width, channels = x.shape
    wide = np.full((2 * count, height + 3, width + 2, channels + 2), np.nan, np.float32)
    view = wide[::2, 1:-2, 2:, 1:-1]
    view[...] = x
    return view


def unaligned(x: Floats) -> Floats:
    memory = np.zeros(x.nbytes + 1, np.uint8)
    view = memory[1:].view(np.float32).reshape(x.shape)
    view[...] = x
    assert not view.flags.aligned
    return view


def frozen(x: Floats) -> Floats:
    x = x.copy()
    x.flags.writeable = False
    return x


LAYOUTS: dict[str, Callable[[Floats], Floats]] = {
    "gaps": gaps,
    "by planes": lambda x: np.ascontiguousarray(x.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1),
    "by columns": lambda x: np.asfortranarray(x),
    "rows upwards": lambda x: np.ascontiguousarray(x[:, ::-1])[:, ::-1],
    "every second channel": lambda x: np.repeat(x, 2, axis=3)[..., ::2],
    "images backwards": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "unaligned": unaligned,
    "read-only": frozen,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("count", [1, 18])
def test_any_layout_in_memory(net: sepconv.Network, layout: str, count: int) -> None:
    x = images(count, SIZE, SIZE, 3)
    expected, laid = net(x), LAYOUTS[layout](x)
    np.testing.assert_array_equal(laid, x)
    np.testing.assert_array_equal(net(laid), expected)
    np.testing.assert_array_equal(net(laid.transpose(0, 3, 1, 2), layout="nchw"), expected)


def test_one_image_many_times(net: sepconv.Network) -> None:
    x = images(1, SIZE, SIZE, 3)
    y = net(np.broadcast_to(x, (20, SIZE, SIZE, 3)))
    np.testing.assert_array_equal(y, np.repeat(net(x), 20, axis=0))


def test_many_threads_share_a_network(net: sepconv.Network) -> None:
    batches = [images(20, SIZE, SIZE, 3)[:count] for count in (1, 3, 17, 20)]
    expected = [net(x) for x in batches]

    def call(at: int) -> bool:
        return np.array_equal(net(batches[at % 4]), expected[at % 4])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(call, range(200)))


def test_others_run_meanwhile() -> None:
    net = sepconv.Network("mobilenet_v2", weights="hash")
    x = images(32, 224, 224, 3)
    begun, over = threading.Event(), threading.Event()

    def call() -> None:
        begun.set()
        net(x)
        over.set()

    thread = threading.Thread(target=call)
    thread.start()
    begun.wait()
    turns = 0
    while not over.is_set():
        time.sleep(0.001)
        turns += 1
    thread.join()
    # One, where the call holds the interpreter's lock.
    assert turns > 10


def test_several_inputs_and_outputs() -> None:
    graph = sepconv.Graph()
    a, b = graph.input("a", (4, 5, 3)), graph.input("b", (4, 5, 3))
    total = graph.add("sum", a, b)
    net = graph.build([graph.global_average_pool("mean", total), total])
    x, y = images(40, 4, 5, 3)[:20], images(40, 4, 5, 3)[20:]
    mean, total_of = net(x, y)
    np.testing.assert_array_equal(total_of, x + y)
    np.testing.assert_allclose(mean, (x + y).mean((1, 2)), rtol=1e-5, atol=1e-6)
    with pytest.raises(sepconv.Error, match="inputs: got 20 images in one and 19 in another, expected as many in each"):
        net(x, y[1:])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_has_no_threads_of_the_network() -> None:
    script = """
        import os
        import numpy as np
        import sepconv
        x = np.zeros((1, 28, 28, 1), np.float32)
        one, two = (sepconv.Network("digits", weights="hash", threads=threads) for threads in (1, 2))
        expected = one(x), two(x)
        if os.fork() == 0:
            status = 1
            try:
                two(x)
            except sepconv.Error as error:
                known = "threads: got those of the process that forked this one" in str(error)
                again = sepconv.Network("digits", weights="hash", threads=2)
                same = np.array_equal(one(x), expected[0]) and np.array_equal(again(x), expected[1])
                status = 0 if known and same else 2
            os._exit(status)
        _, status = os.wait()
        raise SystemExit(os.waitstatus_to_exitcode(status))
    """
    subprocess.run([sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)], check=True, timeout=60)
