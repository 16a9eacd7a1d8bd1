"""The unit of instrumentation, for the user as for the library."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gradlab.arrays.scaled import Scaled
from gradlab.layer import LayerPass

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Info:
    """What a hook is told before a pass: ``layers`` of (layer, direction, cell), T steps, B sequences.

    ``whole`` says whether the pass comes as one segment.
    """

    layers: Sequence[tuple[int, str, Any]]
    steps: int
    batch: int
    whole: bool = True


@dataclass(frozen=True, eq=False)
class Step:
    """One step of the backward pass of one layer and direction, all B sequences.

    ``index`` is its place in ``trace``, counted as the cell ran; ``t`` is the true time step of the longest sequence.
    """

    trace: LayerPass
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
    :class:`~gradlab.layer.LayerPass`), or ``step(step)`` for t = T … 1 of it, top layer first. ``forward(segment)``
    comes before them, bottom layer first, for what runs forward in time.

    A pass with ``segment_length`` comes as many segments of each layer and direction, one after the other. Each says
    where it lies (``segment.start``, ``.steps``, ``.ends``, and the true ``.t`` and ``.lag`` of its states), and is
    forgotten afterwards. The steps of a hook with :meth:`step` are the same ones in either case.
    """

    #: The table of a study that :meth:`frame` gives rows of.
    table: ClassVar[str] = "steps"

    def begin(self, info: Info) -> None:
        """Learn of the pass that is to come."""

    def forward(self, segment: LayerPass) -> None:
        """Measure a stretch forward in time."""

    def segment(self, segment: LayerPass) -> None:
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


@dataclass(frozen=True)
class Part:
    """What was measured of some neighbouring segments, ``count`` of them from ``start`` on."""

    start: int
    rows: list[dict[str, Any]]
    kept: dict[str, Array]
    count: int = 1

    def with_(self, other: Part) -> Part:
        """Return both as one, in the order of time as the cell ran."""
        first, second = sorted((self, other), key=attrgetter("start"))
        pairs = zip(first.rows, second.rows, strict=True) if first.rows and second.rows else ()
        rows = _shared([_joined(pair) for pair in pairs]) or first.rows or second.rows
        return Part(first.start, rows, _joined((first.kept, second.kept)), first.count + second.count)


@dataclass
class Found:
    """What a hook has measured of one layer and direction so far.

    Parts of as many segments are put together as they come: there are few, and most is in large arrays, which go back
    to the system when they are freed.
    """

    parts: list[Part] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)

    def add(self, start: int, rows: list[dict[str, Any]], kept: dict[str, Array]) -> None:
        """Take what was measured of the segment that begins at ``start``, neighbour of the one before."""
        self.parts.append(Part(start, _shared(rows), kept))
        while len(self.parts) > 1 and (start == 0 or self.parts[-2].count <= self.parts[-1].count):
            self.parts.append(self.parts.pop().with_(self.parts.pop()))

    def kept(self) -> dict[str, Array]:
        """Hand over what was kept of the whole pass, whose first segment came last."""
        (whole,) = self.parts
        self.parts = [replace(whole, kept={})]
        return whole.kept

    def take(self) -> list[dict[str, Any]]:
        """Hand over the rows of every quantity."""
        found, self.parts = [one for part in self.parts for one in part.rows], []
        return found


class TableHook(Hook):
    """A hook that fills the study's tables: give :meth:`measure`, and :meth:`summarise` for columns of ``runs``."""

    def begin(self, info: Info) -> None:
        """Start with empty tables."""
        import pandas as pd

        self._found: dict[tuple[int, str], Found] = {}
        self._frame = pd.DataFrame()

    @abstractmethod
    def measure(self, segment: LayerPass) -> tuple[list[dict[str, Any]], dict[str, Array]]:
        """Return columns of the hook's table (:meth:`LayerPass.rows`), a dict a quantity, and what it has to keep.

        What is kept, arrays with a row a step, is joined over all segments for :meth:`summarise`. Every segment gives
        the same names, and the same quantities or none.
        """

    def summarise(self, segment: LayerPass, kept: dict[str, Array]) -> dict[str, Any]:
        """Return columns of ``runs`` from what was kept of the whole pass; ``segment`` is the one that came last."""
        return {}

    def segment(self, segment: LayerPass) -> None:
        """Measure a stretch of one layer and direction."""
        found = self._found.setdefault((segment.layer, segment.direction), Found())
        found.add(segment.start, *self.measure(segment))
        if segment.start == 0:
            found.summary = self.summarise(segment, found.kept())

    def frame(self) -> pd.DataFrame:
        """Return rows of the hook's table."""
        import pandas as pd

        rows = [one for found in self._found.values() for one in found.take()]
        if rows:
            self._frame = pd.DataFrame(_stacked(rows), copy=False)
        return self._frame.copy(deep=False)

    def summary(self) -> pd.DataFrame:
        """Return columns of ``runs``, one row a layer and direction."""
        import pandas as pd

        places = [{"layer": layer, "direction": direction} for layer, direction in self._found]
        return pd.DataFrame([place | one.summary for place, one in zip(places, self._found.values(), strict=True)])


def _joined(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return columns of segments end to end; what is no array is the same in all."""
    if len(parts) == 1:
        return dict(parts[0])
    return {
        name: np.concatenate([part[name] for part in parts]) if isinstance(value, np.ndarray) else value
        for name, value in parts[0].items()
    }


def _shared(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows of quantities in which a column that is that of the quantity before is the same array."""
    for before, one in pairwise(rows):
        for name, value in one.items():
            if isinstance(value, np.ndarray) and _same(before.get(name), value):
                one[name] = before[name]
    return rows


def _same(one: Any, two: Array) -> bool:
    """Return whether two columns are equal to the bit."""
    if one is two or not isinstance(one, np.ndarray) or one.dtype != two.dtype or one.shape != two.shape:
        return one is two
    return np.array_equal(np.ascontiguousarray(one).view(np.uint8), np.ascontiguousarray(two).view(np.uint8))


def _stacked(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the columns of several quantities below each other, and take them away: both would be twice the table."""
    sizes = [max(len(value) for value in one.values() if isinstance(value, np.ndarray)) for one in rows]
    return {name: _column([one.pop(name) for one in rows], sizes) for name in list(rows[0])}


def _column(values: Sequence[Any], sizes: Sequence[int]) -> Any:
    if isinstance(values[0], np.ndarray):
        return np.concatenate(values)
    import pandas as pd

    return pd.Series(values).repeat(list(sizes)).array
