"""A study: what a specification, its plan and its results have in common."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from gradlab.formatting import markup
from gradlab.study.plan import Plan, make_plan
from gradlab.study.results import Results
from gradlab.study.run import run_plan
from gradlab.study.spec import Spec, naming


class Study:
    """A grid of traces, each cell × length × scale × … × seed, and the question that it asks.

    Parameters
    ----------
    name : fit for a folder; results go to ``results/<name>``.
    grid : the values of each key that varies, ``{"cell": ["rnn", "lstm"], "scale": [0.5, 1.0], "seeds": 5}``.
    base : the value of each key that does not, and ``hooks``.
    tables : the other tables of a specification: ``question``, ``found``, ``task``, ``init``, ``train``, ``rnn``,
        ``gru``, ``exclude`` (combinations of the grid that are left out), ``report``, ``full``.

    Raises
    ------
    SpecError
        one line that starts with the key's path.

    Examples
    --------
    >>> import gradlab as gl
    >>> study = gl.Study(name="tiny", grid={"cell": ["rnn"], "scale": [0.9, 1.1], "seeds": 2},
    ...                  base={"length": 20}, task={"name": "sum"})
    >>> study
    Study("tiny", 4 configurations)
    """

    def __init__(
        self, *, name: str, grid: Mapping[str, Any], base: Mapping[str, Any] | None = None, **tables: Any
    ) -> None:
        self._path: str | Path | None = None
        self.spec = Spec.from_tables({"name": name, "grid": grid, "base": base or {}, **tables})

    @classmethod
    def from_toml(cls, path: str | Path, *, full: bool = False) -> Self:
        """Read a specification; ``full`` applies its ``[full]`` table."""
        study = cls.__new__(cls)
        study._path = path
        study.spec = Spec.from_toml(path, full=full)
        return study

    @cached_property
    def plan(self) -> Plan:
        """The configurations, in the order of the grid."""
        with naming(self._path):
            return make_plan(self.spec)

    def run(
        self,
        out: str | Path | None = None,
        *,
        workers: int | None = None,
        executor: Executor | None = None,
        retry_failed: bool = False,
        progress: bool = True,
    ) -> Results:
        """Run what is missing in ``out`` (by default ``results/<name>``), write the report, and return the results.

        Parameters and errors are :func:`gradlab.study.run.run_plan`'s. In a script, call it under
        ``if __name__ == "__main__":``, because workers are processes.
        """
        results = run_plan(
            self.plan, out, workers=workers, executor=executor, retry_failed=retry_failed, progress=progress
        )
        results.report()
        return results

    def __repr__(self) -> str:
        return markup.plain(self._title)

    def _repr_html_(self) -> str:
        grid = [(key, ", ".join(map(str, values))) for key, values in self.spec.grid.items()]
        return markup.html(self._title, [*self.spec.summary, *grid, *self.spec.fixed.items()])

    @property
    def _title(self) -> str:
        return f'Study("{self.spec.name}", {len(self.plan.configurations)} configurations)'
