"""A study: a specification that can be planned and run."""

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
    """A grid of traces (cell × length × scale × … × seed) that answers one question.

    Parameters
    ----------
    name : str
        The name, which must be a valid folder name; results go to ``results/<name>``.
    grid : mapping
        The list of values of each key that varies, such as
        ``{"cell": ["rnn", "lstm"], "scale": [0.5, 1.0], "seeds": 5}``.
    base : mapping, optional
        The value of each key that does not vary, and ``hooks``.
    **tables
        The other entries of a specification: ``question``, ``found``, ``task``, ``init``, ``train``, a table per cell
        (``rnn``, ``gru``, …), ``exclude`` (combinations of the grid to leave out), ``report``, ``published``, ``full``.

    Raises
    ------
    SpecError
        If the specification is not valid. The message is one line that starts with the key's path.

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
        """Read a specification from a TOML file.

        Parameters
        ----------
        path : str or Path
            The file.
        full : bool
            Whether its ``[full]`` table applies.

        Returns
        -------
        Study
            The study.

        Raises
        ------
        SpecError
            If the file is not a valid specification. The message starts with the file and the key's path.
        """
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
        """Run the configurations that are missing in the results folder, and write the report.

        In a script, call this under ``if __name__ == "__main__":``, because workers are processes.

        Parameters
        ----------
        out : str or Path, optional
            The results folder; by default ``results/<name>``.
        workers : int, optional
            Number of worker processes; 0 runs in this process. By default one per core, as far as memory allows.
        executor : Executor, optional
            Any `concurrent.futures.Executor`, used instead of worker processes.
        retry_failed : bool
            Run the failed configurations again, and nothing else.
        progress : bool
            Report the progress on stderr.

        Returns
        -------
        Results
            The results of the whole study.

        Raises
        ------
        SpecError, InputError
            If the study cannot run; raised before anything runs.
        StoreError
            If the folder belongs to another study, or another runner holds it.
        RunError
            If the run or the report cannot continue; finished groups are kept.
        KeyboardInterrupt
            After Ctrl-C; finished groups are kept, and the next run continues from there.
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
