"""Hidden units of one network matched to those of another: the same function, as near as permutations can bring it.

The order of the units of a hidden layer is arbitrary, and of an odd activation (tanh) so is each unit's sign. Weight
matching (Ainsworth, Hayase, Srinivasa 2023, section 3.2) goes over the hidden layers in turn, each time solving the
linear assignment problem of one layer with the others held fixed, until none of them gains anything; here signs are
chosen with the partner. It finds a local optimum, so a distance after matching is an upper bound.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.optimize import linear_sum_assignment

from lossatlas.arrays import Array
from lossatlas.errors import LossatlasError
from lossatlas.landscape.layout import Layout

MOST_ROUNDS = 100
"""Rounds over all hidden layers; some five are usual."""

_GAIN = 1e-9
"""Share of the overlap that a further round must gain."""


@dataclass(frozen=True)
class Matching:
    """Which unit of a network goes to which place of each hidden layer, and with which sign."""

    orders: tuple[np.ndarray, ...]
    signs: tuple[Array, ...]


class Dense:
    """The weights of a fully connected network behind a flat vector: a chain of weight matrices, each with its bias.

    Args:
        layout: of the network: entries of two dimensions (outputs, inputs), which fit one another, each followed by
            its bias or by none.

    Raises:
        LossatlasError: it is another kind of network.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.weights = [i for i, shape in enumerate(layout.shapes) if len(shape) == 2]
        self.biases = [
            i + 1 if i + 1 < len(layout.shapes) and layout.shapes[i + 1] == layout.shapes[i][:1] else None
            for i in self.weights
        ]
        fits = all(layout.shapes[a][0] == layout.shapes[b][1] for a, b in pairwise(self.weights))
        if not fits or len(self.weights) + sum(b is not None for b in self.biases) != len(layout.shapes):
            raise LossatlasError(
                f"alignment: parameters {list(layout.names)!r} are no chain of fully connected layers; use model mlp"
            )
        self.ends = np.cumsum([0, *layout.sizes])

    def _part(self, theta: Array, entry: int) -> Array:
        return theta[self.ends[entry] : self.ends[entry + 1]].reshape(self.layout.shapes[entry])

    def rows(self, theta: Array) -> list[Array]:
        """Return each layer's weights with its bias as a last column, (outputs, inputs + 1)."""
        found = []
        for weight, bias in zip(self.weights, self.biases, strict=True):
            matrix = self._part(theta, weight)
            column = np.zeros(len(matrix)) if bias is None else self._part(theta, bias)
            found.append(np.column_stack([matrix, column]))
        return found

    def applied(self, theta: Array, matching: Matching) -> Array:
        """Return the vector (D,) of the same network with its hidden units in other places and of other signs."""
        result = theta.copy()
        for layer, (order, sign) in enumerate(zip(matching.orders, matching.signs, strict=True)):
            weight, following = self._part(result, self.weights[layer]), self._part(result, self.weights[layer + 1])
            weight[...] = sign[:, None] * weight[order]
            following[...] = following[:, order] * sign
            bias = self.biases[layer]
            if bias is not None:
                part = self._part(result, bias)
                part[...] = sign * part[order]
        return result


def match(layout: Layout, theta: Array, reference: Array, odd: bool) -> Matching:
    """Return the matching that brings a network near to another one of the same shape.

    Args:
        layout: of both.
        theta: (D,), float64, the network whose units are moved.
        reference: (D,), float64, where to.
        odd: whether activations are odd, so that a unit may change its sign.
    """
    dense = Dense(layout)
    ours, theirs = dense.rows(theta), dense.rows(reference)
    hidden = len(ours) - 1
    orders = [np.arange(len(rows)) for rows in ours[:-1]]
    signs = [np.ones(len(rows)) for rows in ours[:-1]]
    best = -np.inf
    for _ in range(MOST_ROUNDS):
        for layer in range(hidden):
            overlap = theirs[layer] @ _placed(ours[layer], orders, signs, layer - 1).T
            after = ours[layer + 1][:, :-1]
            if layer + 1 < hidden:
                after = signs[layer + 1][:, None] * after[orders[layer + 1]]
            overlap += theirs[layer + 1][:, :-1].T @ after
            rows, columns = linear_sum_assignment(np.abs(overlap) if odd else overlap, maximize=True)
            orders[layer] = columns[np.argsort(rows)]
            chosen = overlap[np.arange(len(overlap)), orders[layer]]
            signs[layer] = np.where(chosen < 0, -1.0, 1.0) if odd else np.ones(len(chosen))
        found = Matching(tuple(orders), tuple(signs))
        total = float(dense.applied(theta, found) @ reference)
        if total <= best + _GAIN * abs(best):
            break
        best = total
    return found


def _placed(rows: Array, orders: Sequence[np.ndarray], signs: Sequence[Array], before: int) -> Array:
    """Return a layer's rows with their inputs in the places and signs of the layer before, the first's as they are."""
    if before < 0:
        return rows
    return np.column_stack([rows[:, :-1][:, orders[before]] * signs[before], rows[:, -1]])
