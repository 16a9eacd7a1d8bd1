"""The results of a study: tables in the order of the plan, read from the parts; report, figures and copies."""

from __future__ import annotations

import errno
import functools
import operator
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pandas as pd
import pyarrow.compute as pc

from gradlab import schema
from gradlab.errors import InputError, RunError, SpecError, StoreError, unknown
from gradlab.files import whole
from gradlab.formatting import markup
from gradlab.formatting.numbers import counted
from gradlab.protocol import Measurements
from gradlab.study import provenance
from gradlab.study.lock import holder
from gradlab.study.plan import Plan, make_plan
from gradlab.study.spec import naming
from gradlab.study.store import PartStore
from gradlab.study.unregistered_tasks import refuse_unread, spec_of
from gradlab.tables.comparisons import comparisons
from gradlab.tables.factors import has_level, remembered
from gradlab.tables.theory_lines import laws, mean_field_lines
from gradlab.verdicts import Verdict
from gradlab.verdicts.of_study import study_verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gradlab.report import Source

#: Number of attempts of a reader when a runner merges parts while they are read.
_LOOKS = 5
#: Largest number of configurations for which a notebook shows the verdict; reading their runs takes little time.
FEW = 10_000
#: Largest number of failures that the status lists; the report lists all.
SHOWN = 10


def load_results(folder: str | Path) -> Results:
    """Open the results of a study; the study may still be running.

    Parameters
    ----------
    folder : str or Path
        The results folder.

    Returns
    -------
    Results
        The results.

    Raises
    ------
    StoreError
        If ``folder`` holds no study, or one that cannot be read.
    """
    path = Path(folder)
    try:
        if not (path / "study.toml").is_file():
            raise StoreError(f"{path}: holds no study.toml; expected a folder that `gradlab run` wrote")
        spec = spec_of(path)
        with naming(path / "study.toml"):
            plan = make_plan(spec)
        refuse_unread(path, plan)
        return Results(path, plan)
    except SpecError as error:
        raise StoreError(str(error)) from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror})") from None


