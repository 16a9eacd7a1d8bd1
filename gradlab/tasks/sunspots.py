"""The yearly number of sunspots, one step ahead."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gradlab.arrays.scaled import Array
from gradlab.errors import InputError
from gradlab.models.losses import At, Loss
from gradlab.tasks.arrays import Windows
from gradlab.tasks.base import SplitTask
from gradlab.tasks.baselines import Baseline, autoregression, persistence

#: Years that are trained on and define the standardisation; later years are held out.
LAST_TRAINED = 1920
#: Order of the autoregression, selected by Akaike's criterion among 1 … 15 on the training years.
ORDER = 9


@dataclass(frozen=True)
class Sunspots(SplitTask):
    """The yearly sunspot numbers of 1700–2008, standardised; the target at each step is the next year's number.

    A sequence is ``length`` consecutive years, the first uniform over all that fit. A shorter one is no prefix of a
    longer one, see :class:`~gradlab.tasks.Windows`. Numbers are standardised by mean and deviation of 1700–1920.
    ``train`` is those years, ``test`` 1921–2008, as usual since Weigend, Huberman & Rumelhart 1990 (whose test years
    ended earlier). A constant costs the variance of the targets, about 1 over 1700–1920. Baselines are persistence
    (:meth:`persistence`) and a linear autoregression, which is hard to beat (:meth:`baselines`). The time span of the
    dependence is unknown; the solar cycle takes about 11 years.

    References
    ----------
    The series comes with statsmodels (``statsmodels.datasets.sunspots``).
    """

    part: str = "all"

    name: ClassVar[str] = "sunspots"
    input_size: int = 1
    output_size: int = 1

    def sample(self, length: int, batch: int, *, at: At = "last", rng: np.random.Generator) -> tuple[Array, Loss]:
        """Return ``x (T, B, 1)`` and the squared error against the next year's number."""
        return self._windows().sample(length, batch, at=at, rng=rng)

    def constant_loss(self, length: int) -> Array:
        """Return the variance of the targets at each step of the windows, ``(T,)``."""
        return self._windows().constant_loss(length)

    def persistence(self) -> float:
        """Return the mean squared error of predicting this year's number, over the years of ``part``."""
        data = self._windows()
        return float(np.square(data.y - data.x).mean())

    def baselines(self) -> tuple[Baseline, ...]:
        """Return persistence, and a linear autoregression on nine years."""
        z, trained = standardised()
        return persistence(), autoregression(z[:trained, 0], ORDER)

    def _windows(self) -> Windows:
        z, trained = standardised()
        z = {"all": z, "train": z[:trained], "test": z[trained:]}[self.part]
        return Windows(z[:-1], z[1:], 1)


@cache
def standardised() -> tuple[NDArray[np.float64], int]:
    """Return the numbers ``(309, 1)``, standardised by 1700–1920, and the number of these years.

    Raises
    ------
    InputError
        If statsmodels is not installed.
    """
    try:
        from statsmodels.datasets import sunspots
    except ImportError as missing:
        raise InputError(
            "the sunspots come with statsmodels, which is missing; install it with pip install statsmodels"
        ) from missing
    data = sunspots.load_pandas().data
    numbers, trained = np.array(data["SUNACTIVITY"], np.float64), int((data["YEAR"] <= LAST_TRAINED).sum())
    first = numbers[:trained]
    return ((numbers - first.mean()) / first.std())[:, None], trained
