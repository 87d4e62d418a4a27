"""Classifies a folder of photographs with Ray Data: an actor a core, each with a network of its own.

    python ray_classify.py photos --weights mobilenet_v2.safetensors --labels imagenet_classes.txt

runs on the cores of this machine, and `--address auto` on the cluster that this machine is part of (the folder and the
weights are then where every machine finds them). `--nodes 2` first starts a cluster of as many nodes of one core on this
machine, and `--check` ends with an error unless every actor took part and the answers have the very bits that one process
computes.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

import sepconv

Batch = dict[str, NDArray[Any]]

# Of the levels of ImageNet's pictures, a number a channel.
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)


def prepare(path: str, size: int) -> NDArray[np.float32]:
    """A picture as torchvision's weights want it: its middle, after the shorter side was made `size` / 0.875 pixels."""
    picture = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    shorter = round(size / 0.875)
    scale = shorter / min(picture.size)
    width, height = (max(shorter, int(side * scale)) for side in picture.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    picture = picture.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + size, top + size))
    levels: NDArray[np.float32] = np.asarray(picture, np.float32) / np.float32(255)
    return (levels - MEAN) / DEVIATION


class Classifier:
    """What an actor is made of: a network, loaded once."""

    def __init__(self, weights: str) -> None:
        self.net = sepconv.load(weights)
        [(_, (self.size, _, _))] = self.net.inputs

    def __call__(self, batch: Batch) -> Batch:
        images = np.stack([prepare(path, self.size) for path in batch["path"]])
        logits = self.net(images)
        return {"path": batch["path"], "logits": logits, "process": np.full(len(logits), os.getpid())}


def pictures(folder: str) -> list[str]:
    """The paths of the pictures in a folder."""
    return sorted(str(path.resolve()) for path in Path(folder).iterdir())


def distributed(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of all pictures, from the actors of a cluster."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    cluster = None
    if arguments.nodes:
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        for _ in range(arguments.nodes - 1):
            cluster.add_node(num_cpus=1)
        arguments.address = cluster.address
    ray.init(address=arguments.address, log_to_driver=False)
    try:
        workers = arguments.workers or int(ray.cluster_resources()["CPU"])
        # The actors, which have all the cores, read the pictures themselves.
        items = [{"path": path} for path in pictures(arguments.folder)]
        rows = ray.data.from_items(items, override_num_blocks=min(len(items), 4 * workers)).map_batches(
            Classifier,
            fn_constructor_args=(str(Path(arguments.weights).resolve()),),
            batch_size=arguments.batch,
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=1,
        )
        return sorted(rows.take_all(), key=lambda row: str(row["path"]))
    finally:
        ray.shutdown()
        if cluster is not None:
            cluster.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="the photographs")
    parser.add_argument("--weights", required=True, help="a safetensors file with torchvision's weights")
    parser.add_argument("--labels", help="a file with one name a class")
    parser.add_argument("--workers", type=int, help="actors; as many as the cluster has cores, unless given")
    parser.add_argument("--batch", type=int, default=8, help="pictures a call")
    parser.add_argument("--address", help="the cluster's, or auto; none starts one on this machine")
    parser.add_argument("--nodes", type=int, help="starts a cluster of so many nodes of one core on this machine")
    parser.add_argument("--check", action="store_true", help="compares with one process")
    arguments = parser.parse_args()

    rows = distributed(arguments)
    labels = Path(arguments.labels).read_text().splitlines() if arguments.labels else None
    for row in rows:
        odds = np.exp(row["logits"] - row["logits"].max())
        best = int(odds.argmax())
        name = labels[best] if labels else ""
        print(f"{Path(row['path']).name:32} {100 * odds[best] / odds.sum():7.3f} % {best:5} {name}")
    processes = {row["process"] for row in rows}
    print(f"{len(rows)} pictures, {len(processes)} processes")
    if arguments.check:
        one = Classifier(arguments.weights)
        for path, row in zip(pictures(arguments.folder), rows, strict=True):
            [logits] = one({"path": np.array([path])})["logits"]
            if path != row["path"] or logits.tobytes() != np.float32(row["logits"]).tobytes():
                raise SystemExit(f"{path}: other bits than those of one process")
        expected = arguments.workers or arguments.nodes
        if expected and len(processes) != expected:
            raise SystemExit(f"{len(processes)} processes took part, expected {expected}")
        print("the same bits as in one process")


if __name__ == "__main__":
    main()
