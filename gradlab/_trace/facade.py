"""One layer and direction of a trace: :class:`LayerPass` with long-range questions, a verdict and figures."""

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

#: Number of exponents that a verdict computes: a quarter of the directions of a state of width 32, enough to call it
#: MIXED. A wider state gets only the largest, because eight exponents take as long as eight passes.
EXPONENTS = 8
#: The suggestion of a layer alone, if a change may help.
ELSEWHERE = Suggestion({}, "a layer has no model to change", "trace.verdict(), which tries changes on the same data")


@dataclass(frozen=True, eq=False, repr=False)
class LayerTrace(LayerPass):
    """One layer and direction of a trace, with every question that can be asked of it.

    The attributes are those of :class:`~gradlab.layer.LayerPass`.
    """

    reverse: LayerTrace | None = None

    # --- long range -------------------------------------------------------------------------------

    def spectrum(self, k: int = 8, *, warmup: int = 0, every: int | None = None, adjoint: bool = False) -> Spectrum:
        """Return the k leading Lyapunov exponents; see :func:`gradlab.jacobians.lyapunov.spectrum`."""
        return spectrum(self.tape, k, warmup=warmup, every=every, adjoint=adjoint)

    def propagator(self, t0: int, t1: int) -> Propagator:
        """Return ∂s_t1/∂s_t0, with t in the order in which the cell ran.

        See :class:`gradlab.jacobians.propagator.Propagator`.
        """
        return Propagator(self.tape, t0, t1)

    def propagator_norms(self, ord: int | str = 2) -> NDArray[np.float64]:
        """Return ln‖∂s_T/∂s_t‖ of all t, ``(T+1, B)``, in nats.

        See :func:`gradlab.jacobians.propagator.propagator_norms`.
        """
        return propagator_norms(self.tape, ord)

    def sensitivity(self, probes: int | None = None) -> Sensitivity:
        """Return ln‖∂s_t/∂s_s‖_F, ``(T+1, T+1, B)``, in nats, with its error.

        See :func:`gradlab.jacobians.sensitivity.sensitivity`.
        """
        return sensitivity(self.tape, probes)

    def truncation(self, lags: Sequence[int] | None = None) -> Truncation:
        """Return BPTT(k) compared with the full gradient; see :func:`gradlab.jacobians.truncation.truncation`."""
        return truncation(self.tape, self._backward.direct, lags)

    def paths(self) -> Paths:
        """Return the gradient on the additive path and on all paths; see :func:`gradlab.jacobians.paths.paths`."""
        return paths(self.tape, self.last_adjoint)

    def evidence(self, lag: int | None = None, *, exponents: int = 0, cell: bool = True) -> Evidence:
        """Return the numbers on which a verdict rests.

        Parameters
        ----------
        lag : number of steps that the task needs; by default the steps from the loss to the first input.
        exponents : number of leading Lyapunov exponents to compute; only one if the state is wider than four times
            that number.
        cell : whether to add the facts about the cell: its gates, and the scale of its weights.
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
        """Return the verdict's word from the gradient alone, which is cheap: a study keeps this word for every run."""
        return word_of(self.evidence(lag, cell=False))

    def verdict(self, lag: int | None = None) -> Verdict:
        """Return the verdict on this layer and direction; for ``lag`` see :meth:`evidence`.

        A layer does not know its model and cannot try a change; ``trace.verdict()`` tries changes and reports them.
        """
        found = judge(self.evidence(lag, exponents=EXPONENTS))
        changes = found.facts is not None and proposed(found.facts, found.word)
        return replace(found, suggestion=ELSEWHERE) if changes and found.word not in (STABLE, UNCERTAIN) else found

    def plot(self, name: str | Sequence[str] | None = None, *, ax: Axes | None = None, theory: bool = False) -> Figure:
        """Plot the gradients over the lag, or what is named; see :meth:`gradlab.Trace.plot`."""
        return plots.plot([self], name, theory=theory, ax=ax)

    def describe(self) -> list[str]:
        """Return the lines of a notebook's view: word, evidence without exponents, and how to ask for more.

        A pass without a loss has no lines. If the rate needs another backward pass, the only line reports that.
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
        """Return the cell and the verdict as HTML; the verdict only if it needs no further pass."""
        return markup.html(self._title, [("", text) for text in (self.cell, *self.describe())])

    @property
    def _title(self) -> str:
        return f"LayerTrace: {self.name}, T {self.tape.steps}, B {self.tape.x.shape[-1]}"
