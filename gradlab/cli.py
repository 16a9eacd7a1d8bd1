"""The command line: run a study, show its cost and its state, redraw its report, export it, list the parts."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from gradlab.study import Study

HELP = """Show what gradients do on their way back through time in recurrent networks.

A study is one TOML file: a grid of cells, lengths and init scales. Start with

    gradlab plan studies/init_scale.toml     print its configurations and their cost

    gradlab run studies/init_scale.toml      run it and write a report

Exit codes: 0 success; 1 some configurations failed, or the study had to stop; 2 bad input, nothing ran;
130 interrupted, the same command continues from there.
"""

#: Largest number of characters of an error message; a file may contain keys of any length.
LINE = 1500

app = typer.Typer(
    help=HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)
Spec = Annotated[Path, typer.Argument(help="the study's TOML file", show_default=False)]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="a folder that `gradlab run` wrote", show_default=False)]
Format = Annotated[
    str, typer.Option(metavar="[html|latex|markdown|csv]", help="html writes the page; the others print its tables")
]
Full = Annotated[bool, typer.Option("--full", help="apply the study's [full] table: the size of the paper")]


@app.command()
def run(
    spec: Spec,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="folder for the results; by default results/<name>")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="worker processes; 0 runs in this process; by default one per core"),
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Dask scheduler, tcp://HOST:8786; or local for N processes here"),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="run only the failed configurations, again")
    ] = False,
    full: Full = False,
) -> None:
    """Run the missing configurations of a study, write its report, and print the report's path.

    Finished configurations are skipped, so a study can be stopped, extended and run again.

    Examples:

        gradlab run studies/init_scale.toml

        gradlab run studies/init_scale.toml --full --out results/init_scale_full --workers 8

        gradlab run studies/init_scale.toml --dask tcp://login:8786
    """
    try:
        study = _study(spec, full)
        if dask is None:
            results = study.run(out, workers=workers, retry_failed=retry_failed)
        else:
            from gradlab.study.cluster import dask_executor

            with dask_executor(dask, study.plan, workers) as executor:
                results = study.run(out, executor=executor, retry_failed=retry_failed)
    except KeyboardInterrupt as stopped:
        if not stopped.args:  # interrupted before the first configuration or after the last one
            typer.echo("gradlab: interrupted; the same command goes on from there", err=True)
        raise typer.Exit(130) from None
    typer.echo(str(results.folder / "report.html"))
    if results.status()["failed"]:
        raise typer.Exit(1)


@app.command()
def plan(spec: Spec, full: Full = False) -> None:
    """Print a study's configurations and groups, and the memory and time that they need; run nothing.

    Example:

        gradlab plan studies/init_scale.toml --full
    """
    from gradlab.study.budget import describe

    study = _study(spec, full)
    typer.echo(describe(study.plan))


@app.command()
def status(folder: Folder) -> None:
    """Print the number of configurations per status, the process that runs the study, and the failures.

    This also works while the study runs.

    Example:

        gradlab status results/init_scale
    """
    from gradlab.study.results import describe_status

    typer.echo(describe_status(folder))


@app.command()
def export(
    folder: Folder,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="folder to write to; by default DIR/export")] = None,
) -> None:
    """Write a study's tables as CSV and as Parquet, one file per table; print the paths.

    Example:

        gradlab export results/init_scale --out tables
    """
    from gradlab.study import load_results

    for path in load_results(folder).export(out):
        typer.echo(str(path))


@app.command()
def report(
    folder: Folder,
    other: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="a study to compare it with")] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="file for the page of two studies; by default report_with_NAME.html in DIR"),
    ] = None,
    format: Format = "html",
) -> None:
    """Write report.html, figures and tables from the results in a folder; print the report's path; run nothing.

    The folder holds the results of a study, or a watched training that was saved.

    With the folders of two studies, write one page on both: the differences of their settings, the findings of
    each, the rates of the configurations in both, and their figures. Their own reports stay unchanged.

    With a format other than html, print the tables of one study instead, and write nothing.

    Examples:

        gradlab report results/init_scale

        gradlab report results/init_scale results/init_scale_full --out both.html

        gradlab report results/init_scale --format latex > tables.tex
    """
    from gradlab._watch.watch import FILE, load_watch
    from gradlab.errors import InputError
    from gradlab.study import load_results

    single = other is None and out is None
    if format != "html" and not single:
        raise InputError(f"--format {format} prints the tables of one study; leave out the second folder and --out")
    if format == "html" and single and os.path.isfile(folder / FILE):  # False for an invalid path too
        typer.echo(str(load_watch(folder).report(folder)))
        return
    results = load_results(folder)
    typer.echo(str(results.report(other, out=out)) if format == "html" else results.tables(format))


@app.command()
def check(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[CELL ...]", help="by default all", show_default=False)
    ] = None,
) -> None:
    """Check the derivatives of the named cells; by default those of every cell with every option.

    They are compared with the complex step and with central differences of the cell's step, among other checks.
    The exit code is 1 if a check fails.

    Example:

        gradlab check lstm
    """
    from gradlab._selfcheck import selfcheck
    from gradlab.cells import CELLS
    from gradlab.cells.variants import variants
    from gradlab.native import compiled

    reports = [(label, selfcheck(cell)) for name in names or CELLS for label, cell in variants(name)]
    for label, report in reports:
        if names or not report.passed:
            typer.echo(f"{report}\n")
        else:
            typer.echo(f"{label}: {len(report.checks)} checks passed")
    typer.echo(f"formulas run {compiled.describe()}")
    raise typer.Exit(0 if all(report.passed for _, report in reports) else 1)


@app.command("list")
def list_(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="[cells|tasks|inits|train|hooks|figures]", help="one kind; by default all", show_default=False
        ),
    ] = None,
) -> None:
    """List the cells, tasks, inits, training options, hooks and figures that a study can use, with their keys.

    Example:

        gradlab list hooks
    """
    from gradlab.errors import InputError, unknown

    if kind is not None and kind not in LISTS:
        raise InputError(unknown("kind", kind, LISTS))
    for name in LISTS if kind is None else (kind,):
        rows = list(LISTS[name]())
        width = max(len(key) for key, _ in rows)
        typer.echo(name + "\n" + "".join(f"  {key:{width}}  {text}\n" for key, text in rows))


def _version(wanted: bool) -> None:
    if wanted:
        from gradlab import __version__

        typer.echo(f"gradlab {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options of the command itself; its help text is `HELP`."""