@dataclass(frozen=True)
class Results(Measurements):
    """The results of a study, in three tables.

    ``runs`` has one row per planned configuration, layer and direction, and per measured training step. For each of
    these, ``steps`` has one row per time step and quantity, and ``spectra`` has one row per exponent.

    Parameters
    ----------
    folder : Path
        The results folder.
    plan : Plan
        The plan of its study.

    Examples
    --------
    >>> results = gl.load_results("results/init_scale")       # doctest: +SKIP
    >>> results.frame("runs").groupby(["cell", "scale"])["rate"].mean()   # doctest: +SKIP
    >>> results.frame("steps", where={"cell": "lstm", "quantity": "dL/dc"})   # doctest: +SKIP
    """

    folder: Path
    plan: Plan

    def __repr__(self) -> str:
        return markup.plain(self._title)

    def _repr_html_(self) -> str:
        """Return the counts by status, and the verdict of a study of at most ``FEW`` configurations, as HTML."""
        counts = ", ".join(f"{count} {status}" for status, count in self.status().items())
        few = len(self.plan.configurations) <= FEW
        verdict = markup.rows_of(str(self.verdict())) if few else [("verdict", "call results.verdict()")]
        return markup.html(self._title, [*self.plan.spec.summary, ("runs", counts), *verdict])

    @property
    def _title(self) -> str:
        return f'Results("{self.plan.spec.name}", {len(self.plan.configurations)} configurations, {self.folder})'

    def frame(
        self, name: str = "runs", *, columns: Sequence[str] | None = None, where: Mapping[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return one table as it is now, with the rows in the order of the plan.

        Parameters
        ----------
        name : str
            "runs", "steps" or "spectra" (:mod:`gradlab.schema`).
        columns : sequence of str, optional
            The columns of the table to return; by default all. Other columns are not read.
        where : mapping, optional
            A value, or a list of values, by column of the table or key of the study, such as ``{"cell": "lstm"}``.
            Other rows are not read.

        Returns
        -------
        DataFrame
            The table. A configuration that has not run has rows in ``runs`` alone, with the status "planned".

        Raises
        ------
        StoreError
            If there is no such table or column, or a part is damaged.
        """
        if not isinstance(name, str) or name not in schema.TABLES:
            raise StoreError(unknown("table", name, schema.TABLES))
        conditions = {column: _listed(values) for column, values in (where or {}).items()}
        chosen = self.plan.frame()
        for column in conditions.keys() & set(chosen):
            levels = [has_level(chosen[column], level) for level in conditions.pop(column)]
            chosen = chosen[functools.reduce(operator.or_, levels, pd.Series(False, chosen.index))]
        chosen = chosen.reset_index(drop=True)
        if name == "runs":
            return _only(_fitting(self._runs(chosen), conditions), columns)
        for column in (*conditions, *(columns or ())):
            _check_column(column, self._columns[name])
        read = None if columns is None else list(dict.fromkeys(["id", *columns]))
        return _only(_in_order(self._rows(name, chosen["id"], read, conditions), chosen["id"]), columns)

    def status(self) -> dict[str, int]:
        """Return the number of configurations of the plan by status: planned, done, diverged and failed."""
        found = self._store.statuses
        counts = pd.Series([found.get(c.id, "planned") for c in self.plan.configurations]).value_counts()
        return {status: int(counts.get(status, 0)) for status in schema.STATUSES}

    def verdict(self) -> Verdict:
        """Return the verdict on the study: labels of the settings by cell, the evidence, and the STABLE settings."""
        return study_verdict(self.frame("runs"))

    def comparisons(self, along: str = "cell", *, where: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Compare the rate between the levels of a key; see :func:`gradlab.tables.comparisons.comparisons`.

        Parameters
        ----------
        along : str
            The key whose levels are compared.
        where : mapping, optional
            The runs to compare, as in :meth:`frame`.

        Returns
        -------
        DataFrame
            One row per comparison. The intervals of a table hold simultaneously, so fewer rows give narrower ones.
        """
        return comparisons(self.frame("runs", where=where), along)

    def report(self, beside: Results | str | Path | None = None, *, out: str | Path | None = None) -> Path:
        """Write ``report.html``, ``figures/`` and ``tables/`` into the folder.

        Parameters
        ----------
        beside : Results, str or Path, optional
            Another study, or its folder. One page that compares the two studies is then written instead; their own
            reports stay as they are.
        out : str or Path, optional
            The file of that page; by default ``report_with_<folder of the other>.html`` in this study's folder.

        Returns
        -------
        Path
            The path of the page.

        Raises
        ------
        InputError
            If ``beside`` is this study itself, or ``out`` is a folder or a study's own report.
        StoreError
            If a part is damaged, or one of the studies has no finished run; nothing is written then.
        RunError
            If the report fails for another reason; the stored results are kept.
        """
        other = beside if isinstance(beside, Results) or beside is None else load_results(beside)
        path = self._page(other, out)
        for results in (self, other) if other else (self,):
            results._refuse_empty()
        try:
            return self._report(other, path)
        except StoreError:
            raise
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            kept = f"tables are stored; `gradlab report {self.folder}` tries again"
            raise RunError(f"{self.folder}: the report could not be written ({reason}); {kept}") from error

    def _report(self, other: Results | None, path: Path) -> Path:
        from gradlab.report import write_pair, write_report

        with remembered():
            own = self._source()
            return write_pair(path, own, other._source()) if other else write_report(path.parent, own)

    def _page(self, other: Results | None, out: str | Path | None) -> Path:
        """Return the path of the page to write, after checking ``out``."""
        own = self.folder / "report.html"
        if other is None:
            if out is not None:
                raise InputError(f"out: a study's own report is {own}; give out only with a second study")
            return own
        if other.folder.resolve() == self.folder.resolve():
            raise InputError(f"{other.folder}: is the same study; expected another study to compare with it")
        path = Path(out or self.folder / f"report_with_{other.folder.resolve().name}.html")
        if path.is_dir():
            raise InputError(f"out: {path} is a folder; name a file")
        if path.resolve() in [(results.folder / "report.html").resolve() for results in (self, other)]:
            raise InputError(f"out: {path} is a study's own report; name another file")
        return path

    def _source(self) -> Source:
        from gradlab.report import Source

        latest = {key: value for key, value in self.provenance.items() if key != "earlier"}
        spec = self.plan.spec
        return Source(self._frames(), spec.tables(), latest, spec.toml(), self.folder.resolve().name)

    def tables(self, format: str = "latex") -> str:
        """Return the report's tables, with captions, as one text.

        Parameters
        ----------
        format : str
            "latex" (booktabs), "markdown", "csv" or "html".

        Returns
        -------
        str
            The tables.

        Raises
        ------
        InputError
            If the format is unknown.
        StoreError
            If no run is finished.
        """
        from gradlab.report import format_tables

        self._refuse_empty()
        with remembered():
            return format_tables(self.frame("runs"), self.plan.spec.tables(), format)

    def plot(self, name: str | Sequence[str] | None = None, *, ax: Axes | None = None) -> Figure:
        """Plot the first of the study's figures, or the quantities named.

        Parameters
        ----------
        name : str or sequence of str, optional
            A figure of the report, such as "decay"; a quantity of ``steps`` such as "dL/dh", or a list of them,
            plotted over the lag; or a column of ``runs``, plotted over the key that the study varies.
        ax : Axes, optional
            The axes for a figure of one panel; by default a new figure.

        Returns
        -------
        Figure
            A matplotlib figure, which a notebook displays.

        Raises
        ------
        InputError
            If there is no such figure, or the study did not record its quantities; the message names the missing hook.
        """
        from gradlab.figures import FIGURES, draw

        first = next(iter(self.plan.spec.figures or FIGURES))
        return draw(first if name is None else name, self._frames(), ax=ax)

    def export(self, path: str | Path | None = None) -> list[Path]:
        """Write each table that has rows as one CSV and one Parquet file, by default into ``export/``.

        ``steps`` and ``spectra`` identify configurations by id; ``runs`` has the value of every key by id.

        Parameters
        ----------
        path : str or Path, optional
            The folder to write into.

        Returns
        -------
        list of Path
            The files.

        Raises
        ------
        StoreError
            If no run is finished, or a file cannot be written.
        RunError
            If the disk is full.
        """
        self._refuse_empty()
        target, written = Path(path or self.folder / "export"), list[Path]()
        for name in schema.TABLES:
            frame = self.frame(name)
            if len(frame):
                written += [target / f"{name}.csv", target / f"{name}.parquet"]
                with _writing(written[-2]) as file:
                    frame.to_csv(file, index=False)
                with _writing(written[-1]) as file:
                    frame.to_parquet(file, index=False, compression="zstd")
        return written

    def save(self, path: str | Path) -> Path:
        """Copy study, provenance and parts to a new folder, which :func:`load_results` can open.

        Parameters
        ----------
        path : str or Path
            The new folder.

        Returns
        -------
        Path
            The new folder.

        Raises
        ------
        StoreError
            If ``path`` exists already.
        """
        target = Path(path)
        if target.exists():
            raise StoreError(f"{target}: exists already; expected the name of a new folder")
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            temporary.mkdir(parents=True)
            for name in ("study.toml", "provenance.json"):
                if (self.folder / name).exists():
                    shutil.copy2(self.folder / name, temporary)
            if (self.folder / "parts").exists():
                shutil.copytree(self.folder / "parts", temporary / "parts", ignore=shutil.ignore_patterns(".*"))
            return temporary.rename(target)
        except OSError as error:  # shutil.Error, which copytree raises, is an OSError without strerror
            raise StoreError(f"{target}: cannot be written ({error.strerror or error})") from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    @property
    def provenance(self) -> dict[str, Any]:
        """Versions, git commit, command line, machine and times of the last run; empty if nothing has run."""
        return provenance.read(self.folder)

    def _refuse_empty(self) -> None:
        """Raise if no run is finished, as in a published folder without parts; writing would replace its tables."""
        counts = self.status()
        if counts["planned"] == sum(counts.values()):
            then = "`gradlab run` on its file makes some"
            raise StoreError(f"{self.folder}: holds no finished run; {then}; nothing was written")

    def _frames(self) -> dict[str, pd.DataFrame]:
        frames = {name: self.frame(name) for name in schema.TABLES}
        return frames | {"theory": mean_field_lines(frames["runs"]), **laws(frames["runs"])}

    @property
    def _columns(self) -> dict[str, dict[str, schema.Column]]:
        return schema.tables(trained=self.plan.spec.trains)

    @property
    def _store(self) -> PartStore:
        store = PartStore.open(self.folder)
        for reason in store.damaged.values():
            raise StoreError(f"{reason}; run the study again to repeat the configurations of this file")
        return store

    def _rows(
        self, table: str, ids: pd.Series, columns: list[str] | None, conditions: Mapping[str, list[Any]]
    ) -> pd.DataFrame:
        tests = [pc.field(column).isin(values) for column, values in conditions.items()]
        where = functools.reduce(operator.and_, tests) if tests else None
        for _ in range(_LOOKS):
            try:
                rows = self._store.read(table, ids, columns, where, trained=self.plan.spec.trains)
                found: pd.DataFrame = rows.to_pandas()
                return found
            except FileNotFoundError as error:  # merged since the store was opened, or really missing
                missing = error.filename
        raise StoreError(f"{missing}: is missing; run the study again to repeat the configurations of this file")

    def _runs(self, chosen: pd.DataFrame) -> pd.DataFrame:
        """Return one row per chosen configuration, layer and direction; a missing run gets one row "planned"."""
        measured = self._rows("runs", chosen["id"], None, {})
        measured = measured[[name for name in measured if name == "id" or name not in chosen]]
        runs = chosen.merge(measured, on="id", how="left", sort=False)
        defaults = {"status": "planned", "direction": schema.DIRECTIONS[0]}
        for name, column in self._columns["runs"].items():
            if column.dtype == "string" and name in measured:
                runs[name] = runs[name].fillna(defaults.get(name, ""))
            elif column.dtype == "int64":
                runs[name] = runs[name].fillna(0).astype("int64")
        return runs


def _listed(values: Any) -> list[Any]:
    return list(values) if isinstance(values, list | tuple | set) else [values]


def _check_column(column: str, known: Iterable[str]) -> None:
    if column not in (names := list(known)):
        raise StoreError(unknown("column", column, names))


def _fitting(frame: pd.DataFrame, conditions: Mapping[str, list[Any]]) -> pd.DataFrame:
    for column, values in conditions.items():
        _check_column(column, map(str, frame.columns))
        frame = frame[frame[column].isin(values)]
    return frame.reset_index(drop=True)


def _in_order(frame: pd.DataFrame, ids: pd.Series) -> pd.DataFrame:
    rank = pd.Series(ids.index, index=ids)
    order = frame["id"].map(rank).to_numpy().argsort(kind="stable")
    return frame.iloc[order].reset_index(drop=True)


def _only(frame: pd.DataFrame, columns: Sequence[str] | None) -> pd.DataFrame:
    for column in columns or ():
        _check_column(column, map(str, frame.columns))
    return frame if columns is None else frame[list(columns)]


@contextmanager
def _writing(path: Path) -> Iterator[BinaryIO]:
    try:
        with whole(path) as file:
            yield file
    except OSError as error:
        kind = RunError if error.errno in (errno.ENOSPC, errno.EDQUOT) else StoreError
        raise kind(f"{path}: cannot be written ({error.strerror})") from None


def describe_status(folder: str | Path) -> str:
    """Describe the status of a results folder.

    Parameters
    ----------
    folder : str or Path
        The results folder.

    Returns
    -------
    str
        The counts by status, the current runner, and the first failures with their reasons.

    Raises
    ------
    StoreError
        If ``folder`` holds no study, or one that cannot be read.
    """
    results = load_results(folder)
    counts = results.status()
    finished, total = sum(counts.values()) - counts["planned"], sum(counts.values())
    lines = [f"{results.plan.spec.name}: {finished} of {counted(total, 'configuration')} finished"]
    lines += [f"  {status:9} {count}" for status, count in {**counts, "planned": counts["planned"]}.items()]
    held = holder(results.folder)
    lines.append(f"  {held}" if held else "  nobody is running it" + _next(counts))
    return "\n".join(lines + _failures(results, counts["failed"]))


def _next(counts: dict[str, int]) -> str:
    if counts["planned"]:
        return "; `gradlab run` on its file goes on from here"
    return "; `gradlab run --retry-failed` repeats the failed configurations" if counts["failed"] else ""


def _failures(results: Results, count: int) -> list[str]:
    if not count:
        return []
    runs = results.frame("runs", where={"status": "failed"})
    varied = [key for key in (*results.plan.spec.grid, "seed") if key in runs]
    lines = []
    for _, row in runs.drop_duplicates("id").head(SHOWN).iterrows():
        lines.append(f"  failed {', '.join(f'{key} {row[key]}' for key in varied)}: {row['error']}")
    return [*lines, f"  and {count - SHOWN} more"] if count > SHOWN else lines
