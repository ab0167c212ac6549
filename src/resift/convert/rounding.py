"""Rounding of weights to int8 so that the errors of a product's outputs are small.

Nearest rounding makes each weight's error small, but inputs of a product are correlated, and then
the errors of the weights of one output add up. So weights are rounded one input at a time, and
the weights of the inputs that are left are changed to make up for each error, in the least squares
sense (Frantar et al., GPTQ, https://arxiv.org/abs/2210.17323).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resift.convert.products import Floats

HIGHEST = 127
_BLOCK = 64  # inputs between two updates of all weights that are left; only a matter of speed
_DAMPING = 0.01  # share of the mean of all squares that is added to every input's
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Int8Kernel:
    """Weights ``(in, out)`` as int8 from -127 to 127, with a step an output channel."""

    codes: NDArray[np.int8]
    steps: Floats

    @property
    def values(self) -> Floats:
        """The weights that the codes stand for."""
        result: Floats = self.codes.astype(np.float32) * self.steps
        return result


def round_kernel(kernel: Floats, products: Floats) -> Int8Kernel:
    """Round a kernel ``(in, out)``; the largest weight of each output channel becomes 127 or -127.

    `products` are the mean products of every two inputs ``(in, in)``.
    """
    steps = (np.maximum(np.abs(kernel).max(axis=0), _TINY) / HIGHEST).astype(np.float32)
    order = np.argsort(-np.diag(products))  # large inputs first: later ones make up for them
    root = _inverse_root(products[np.ix_(order, order)])
    codes = np.empty(kernel.shape, np.int8)
    codes[order] = _round_in_order(kernel[order].astype(np.float32), steps, root)
    return Int8Kernel(codes, steps)


def _inverse_root(products: Floats) -> Floats:
    """The upper triangular U of damped products H, with Uᵀ U = H⁻¹.

    It is the inverse of R in H = R Rᵀ, which is the Cholesky root of H turned by 180 degrees. The
    condition of R is the root of that of H, so float32 is enough, and twice as fast.
    """
    damped = products.astype(np.float32)
    damped[np.diag_indices_from(damped)] += _DAMPING * np.trace(damped) / len(damped) + _TINY
    root = np.linalg.cholesky(damped[::-1, ::-1])[::-1, ::-1]
    inverse: Floats = np.triu(np.linalg.inv(root)).astype(np.float32)
    return inverse


def _round_in_order(weights: Floats, steps: Floats, root: Floats) -> NDArray[np.int8]:
    """Round the rows of `weights`, which it changes, from the first to the last."""
    codes = np.empty(weights.shape, np.int8)
    for start in range(0, len(weights), _BLOCK):
        stop = min(start + _BLOCK, len(weights))
        errors = np.empty((stop - start, weights.shape[1]), np.float32)
        for row in range(start, stop):
            codes[row] = np.clip(np.rint(weights[row] / steps), -HIGHEST, HIGHEST)
            error = (weights[row] - codes[row] * steps) / root[row, row]
            weights[row + 1 : stop] -= np.outer(root[row, row + 1 : stop], error)
            errors[row - start] = error
        weights[stop:] -= root[start:stop, stop:].T @ errors
    return codes
