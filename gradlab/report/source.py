"""A study as a report sees it, and the text of a page about it: settings, failures, provenance."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from gradlab.formatting.numbers import UNKNOWN, plain
from gradlab.report import tabular
from gradlab.report.pictures import DrawnFigure
from gradlab.tables import tables
from gradlab.tables.factors import SEED, given, keys, longest, seeds_text, varying
from gradlab.tasks.registry import absent
from gradlab.verdicts import summaries
from gradlab.verdicts.of_study import study_verdict

#: Keys of a training that change a gradient after it is measured and before it is used.
CLIPPING = ("train.clip_norm", "train.clip_value")
#: Different tracebacks on a page, at most; the table ``runs`` has all of them.
MOST_TRACEBACKS = 50


@dataclass(frozen=True)
class Source:
    """A study as a report sees it.

    Attributes
    ----------
    frames : mapping
        The tables of `gradlab.schema` by name, and ``theory`` if theory adds lines to the figures; in ``runs`` the
        study's keys stand between ``study`` and ``layer``.
    study : mapping
        The tables of the specification: ``name``, ``question``, ``found``, ``published``, and ``report.figures``. A
        study without ``report.figures`` shows everything that its hooks recorded.
    provenance : mapping
        Versions, git, command line, machine and times, as far as they are known.
    toml : str
        The text of ``study.toml`` if it is to stand on the page.
    folder : str
        The name of the study's results folder.
    """

    frames: tables.Frames
    study: Mapping[str, Any]
    provenance: Mapping[str, Any]
    toml: str = ""
    folder: str = ""

    @property
    def runs(self) -> pd.DataFrame:
        """The table ``runs``."""
        return self.frames["runs"]


def page_context(source: Source, shown: list[DrawnFigure]) -> dict[str, Any]:
    """Return the text of a page about a study, by the names that the templates use."""
    runs = source.runs
    has_rates = tables.has_rates(runs)
    several = seeds_text(runs).endswith("seeds")
    count = seeds_text(runs) + ("" if several else ", so no interval")
    varied = varied_settings(runs)
    return {
        "name": source.study["name"],
        "question": source.study.get("question", ""),
        "found": source.study.get("found", ""),
        "has_rates": has_rates,
        "clipped": any(given(runs[key]).any() for key in CLIPPING if key in runs),
        "verdict": study_verdict(runs) if has_rates else None,
        "findings": summaries.study_findings(runs) if has_rates else [],
        "at_length": f"at length {longest(runs)['length'].max():g}" if "length" in varying(runs) else "",
        "count": count,
        "seeds": f"mean over {count}, 95 % t-interval over them" if several else count,
        "excluded": excluded_text(runs),
        "varied": varied,
        "fixed": {name: text for name, text in settings(runs).items() if name not in varied},
        "figures": shown,
        "failures": failures(runs),
        "unregistered_tasks": absent(runs["task.name"].unique()) if "task.name" in runs else [],
        "recorded": recorded(source),
        "provenance": provenance_text(source.provenance),
        "original_command": original_command(source.provenance),
        "rerun": rerun_commands(source.study, source.provenance),
        "toml": source.toml,
    }


def recorded(source: Source) -> set[str]:
    """Return the columns that hooks filled, and ``theory`` if it has a line: the methods explain each of them."""
    measured = {name for name in tables.MEASURES if name in source.runs and source.runs[name].notna().any()}
    return measured | ({"theory"} if len(source.frames.get("theory", ())) else set())


# --- settings --------------------------------------------------------------------------------------


def settings(runs: pd.DataFrame) -> dict[str, str]:
    """Return the values of every key that a run has, in order of appearance: ``0.5, 0.7, 0.9``."""
    found = {name: _values(runs[name].dropna()) for name in keys(runs)}
    return {name: text for name, text in found.items() if text}


def varied_settings(runs: pd.DataFrame) -> dict[str, str]:
    """Return the settings that the study varies, and its seeds last."""
    names = [name for name in varying(runs) if name in keys(runs)]
    return {name: text for name, text in settings(runs).items() if name in (*names, SEED)}


def differing_settings(one: Mapping[str, str], other: Mapping[str, str]) -> pd.DataFrame:
    """Return the settings that differ, in columns ``key``, ``one`` and ``other``; a missing one is a dash."""
    names = [name for name in dict.fromkeys([*one, *other]) if one.get(name) != other.get(name)]
    rows = [(name, one.get(name, UNKNOWN), other.get(name, UNKNOWN)) for name in names]
    return pd.DataFrame(rows, columns=["key", "one", "other"])


def _values(column: pd.Series) -> str:
    words = list(dict.fromkeys(map(_word, column)))
    if column.name == SEED and len(words) > 1:
        return f"{len(words)} ({words[0]} … {words[-1]})"
    return ", ".join(words)


def _word(value: Any) -> str:
    return plain(value) if isinstance(value, float | int) and not isinstance(value, bool) else str(value)


# --- failures --------------------------------------------------------------------------------------


class Traceback(NamedTuple):
    """A traceback, the number of configurations that ended with it, and their error."""

    text: str
    runs: int
    error: str


class Failures(NamedTuple):
    """All rows of the table of diverged and failed runs, the tracebacks shown, and the number of those omitted."""

    table: tabular.Grid
    tracebacks: list[Traceback]
    omitted: int


def failures(runs: pd.DataFrame) -> Failures:
    """Return the diverged and failed runs of a study's table ``runs``, with their tracebacks."""
    failed = runs[(runs["status"] == "failed") & (runs["traceback"] != "")].drop_duplicates("id")
    found = [
        Traceback(str(text), len(same), str(same["error"].iloc[0]))
        for text, same in failed.groupby("traceback", sort=False)
    ]
    table = tabular.grid(tabular.readable(tables.excluded(runs)), most=None)
    return Failures(table, found[:MOST_TRACEBACKS], max(len(found) - MOST_TRACEBACKS, 0))


