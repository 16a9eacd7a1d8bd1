"""Scikit-learn's handwritten digits as sequences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gradlab.arrays.checks import choice, positive
from gradlab.arrays.scaled import Array
from gradlab.errors import InputError
from gradlab.models.losses import At, Loss, cross_entropy
from gradlab.options import Option
from gradlab.tasks.base import SplitTask
from gradlab.tasks.baselines import Baseline
from gradlab.tasks.targets import constant_cost

ORDERS = ("rows", "pixels", "permuted")
#: Seed of the one permutation of the 64 pixels.
PERMUTATION_SEED = 0
#: Number of training images, which come first; the last 450 are held out.
TRAINED = 1347


@dataclass(frozen=True)
class Digits(SplitTask):
    """1797 images of 8×8 pixels in 10 classes, pixel/16, read by rows (T = 8, D = 8) or by pixels (T = 64, D = 1).

    ``order="permuted"`` reads the pixels in one fixed random order. Chance is ln 10; the best constant, which uses the
    class frequencies, costs 0.0001 less. The lag is the one to the first step, T − 1. ``train`` is the first 1347
    images, ``test`` the last 450. :meth:`logistic_regression` is the baseline. The images are not those of MNIST, and
    reading them by pixels is not "sMNIST".

    References
    ----------
    Alpaydin & Kaynak 1998, UCI "Optical recognition of handwritten digits", the test part that scikit-learn ships.
    """

    order: str = "rows"
    part: str = "all"

    name: ClassVar[str] = "digits"
    output_size: int = 10
    KEYS: ClassVar[Mapping[str, Option]] = {
        "order": Option(str, "rows", choices=ORDERS, meaning="rows (T 8, D 8), pixels or permuted (T 64, D 1)")
    }

    def __post_init__(self) -> None:
        choice("order", self.order, ORDERS)

    @property
    def input_size(self) -> int:  # type: ignore[override]
        """D: 8 by rows, 1 by pixels."""
        return 8 if self.order == "rows" else 1

    @property
    def fixed_length(self) -> int:
        """T: 8 by rows, 64 by pixels."""
        return 8 if self.order == "rows" else 64

    def sample(self, length: int, batch: int, *, at: At = "last", rng: np.random.Generator) -> tuple[Array, Loss]:
        """Return ``x (T, B, D)`` of ``batch`` images, drawn without replacement, and their cross-entropy."""
        images, classes = self._images()
        if length != self.fixed_length:
            raise InputError(f"digits by {self.order} have length {self.fixed_length}, got {length}")
        if positive("batch", batch) > len(classes):
            raise InputError(f"batch must be at most {len(classes)}, the number of images, got {batch}")
        chosen = rng.permutation(len(classes))[:batch]
        pixels = images[chosen][:, pixel_order()] if self.order == "permuted" else images[chosen]
        x = pixels.reshape(batch, self.fixed_length, self.input_size).swapaxes(0, 1)
        return np.ascontiguousarray(x), cross_entropy(classes[chosen], at=at)

    def constant_loss(self, length: int) -> Array:
        """Return the entropy of the class frequencies, ``(T,)``; ln 10 if all are equal."""
        return np.full(length, constant_cost(self._images()[1]))

    def logistic_regression(self) -> float:
        """Return the accuracy on the test images of a logistic regression on the pixels of the training images.

        It is scikit-learn's with its default penalty, and knows no order of the pixels.
        """
        return float(_regression().score(*self.test._images()))

    def baselines(self) -> tuple[Baseline, ...]:
        """Return the logistic regression on all 64 pixels at once; its logits are the outputs at every step."""
        place = pixel_order().argsort() if self.order == "permuted" else np.arange(64)

        def answer(x: Array) -> Array:
            pixels = x.swapaxes(0, 1).reshape(x.shape[1], 64)[:, place]
            logits = _regression().decision_function(pixels)
            return np.broadcast_to(logits, (len(x), *logits.shape))

        return (Baseline("logistic_regression", answer),)

    def _images(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        images, classes = load_digits()
        part = {"all": slice(None), "train": slice(TRAINED), "test": slice(TRAINED, None)}[self.part]
        return images[part], classes[part]


def pixel_order() -> NDArray[np.int64]:
    """Return the fixed permutation of the 64 pixels."""
    return np.random.default_rng(PERMUTATION_SEED).permutation(64)


@cache
def _regression() -> Any:
    """Return the logistic regression on the pixels of the training images."""
    images, classes = Digits(part="train")._images()
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=1000).fit(images, classes)


@cache
def load_digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the images ``(1797, 64)`` in [0, 1] and their classes ``(1797,)``.

    Raises
    ------
    InputError
        If scikit-learn is not installed.
    """
    try:
        from sklearn import datasets
    except ImportError as missing:
        raise InputError(
            "the digits come with scikit-learn, which is missing; install it with pip install scikit-learn"
        ) from missing
    data = datasets.load_digits()
    return np.asarray(data.data, float) / 16.0, np.asarray(data.target, np.int64)
