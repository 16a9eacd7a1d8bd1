"""Hooks: what measures a backward pass, for the user and for the library alike."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gradlab.arrays.scaled import Array, Scaled
from gradlab.cells import Cell
from gradlab.errors import InputError
from gradlab.layer import LayerPass, Row

if TYPE_CHECKING:
    import pandas as pd


#: Columns of ``runs`` for one layer and direction.
Summary = dict[str, float | str]


@dataclass(frozen=True, eq=False)
class Info:
    """Facts about a pass that a hook gets before it starts.

    Attributes
    ----------
    layers : (layer, direction, cell) for every layer and direction.
    steps : T.
    batch : B, the number of sequences.
    whole : whether the pass comes as one segment.
    """

    layers: Sequence[tuple[int, str, Cell]]
    steps: int
    batch: int
    whole: bool = True


@dataclass(frozen=True, eq=False)
class Step:
    """One step of the backward pass in one layer and direction, for all B sequences.

    Attributes
    ----------
    trace : the pass, or the segment of it, that holds the step.
    index : the position of the step in ``trace``, in the order in which the cell ran.
    """

    trace: LayerPass
    index: int

    @property
    def t(self) -> int:
        """The true time step of the longest sequence: T … 1 forward, 1 … T in reverse."""
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
        """The states at this step by name, ``(B, H)``."""
        return {name: array[self.index] for name, array in self.trace.states.items()}

    @property
    def gates(self) -> dict[str, Array]:
        """The gates at this step by name, ``(B, H)``."""
        return {name: array[self.index - 1] for name, array in self.trace.gates.items()}

    @property
    def grad(self) -> dict[str, Scaled]:
        """The total gradients dL/ds_t by state, ``(B, H)``."""
        return {name: scaled[self.index] for name, scaled in self.trace.grad.items()}

    @property
    def direct(self) -> dict[str, Scaled]:
        """The direct gradients by state, ``(B, H)``: the layer's own recurrence is cut."""
        return {name: scaled[self.index] for name, scaled in self.trace.direct.items()}

    @property
    def jacobian(self) -> Array:
        """The step Jacobian J_t = ∂s_t/∂s_{t−1}, dense ``(B, S, S)``, computed on demand."""
        return self.trace.jacobians.dense(self.index)


class Hook:
    """A measurement of a backward pass. Implement :meth:`step` or :meth:`segment`; the rest is optional.

    The pass calls ``begin(info)`` first and ``forward(segment)`` next, from the bottom layer upward. Then it calls
    ``segment(segment)`` for each layer and direction, from the top layer downward; by default that calls
    ``step(step)`` for t = T … 1.

    A pass with ``segment_length`` has several segments for each layer and direction, the last one first. Each knows its
    position: ``segment.start``, ``.steps``, ``.ends``, and the true ``.t`` and ``.lag`` of its states. It is dropped
    afterwards. A hook with :meth:`step` sees the same steps in either case.

    Examples
    --------
    >>> import gradlab as gl, numpy as np
    >>> class Norms(gl.Hook):
    ...     def __init__(self):
    ...         self.logs = []
    ...     def step(self, step):
    ...         self.logs.append(float(step.grad["h"].log_norm()[0] / np.log(2)))
    >>> cell = gl.RNN(W_xh=np.zeros((1, 1)), W_hh=np.array([[0.5]]), activation="identity")
    >>> norms = Norms()
    >>> _ = gl.trace(cell, np.zeros((3, 1, 1)), gl.projection(np.ones((1, 1))), hooks=[norms])
    >>> norms.logs
    [0.0, -1.0, -2.0]
    """

    #: The table of a study to which :meth:`frame` adds rows: "steps" or "spectra".
    table: ClassVar[str] = "steps"
    #: Whether the hook measures every pair of steps, so that time and memory grow with T²; `gradlab plan` needs this.
    quadratic: ClassVar[bool] = False

    def begin(self, info: Info) -> None:
        """Prepare for a pass."""

    def forward(self, segment: LayerPass) -> None:
        """Measure a segment on the way forward in time."""

    def segment(self, segment: LayerPass) -> None:
        """Measure a segment on the way back; by default, call :meth:`step` for each step, the last one first."""
        for index in range(segment.tape.steps, 0, -1):
            self.step(Step(segment, index))

    def step(self, step: Step) -> None:
        """Measure one step."""

    def frame(self) -> pd.DataFrame:
        """Return the rows for the hook's table."""
        import pandas as pd

        return pd.DataFrame()

    def summary(self) -> pd.DataFrame:
        """Return columns for the ``runs`` table: one row per layer and direction, with those two as keys."""
        import pandas as pd

        return pd.DataFrame()


@dataclass(frozen=True)
class Part:
    """Measurements of ``count`` adjacent segments, the first of which begins at step ``start``."""

    start: int
    rows: list[Row]
    kept: dict[str, Array]
    count: int = 1

    def with_(self, other: Part) -> Part:
        """Return both parts joined, in the order in which the cell ran."""
        first, second = sorted((self, other), key=attrgetter("start"))
        pairs = zip(first.rows, second.rows, strict=True) if first.rows and second.rows else ()
        rows = _shared([_joined(pair) for pair in pairs]) or first.rows or second.rows
        return Part(first.start, rows, _joined((first.kept, second.kept)), first.count + second.count)