def excluded_text(runs: pd.DataFrame) -> str:
    """Return ``3 diverged, 1 failed of 36 runs, left out of every mean``; "" if none is left out."""
    counts = runs["status"].value_counts()
    parts = [f"{counts[word]} {word}" for word in ("diverged", "failed", "planned") if word in counts]
    return f"{', '.join(parts)} of {len(runs)} runs, left out of every mean" if parts else ""


# --- provenance ------------------------------------------------------------------------------------


def provenance_text(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Return provenance as one line per entry; a list of words is a command line, a table ``key value`` pairs."""
    return {key: _line(value) for key, value in provenance.items() if value not in (None, [], {})}


def original_command(provenance: Mapping[str, Any]) -> str:
    """Return the command line ``gradlab run …`` that ran the study; "" if Python code ran it."""
    words = [str(word) for word in provenance.get("argv") or []]
    return shlex.join(["gradlab", *words[1:]]) if words[1:2] == ["run"] else ""


def rerun_commands(study: Mapping[str, Any], provenance: Mapping[str, Any]) -> list[str]:
    """Return the commands that run the study again, for the folder of its ``study.toml``."""
    version = code_version(provenance)
    command = shlex.join(["gradlab", "run", "study.toml", "--out", f"../{study['name']}_again"])
    return [*([f"# with {version}"] if version else []), command]


def code_version(provenance: Mapping[str, Any]) -> str:
    """Return the code that ran the study: its commit, else its version; "" if neither is known."""
    git = provenance.get("git") or {}
    version = (provenance.get("versions") or {}).get("gradlab")
    found = f"gradlab at commit {git['commit']}" if git.get("commit") else f"gradlab {version}" if version else ""
    return found + (", which had uncommitted changes" if git.get("dirty") else "")


def made_with(provenance: Mapping[str, Any]) -> str:
    """Return the code and the version of the numerics that made the numbers, in one line; "" if not known."""
    numerics = (provenance.get("versions") or {}).get("numerics")
    return "; ".join(filter(None, [code_version(provenance), f"numerics {numerics}" if numerics else ""]))


def versions(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Return the versions, commit and machine of a run of the study."""
    git, machine = provenance.get("git") or {}, provenance.get("machine") or {}
    found = {f"version of {name}": str(version) for name, version in (provenance.get("versions") or {}).items()}
    found |= {"commit": git["commit"] + (" with changes" if git.get("dirty") else "")} if git.get("commit") else {}
    return found | ({"machine": str(machine["system"])} if machine.get("system") else {})


def _line(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_line(entry)}" for key, entry in value.items() if entry is not None)
    if isinstance(value, list | tuple):
        return shlex.join(_line(entry) for entry in value)
    return str(value)
