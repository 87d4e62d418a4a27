"""Networks, batches and threads by turns, for as many seconds as SEPCONV_SOAK_SECONDS says: the same bits every time.

From a minute on also memory that does not grow and runs that get no slower (by themselves alone, as in `just soak`).
"""

import os
import pathlib
import time

import numpy as np

import sepconv

NETWORKS = [
    ("digits", 1.0, 28),
    ("mobilenet_v1", 0.25, 96),
    ("mobilenet_v2", 0.35, 96),
    ("xception", 0.25, 75),
    ("shufflenet_v2", 0.5, 96),
    ("squeezenet_1_1", 0.5, 64),
]


def resident() -> int:
    """Kilobytes of this process in memory, where the system says so."""
    path = pathlib.Path("/proc/self/statm")
    return int(path.read_text().split()[1]) * 4 if path.exists() else 0


def seconds_of_a_run(net: sepconv.Network, images: np.ndarray) -> float:
    start = time.perf_counter()
    net(images)
    return time.perf_counter() - start


def test_hours_change_nothing() -> None:
    seconds = float(os.environ.get("SEPCONV_SOAK_SECONDS", "1"))
    numbers = np.random.default_rng(1)
    images = {size: numbers.standard_normal((3, size, size, 3), np.float32) for _, _, size in NETWORKS}
    images[28] = numbers.standard_normal((3, 28, 28, 1), np.float32)
    known: dict[tuple[str, int], bytes] = {}
    times: list[float] = []
    memory: list[int] = []
    runs = 0
    start = time.monotonic()
    while len(times) < 2 or time.monotonic() - start < seconds:
        turn = len(times)
        for index, (name, width, size) in enumerate(NETWORKS):
            count, threads = 1 + (turn + index) % 3, 1 + (turn // 3 + index) % 3
            net = sepconv.Network(name, width=width, resolution=size, classes=11, weights="hash", threads=threads)
            logits = net(images[size][:count]).tobytes()
            assert known.setdefault((name, count), logits) == logits, f"turn {turn}, {name}, {count} images, {threads} threads"
            runs += 1
        net = sepconv.Network("mobilenet_v2", width=0.35, resolution=96, weights="hash")
        times.append(min(seconds_of_a_run(net, images[96][:1]) for _ in range(5)))
        memory.append(resident())
    third = len(times) // 3
    before, after = min(times[: third + 1]), min(times[2 * third :])
    early, late = max(memory[: third + 1]), max(memory[2 * third :])
    print(f"{runs} runs in {len(times)} turns; {before * 1e6:.0f} µs, then {after * 1e6:.0f}; {early} KB, then {late} KB")
    if seconds >= 60:
        assert after <= 1.1 * before
        assert late <= early * 1.05