@dataclass
class Found:
    """Measurements of one layer and direction so far.

    Parts with the same number of segments are joined as they arrive. So there are few parts, in large arrays, and freed
    memory returns to the system.
    """

    parts: list[Part] = field(default_factory=list)
    summary: Summary = field(default_factory=dict)

    def add(self, start: int, rows: list[Row], kept: dict[str, Array]) -> None:
        """Add the measurements of the segment that begins at ``start``, which is adjacent to the one added before."""
        self.parts.append(Part(start, _shared(rows), kept))
        while len(self.parts) > 1 and (start == 0 or self.parts[-2].count <= self.parts[-1].count):
            self.parts.append(self.parts.pop().with_(self.parts.pop()))

    def kept(self) -> dict[str, Array]:
        """Return and drop the kept arrays of the whole pass, whose first segment was added last."""
        (whole,) = self.parts
        self.parts = [replace(whole, kept={})]
        return whole.kept

    def take(self) -> list[Row]:
        """Return and drop the rows of every quantity."""
        found, self.parts = [one for part in self.parts for one in part.rows], []
        return found


class TableHook(Hook):
    """A hook that fills the tables of a study: :meth:`measure` makes rows, :meth:`summarise` columns of ``runs``."""

    def begin(self, info: Info) -> None:
        """Reset the tables."""
        import pandas as pd

        self._found: dict[tuple[int, str], Found] = {}
        self._frame = pd.DataFrame()

    @abstractmethod
    def measure(self, segment: LayerPass) -> tuple[list[Row], dict[str, Array]]:
        """Return the rows of the hook's table, and arrays to keep for :meth:`summarise`.

        Returns
        -------
        rows : one dict of columns per quantity, as :meth:`LayerPass.rows` makes it.
        kept : arrays with one row per state of ``segment.own`` or fewer, by name; those of all segments are joined.
            Every segment returns the same names, and the same quantities or none.
        """

    def summarise(self, segment: LayerPass, kept: dict[str, Array]) -> Summary:
        """Return columns of ``runs`` from the kept arrays of the whole pass; ``segment`` is the first in time."""
        return {}

    def segment(self, segment: LayerPass) -> None:
        """Measure one segment of a layer and direction.

        Raises
        ------
        InputError
            if :meth:`measure` keeps rows of states that the segment does not own.
        """
        rows, kept = self.measure(segment)
        owned = len(segment.own)
        for name, array in kept.items():
            if len(array) > owned:
                raise InputError(
                    f'hook {type(self).__name__}: keeps {len(array)} rows of "{name}" in a segment that owns {owned} '
                    "states; keep those of segment.own alone"
                )
        found = self._found.setdefault((segment.layer, segment.direction), Found())
        found.add(segment.start, rows, kept)
        if segment.start == 0:
            found.summary = self.summarise(segment, found.kept())

    def frame(self) -> pd.DataFrame:
        """Return the rows of the hook's table."""
        import pandas as pd

        rows = [one for found in self._found.values() for one in found.take()]
        if rows:
            self._frame = pd.DataFrame(_stacked(rows), copy=False)
        return self._frame.copy(deep=False)

    def summary(self) -> pd.DataFrame:
        """Return columns of ``runs``, one row per layer and direction."""
        import pandas as pd

        places: list[Summary] = [{"layer": layer, "direction": direction} for layer, direction in self._found]
        return pd.DataFrame([place | one.summary for place, one in zip(places, self._found.values(), strict=True)])


def _joined(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Concatenate the columns of segments; a value that is not an array is the same in all segments."""
    if len(parts) == 1:
        return dict(parts[0])
    return {
        name: np.concatenate([part[name] for part in parts]) if isinstance(value, np.ndarray) else value
        for name, value in parts[0].items()
    }


def _shared(rows: list[Row]) -> list[Row]:
    """Return the rows; a column that equals that of the quantity before becomes the same array, to save memory."""
    for before, one in pairwise(rows):
        for name, value in one.items():
            if isinstance(value, np.ndarray) and _same(before.get(name), value):
                one[name] = before[name]
    return rows


def _same(one: object, two: Array) -> bool:
    """Return whether two columns are equal to the bit."""
    if one is two or not isinstance(one, np.ndarray) or one.dtype != two.dtype or one.shape != two.shape:
        return one is two
    return np.array_equal(np.ascontiguousarray(one).view(np.uint8), np.ascontiguousarray(two).view(np.uint8))


def _stacked(rows: Sequence[Row]) -> dict[str, Any]:
    """Concatenate the columns of several quantities, and drop each one, so that only one copy is alive."""
    sizes = [max(len(value) for value in one.values() if isinstance(value, np.ndarray)) for one in rows]
    return {name: _column([one.pop(name) for one in rows], sizes) for name in list(rows[0])}


def _column(values: Sequence[Any], sizes: Sequence[int]) -> Any:
    if isinstance(values[0], np.ndarray):
        return np.concatenate(values)
    import pandas as pd

    return pd.Series(values).repeat(list(sizes)).array
