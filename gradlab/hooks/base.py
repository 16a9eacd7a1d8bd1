"""The unit of instrumentation, for the user as for the library."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from numpy.typing import NDArray

from gradlab.layers import LayerTrace
from gradlab.scaled import Scaled

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Info:
    """What a hook is told before a pass: ``layers`` of (layer, direction, cell), T steps, B sequences."""

    layers: Sequence[tuple[int, str, Any]]
    steps: int
    batch: int


@dataclass(frozen=True, eq=False)
class Step:
    """One step of the backward pass of one layer and direction, all B sequences.

    ``index`` counts as the cell ran; ``t`` is the true time step of the longest sequence, the same number forward.
    """

    trace: LayerTrace
    index: int

    @property
    def t(self) -> int:
        """The time step, T … 1 forward; in reverse that of the longest sequence, 1 … T."""
        return int(self.trace.t[self.index].max())

    @property
    def layer(self) -> int:
        """The layer, counted from 0 at the input."""
        return self.trace.layer

    @property
    def direction(self) -> str:
        """ "forward" or "reverse"."""
        return self.trace.direction

    @property
    def state(self) -> dict[str, Array]:
        """The states at t by name, ``(B, H)``."""
        return {name: array[self.index] for name, array in self.trace.states.items()}

    @property
    def gates(self) -> dict[str, Array]:
        """The gates of step t by name, ``(B, H)``."""
        return {name: array[self.index - 1] for name, array in self.trace.gates.items()}

    @property
    def grad(self) -> dict[str, Scaled]:
        """The total gradients dL/ds_t by state, ``(B, H)``."""
        return {name: scaled[self.index] for name, scaled in self.trace.grad.items()}

    @property
    def direct(self) -> dict[str, Scaled]:
        """What arrives at s_t with the layer's own recurrence cut, by state, ``(B, H)``."""
        return {name: scaled[self.index] for name, scaled in self.trace.direct.items()}

    @property
    def jacobian(self) -> Array:
        """J_t = ∂s_t/∂s_{t−1}, dense ``(B, S, S)``, formed when asked for."""
        return self.trace.jacobians.dense(self.index)


class Hook:
    """Measures a backward pass. Give one of :meth:`step` and :meth:`segment`; the rest is optional.

    ``begin(info)`` comes first, then ``segment(segment)`` for a whole stretch of a layer and direction at once (a
    :class:`~gradlab.layers.LayerTrace`), or ``step(step)`` for t = T … 1 of it, top layer first. ``forward(segment)``
    comes before them, bottom layer first, for what runs forward in time.
    """

    #: The table of a study that :meth:`frame` gives rows of.
    table: ClassVar[str] = "steps"

    def begin(self, info: Info) -> None:
        """Learn of the pass that is to come."""

    def forward(self, segment: LayerTrace) -> None:
        """Measure a stretch forward in time."""

    def segment(self, segment: LayerTrace) -> None:
        """Measure a whole stretch; unless overridden, call :meth:`step` for each of its steps, last first."""
        for index in range(segment.tape.steps, 0, -1):
            self.step(Step(segment, index))

    def step(self, step: Step) -> None:
        """Measure one step."""

    def frame(self) -> pd.DataFrame:
        """Return what was measured as a tidy table."""
        import pandas as pd

        return pd.DataFrame()

    def summary(self) -> pd.DataFrame:
        """Return columns of the ``runs`` table: one row a layer and direction, keyed by those two."""
        import pandas as pd

        return pd.DataFrame()


class TableHook(Hook):
    """A hook that fills the study's tables: give :meth:`measure`, the rest follows."""

    def begin(self, info: Info) -> None:
        """Start with empty tables."""
        self._rows: list[dict[str, Any]] = []
        self._summaries: list[dict[str, Any]] = []

    @abstractmethod
    def measure(self, segment: LayerTrace) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return columns of the hook's table (:meth:`LayerTrace.rows`), a dict a quantity, and columns of ``runs``."""

    def segment(self, segment: LayerTrace) -> None:
        """Measure a stretch of one layer and direction."""
        rows, summary = self.measure(segment)
        self._rows += rows
        self._summaries.append({"layer": segment.layer, "direction": segment.direction, **summary})

    def frame(self) -> pd.DataFrame:
        """Return rows of the hook's table."""
        import pandas as pd

        frames = [pd.DataFrame(rows) for rows in self._rows]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def summary(self) -> pd.DataFrame:
        """Return columns of ``runs``, one row a layer and direction."""
        import pandas as pd

        return pd.DataFrame(self._summaries)
