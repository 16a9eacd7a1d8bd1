"""The results of a study: its tables as the plan orders them, read from the parts; report, figures, copies."""

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

#: How often a reader looks again when a runner merges parts under its eyes.
_LOOKS = 5
#: Configurations whose runs are read in a blink, for a notebook's cell to show their verdict.
FEW = 10_000
#: Failures that are named one by one; the report names all.
SHOWN = 10


def load_results(folder: str | Path) -> Results:
    """Open the results of a study, while it runs too.

    Raises
    ------
    StoreError
        where ``folder`` holds no study, or one that cannot be read.
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
    """The tables of a study: one row a planned configuration and layer; one a step and quantity; one an exponent.

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
        """Return the counts, and of a study that is soon read the verdict; no table of steps is opened."""
        counts = ", ".join(f"{count} {status}" for status, count in self.status().items())
        few = len(self.plan.configurations) <= FEW
        said = markup.rows_of(str(self.verdict())) if few else [("verdict", "ask results.verdict()")]
        return markup.html(self._title, [*self.plan.spec.summary, ("runs", counts), *said])

    @property
    def _title(self) -> str:
        return f'Results("{self.plan.spec.name}", {len(self.plan.configurations)} configurations, {self.folder})'

    def frame(
        self, name: str = "runs", *, columns: Sequence[str] | None = None, where: Mapping[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return ``runs``, ``steps`` or ``spectra`` (:mod:`gradlab.schema`) as it is now, in the order of the plan.

        Parameters
        ----------
        columns : only these, of the table's own; by default all. Others are not read.
        where : a value, or a list of values, by column of the table or key of the study: ``{"cell": "lstm"}``. What it
            leaves out is not read.

        Raises
        ------
        StoreError
            for a table or a column that there is not, and where a part is damaged.
        """
        if name not in schema.TABLES:
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
        """Return how many configurations of the plan are planned, done, diverged and failed."""
        found = self._shelf.statuses
        counts = pd.Series([found.get(c.id, "planned") for c in self.plan.configurations]).value_counts()
        return {status: int(counts.get(status, 0)) for status in schema.STATUSES}

    def verdict(self) -> Verdict:
        """Return the study's three lines: each cell's words, why, and which of its settings is STABLE."""
        return study_verdict(self.frame("runs"))

    def comparisons(self, along: str = "cell", *, where: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return how the rate differs between the levels of a key; see :func:`gradlab.tables.comparisons.comparisons`.

        ``where`` is that of :meth:`frame`. Fewer rows leave narrower intervals: all of a table hold together.
        """
        return comparisons(self.frame("runs", where=where), along)

    def report(self, beside: Results | str | Path | None = None, *, out: str | Path | None = None) -> Path:
        """Write ``report.html``, ``figures/`` and ``tables/`` into the folder; return the page's path.

        Parameters
        ----------
        beside : another study, or its folder: write instead one page with the two, and leave their own reports alone.
        out : the file of that page, by default ``report_with_<folder of the other>.html`` in this one's folder.

        Raises
        ------
        InputError
            where ``beside`` is this study itself, or ``out`` one of their own reports or a folder.
        StoreError
            where a part is damaged, or no run of one of the studies is finished; nothing is written then.
        RunError
            where it fails for whatever other reason; what was measured is kept.
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
        """Return where the report goes."""
        own = self.folder / "report.html"
        if other is None:
            if out is not None:
                raise InputError(f"out: a study's own report is {own}; only that of two studies goes elsewhere")
            return own
        if other.folder.resolve() == self.folder.resolve():
            raise InputError(f"{other.folder}: is the same study; expected another one to put beside it")
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
        """Return the report's tables as one text: "latex" (booktabs), "markdown", "csv" or "html", with captions.

        Raises
        ------
        InputError
            for another format.
        StoreError
            where no run is finished.
        """
        from gradlab.report import format_tables

        self._refuse_empty()
        with remembered():
            return format_tables(self.frame("runs"), self.plan.spec.tables(), format)

    def plot(self, name: str | Sequence[str] | None = None, *, ax: Axes | None = None) -> Figure:
        """Plot the first of the study's figures, or what is named.

        Parameters
        ----------
        name : a figure of the report, such as "decay"; a quantity of ``steps`` such as "dL/dh", or a list of them,
            over the lag; or a column of ``runs`` over the key that the study varies.
        ax : where to draw a figure of one panel, by default a new figure.

        Returns
        -------
        Figure
            A matplotlib figure, which a notebook displays.

        Raises
        ------
        InputError
            If there is no such figure, or the study did not record what it shows; the message names the hook.
        """
        from gradlab.figures import FIGURES, draw

        first = next(iter(self.plan.spec.figures or FIGURES))
        return draw(first if name is None else name, self._frames(), ax=ax)

    def export(self, path: str | Path | None = None) -> list[Path]:
        """Write each table that has rows as one CSV and one Parquet file, by default into ``export/``.

        Returns the paths. ``steps`` and ``spectra`` name configurations by id, under which ``runs`` has every key.

        Raises
        ------
        StoreError
            where no run is finished, or a file cannot be written.
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
        """Copy study, provenance and parts to a new folder, which :func:`load_results` opens; return its path."""
        target = Path(path)
        if target.exists():
            raise StoreError(f"{target}: exists already; expected the name of a new folder")
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        temporary.mkdir(parents=True)
        for name in ("study.toml", "provenance.json"):
            if (self.folder / name).exists():
                shutil.copy2(self.folder / name, temporary)
        shutil.copytree(self.folder / "parts", temporary / "parts", ignore=shutil.ignore_patterns(".*"))
        return temporary.rename(target)

    @property
    def provenance(self) -> dict[str, Any]:
        """Versions, git, command line, machine and times of the last run; empty where nothing has run."""
        return provenance.read(self.folder)

    def _refuse_empty(self) -> None:
        """Refuse to make anything of no run, such as a published folder without its parts: it would replace tables."""
        counts = self.status()
        if counts["planned"] == sum(counts.values()):
            makes = "`gradlab run` on its file makes some"
            raise StoreError(f"{self.folder}: holds no finished run; {makes}; nothing was written")

    def _frames(self) -> dict[str, pd.DataFrame]:
        frames = {name: self.frame(name) for name in schema.TABLES}
        return frames | {"theory": mean_field_lines(frames["runs"]), **laws(frames["runs"])}

    @property
    def _columns(self) -> dict[str, dict[str, schema.Column]]:
        return schema.tables(trained=self.plan.spec.trains)

    @property
    def _shelf(self) -> PartStore:
        shelf = PartStore.open(self.folder)
        for reason in shelf.damaged.values():
            raise StoreError(f"{reason}; run the study again, which redoes what it held")
        return shelf

    def _rows(
        self, table: str, ids: pd.Series, columns: list[str] | None, conditions: Mapping[str, list[Any]]
    ) -> pd.DataFrame:
        tests = [pc.field(column).isin(values) for column, values in conditions.items()]
        where = functools.reduce(operator.and_, tests) if tests else None
        for _ in range(_LOOKS):
            try:
                rows = self._shelf.read(table, ids, columns, where, trained=self.plan.spec.trains)
                found: pd.DataFrame = rows.to_pandas()
                return found
            except FileNotFoundError as error:  # merged since the shelf was opened, or really gone
                missing = error.filename
        raise StoreError(f"{missing}: is missing; run the study again, which redoes what it held")

    def _runs(self, chosen: pd.DataFrame) -> pd.DataFrame:
        """Return a row for every chosen configuration and layer; what has not run has the status planned."""
        measured = self._rows("runs", chosen["id"], None, {})
        measured = measured[[name for name in measured if name == "id" or name not in chosen]]
        runs = chosen.merge(measured, on="id", how="left", sort=False)
        words = {"status": "planned", "direction": schema.DIRECTIONS[0]}
        for name, column in self._columns["runs"].items():
            if column.dtype == "string" and name in measured:
                runs[name] = runs[name].fillna(words.get(name, ""))
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
    """Return the counts by status, the runner if there is one, and the first failures with their reasons."""
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
    return "; `gradlab run --retry-failed` runs what failed again" if counts["failed"] else ""


def _failures(results: Results, count: int) -> list[str]:
    if not count:
        return []
    runs = results.frame("runs", where={"status": "failed"})
    varied = [key for key in (*results.plan.spec.grid, "seed") if key in runs]
    lines = []
    for _, row in runs.drop_duplicates("id").head(SHOWN).iterrows():
        lines.append(f"  failed {', '.join(f'{key} {row[key]}' for key in varied)}: {row['error']}")
    return [*lines, f"  and {count - SHOWN} more"] if count > SHOWN else lines