def _study(spec: Path, full: bool) -> Study:
    from gradlab.study import Study

    return Study.from_toml(spec, full=full)


def _first_line(thing: Any) -> str:
    """Return the first line of a docstring, as plain text."""
    return (thing.__doc__ or "").strip().splitlines()[0].replace("``", "")


def _keys(prefix: str, options: Any) -> Iterable[tuple[str, str]]:
    """Yield each key and its description, with its choices and its default."""
    for key, option in options.items():
        choices = f" ({', '.join(option.choices)})" if option.choices else ""
        yield (
            f"  {prefix}.{key}",
            f"{option.meaning}{choices}" + (f"; default {option.default}" if option.default not in ("", None) else ""),
        )


def _cells() -> Iterable[tuple[str, str]]:
    from gradlab.cells import CELLS

    for name, cell in CELLS.items():
        yield name, _first_line(cell)
        yield from _keys(name, cell.OPTION_KEYS)
        yield from _keys("init", {key: o for key, o in cell.INIT_KEYS.items() if key != "scale"})


def _tasks() -> Iterable[tuple[str, str]]:
    from gradlab.tasks import TASKS

    for name, task in TASKS.items():
        yield name, _first_line(task)
        yield from _keys("task", task.KEYS)


def _inits() -> Iterable[tuple[str, str]]:
    from gradlab.cells.initialisers import RECURRENT

    return ((name, meaning) for name, (_, meaning) in RECURRENT.items())


def _train() -> Iterable[tuple[str, str]]:
    from gradlab.study.train import BRINGS, TRAIN

    yield "train", "keys of the table [train]"
    yield from _keys("train", TRAIN)
    for (key, value), options in BRINGS.items():
        if options:
            yield f"{key} {value}", "further keys"
            yield from _keys("train", options)


def _hooks() -> Iterable[tuple[str, str]]:
    from gradlab.hooks import HOOKS

    return ((name, _first_line(hook)) for name, hook in HOOKS.items())


def _figures() -> Iterable[tuple[str, str]]:
    from gradlab.figures import FIGURES

    return ((name, figure.caption) for name, figure in FIGURES.items())


LISTS: dict[str, Callable[[], Iterable[tuple[str, str]]]] = {
    "cells": _cells,
    "tasks": _tasks,
    "inits": _inits,
    "train": _train,
    "hooks": _hooks,
    "figures": _figures,
}


def main() -> None:
    """Run the command line.

    An error of gradlab is printed as one line on stderr. The exit code is then 1 for a run that could not continue
    (`RunError`) and 2 for bad input.
    """
    from gradlab.errors import GradlabError, RunError, printable

    try:
        app()
    except GradlabError as error:
        print(f"gradlab: {printable(str(error), LINE)}", file=sys.stderr)
        sys.exit(1 if isinstance(error, RunError) else 2)
    except KeyboardInterrupt:
        sys.exit(130)
