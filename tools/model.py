"""What the readers of weights give, and the fault of a file."""

import dataclasses
import difflib

import numpy as np


class Unreadable(ValueError):
    """What a file should have held and what to do about it, in one line."""


@dataclasses.dataclass
class Model:
    """Tensors by name in the source's order, and what else the source says of the network."""

    tensors: dict[str, np.ndarray]
    #: Keras only: (layer name, kind) of each layer with weights, in layer order; the kind is a class in snake case.
    layers: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    #: Metadata that the file states itself: resolution, activation, bn_eps.
    facts: dict[str, str] = dataclasses.field(default_factory=dict)
    #: Names of what the source holds besides and is left out on purpose.
    left_out: list[str] = dataclasses.field(default_factory=list)

    def add(self, tensors: dict[str, np.ndarray]):
        """Takes tensors in; none may have the name of another."""
        if twice := self.tensors.keys() & tensors.keys():
            raise Unreadable(f"expected one tensor of the name {min(twice)}, found two: name the layers apart")
        self.tensors |= tensors


def nodes_under(until: str, reads: dict[str, set[str]]) -> set[str]:
    """`until` and everything that it depends on, in a graph given as the inputs of each node."""
    if until not in reads:
        close = difflib.get_close_matches(until, reads, 3, 0.4)
        raise Unreadable(
            f"expected --until to name one of its {len(reads)} nodes, not {until!r}: did you mean {close}?"
        )
    found, todo = set(), [until]
    while todo:
        node = todo.pop()
        if node not in found:
            found.add(node)
            todo += reads.get(node, ())
    return found
