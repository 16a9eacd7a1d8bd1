"""The declaration of the gate that decides how much of the additive state a cell keeps at each step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradlab.errors import InputError

#: Biases towards keeping that a suggestion tries: 1 (Jozefowicz, Zaremba & Sutskever 2015), and for longer memories 2
#: and 5. The bias 5 of Gers, Schmidhuber & Cummins 2000 keeps σ(5) = 0.993 per step, which is 1/e over 150 steps.
BIASES = (1.0, 2.0, 5.0)


@dataclass(frozen=True)
class KeepGate:
    """How a cell's additive path is described, and which setting changes what it keeps.

    The verdict prints the names and the setting; the suggestion tries :attr:`tries` through the intervention
    :attr:`key`.

    Parameters
    ----------
    name : str
        The share that is kept: "forget gate", "1 − z".
    product : str
        Its product over time: "∏f", "∏(1 − z)".
    key : str
        The intervention that sets it (a key of ``Cell.INTERVENTIONS``): "forget_bias", "b_z".
    parameter : str
        The attribute of the cell that holds the setting, an array whose first axis consists of blocks of H units.
    block : int
        The block of :attr:`parameter` that belongs to the gate.
    sign : float
        1 where a larger setting keeps more, −1 where it keeps less.
    tries : tuple of float
        Settings for a suggestion to try, from the one that keeps least to the one that keeps most.
    decimals : int
        Decimals with which the setting is printed.

    Raises
    ------
    InputError
        for a ``sign`` other than 1 and −1, and for ``tries`` in another order.

    Examples
    --------
    >>> KeepGate("forget gate", "∏f", "forget_bias", block=1).tries
    (1.0, 2.0, 5.0)

    A gate that keeps less for a larger bias needs ``sign=-1`` and tries that fall:

    >>> KeepGate("1 − z", "∏(1 − z)", "b_z", block=1, sign=-1.0, tries=(-1.0, -2.0, -5.0)).keeps_more(-1.5)
    (-2.0, -5.0)
    """

    name: str
    product: str
    key: str
    parameter: str = "b_h"
    block: int = 0
    sign: float = 1.0
    tries: tuple[float, ...] = BIASES
    decimals: int = 2

    def __post_init__(self) -> None:
        if self.sign not in (1.0, -1.0):
            raise InputError(f"KeepGate {self.name!r}: sign must be 1 or -1, got {self.sign!r}")
        if list(self.tries) != sorted(self.tries, key=lambda value: self.sign * value):
            order = "rise" if self.sign > 0 else "fall"
            raise InputError(
                f"KeepGate {self.name!r}: tries must {order} with sign={self.sign:g}, from what keeps least "
                f"to what keeps most; got {self.tries}"
            )

    def rows(self, cell: Any) -> slice:
        """Return the rows of :attr:`parameter` that belong to the gate."""
        H = cell.hidden_size
        return slice(self.block * H, (self.block + 1) * H)

    def setting(self, cell: Any) -> float:
        """Return the mean of the setting over the units of ``cell``."""
        return float(getattr(cell, self.parameter)[self.rows(cell)].mean())

    def keeps_more(self, setting: float) -> tuple[float, ...]:
        """Return the settings to try that keep more than ``setting``."""
        return tuple(value for value in self.tries if self.sign * value > self.sign * setting)
