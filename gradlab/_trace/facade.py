"""One layer and direction of a trace as the user meets it: :class:`LayerPass` with its verdict and its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradlab._trace import plots
from gradlab.formatting import markup
from gradlab.jacobians.gates import facts
from gradlab.jacobians.lyapunov import Spectrum, spectrum
from gradlab.jacobians.paths import Paths, paths
from gradlab.jacobians.propagator import Propagator, propagator_norms
from gradlab.jacobians.sensitivity import Sensitivity, sensitivity
from gradlab.jacobians.truncation import Truncation, truncation
from gradlab.layer import LayerPass
from gradlab.verdicts.evidence import Evidence
from gradlab.verdicts.labels import STABLE, UNCERTAIN, word_of
from gradlab.verdicts.suggestions import Suggestion, proposed
from gradlab.verdicts.verdict import Verdict, judge

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Exponents that a verdict computes: a quarter of the directions of a state of up to 32, enough to call it MIXED. For
#: a wider state only the largest, since eight take as much time as eight passes.
EXPONENTS = 8
#: The suggestion of a layer alone, where a change may help.
ELSEWHERE = Suggestion({}, "a layer has no model to change", "trace.verdict(), which tries changes on the same data")


@dataclass(frozen=True, eq=False, repr=False)
class LayerTrace(LayerPass):
    """What one pass left in one layer and direction, with everything that can be asked of it.

    The attributes are those of :class:`~gradlab.layer.LayerPass`.
    """

    reverse: LayerTrace | None = None

    # --- long range -------------------------------------------------------------------------------

    def spectrum(self, k: int = 8, *, warmup: int = 0, every: int | None = None, adjoint: bool = False) -> Spectrum:
        """Return the k leading Lyapunov exponents; see :func:`gradlab.jacobians.lyapunov.spectrum`."""
        return spectrum(self.tape, k, warmup=warmup, every=every, adjoint=adjoint)

    def propagator(self, t0: int, t1: int) -> Propagator:
        """Return ∂s_t1/∂s_t0, t as the cell ran; see :class:`gradlab.jacobians.propagator.Propagator`."""
        return Propagator(self.tape, t0, t1)

    def propagator_norms(self, ord: int | str = 2) -> NDArray[np.float64]:
        """Return ln‖∂s_T/∂s_t‖ for all t, ``(T+1, B)``; see :func:`gradlab.jacobians.propagator.propagator_norms`."""
        return propagator_norms(self.tape, ord)

    def sensitivity(self, probes: int | None = None) -> Sensitivity:
        """Return ln‖∂s_t/∂s_s‖_F, ``(T+1, T+1, B)`` and its error: see `gradlab.jacobians.sensitivity`."""
        return sensitivity(self.tape, probes)

    def truncation(self, lags: Sequence[int] | None = None) -> Truncation:
        """Return BPTT(k) against the full gradient; see :func:`gradlab.jacobians.truncation.truncation`."""
        return truncation(self.tape, self._backward.direct, lags)

    def paths(self) -> Paths:
        """Return the additive path against all paths; see :func:`gradlab.jacobians.paths.paths`."""
        return paths(self.tape, self.last_adjoint)

    def evidence(self, lag: int | None = None, *, exponents: int = 0, cell: bool = True) -> Evidence:
        """Return the numbers of a verdict: those of the gradient, and of the ``cell`` and its ``exponents`` if asked.

        Parameters
        ----------
        lag : steps that the task needs; those from the loss to the first input unless given.
        exponents : how many of the leading Lyapunov exponents; of a state wider than four times as many only one.
        """
        found = self.decay.evidence(lag)
        return replace(found, **(facts(self.tape) if cell else {}), **self._exponents(exponents))

    def _exponents(self, count: int) -> dict[str, Any]:
        if not count or self.overflow_step.any():
            return {}
        S, T = self.tape.cell.state_size, int(self.tape.ends.max())
        k = min(count, S) if 4 * count >= S else 1
        found = self.spectrum(k, warmup=T // 10)  # a tenth aligns the tangents, as a rate leaves out a tenth
        return {"exponents": tuple(found.exponents.tolist()), "errors": tuple(found.stderr.tolist()), "size": S}

    def word(self, lag: int | None = None) -> str:
        """Return the word alone, from the gradient alone, which is cheap: what a study keeps of every run."""
        return word_of(self.evidence(lag, cell=False))

    def verdict(self, lag: int | None = None) -> Verdict:
        """Return the verdict on this layer and direction, by ``lag`` as in `evidence`.

        A layer does not know its model, so it has no change to try: ``trace.verdict()`` tries changes, and says which.
        """
        found = judge(self.evidence(lag, exponents=EXPONENTS))
        changes = found.facts is not None and proposed(found.facts, found.word)
        return replace(found, suggestion=ELSEWHERE) if changes and found.word not in (STABLE, UNCERTAIN) else found

    def plot(self, name: str | Sequence[str] | None = None, *, ax: Axes | None = None, theory: bool = False) -> Figure:
        """Plot the gradients over the lag, or what is named; see :meth:`gradlab.Trace.plot`."""
        return plots.plot([self], name, theory=theory, ax=ax)

    def describe(self) -> list[str]:
        """Return word and evidence without exponents, and how to ask for more; nothing where there is no loss.

        Where the rate takes another pass, only how to ask.
        """
        if self.gradients is None:
            return []
        if self.last is not None and self.last.needs_pass(self.direction):
            return ["the rate takes one more backward pass, of the last loss step's loss alone: ask verdict()"]
        lines = str(judge(self.evidence())).splitlines()[:2]
        return [*(" ".join(line.split()) for line in lines), "verdict() adds the exponents, and what to try"]

    def __repr__(self) -> str:
        return markup.plain(self._title, [("cell", self.cell)])

    def _repr_html_(self) -> str:
        """Return the cell and the verdict, where that takes no further pass: sums over arrays that are there."""
        return markup.html(self._title, [("", text) for text in (self.cell, *self.describe())])

    @property
    def _title(self) -> str:
        return f"LayerTrace: {self.name}, T {self.tape.steps}, B {self.tape.x.shape[-1]}"
