"""Targets given as arrays: their loss, the loss of the best constant, and a checksum."""

from __future__ import annotations

import hashlib

import numpy as np

from gradlab.arrays.scaled import Array
from gradlab.models.losses import At, Loss, cross_entropy, mse

#: The share of finite data that is trained on; it comes first, and the rest is held out.
TRAINED = 0.75


def is_label(y: Array) -> bool:
    """Return whether targets are classes, which is so if their dtype is an integer."""
    return y.dtype.kind in "iu"


def loss_of(y: Array, at: At) -> Loss:
    """Return the loss of targets: cross-entropy for classes, squared error for numbers."""
    return cross_entropy(y, at=at) if is_label(y) else mse(y, at=at)


def constant_cost(y: Array) -> float:
    """Return the mean loss of the best constant over examples ``(N,)`` or ``(N, O)``.

    It is the entropy of the class frequencies, or the variance of numbers, averaged over the outputs.
    """
    if not is_label(y):
        return float(y.var(axis=0).mean())
    shares = np.unique(y, return_counts=True)[1] / y.size
    return float(-(shares * np.log(shares)).sum())


def checksum(*arrays: Array) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of arrays: dtypes, shapes and values."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
