"""What a report is made of, and what every page tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from gradlab.report import origin, settings
from gradlab.report.lost import left_out, lost
from gradlab.report.pictures import Shown
from gradlab.tables import tables
from gradlab.tables.factors import given, longest, seeds_text, varying
from gradlab.tasks.registry import absent
from gradlab.verdicts import summaries
from gradlab.verdicts.of_study import study_verdict

#: Keys of a training that change a gradient between where it is measured and where it is used.
CLIPPING = ("train.clip_norm", "train.clip_value")


@dataclass(frozen=True)
class Source:
    """A study as a report sees it.

    Attributes
    ----------
    frames : mapping
        The tables of `gradlab.schema` by name, and ``theory``, the lines that theory adds to figures, if there are
        any; the keys of the study stand in ``runs`` between ``study`` and ``layer``.
    study : mapping
        The tables of the specification: ``name``, ``question``, ``found``, ``published``, and ``report.figures``, all
        that the study's hooks recorded if that is missing.
    provenance : mapping
        Versions, git, command line, machine and times, as far as they are known.
    toml : str
        The specification as ``study.toml`` has it, if it is to stand on the page.
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


def told(source: Source, shown: list[Shown]) -> dict[str, Any]:
    """Return what a page tells of a study, by the names that the templates use."""
    runs = source.runs
    has_rates = tables.has_rates(runs)
    return {
        "name": source.study["name"],
        "question": source.study.get("question", ""),
        "found": source.study.get("found", ""),
        "has_rates": has_rates,
        "clipped": any(given(runs[key]).any() for key in CLIPPING if key in runs),
        "verdict": study_verdict(runs) if has_rates else None,
        "findings": summaries.study_findings(runs) if has_rates else [],
        "at_length": f"at length {longest(runs)['length'].max():g}" if "length" in varying(runs) else "",
        "count": _count(runs),
        "seeds": f"mean over {_count(runs)}, 95 % t-interval over them" if _several(runs) else _count(runs),
        "left_out": left_out(runs),
        "varied": settings.varied(runs),
        "kept": settings.kept(runs),
        "figures": shown,
        "lost": lost(runs),
        "absent": absent(runs["task.name"].unique()) if "task.name" in runs else [],
        "recorded": recorded(source),
        "provenance": origin.provenance_lines(source.provenance),
        "typed": origin.typed(source.provenance),
        "again": origin.again(source.study, source.provenance),
        "toml": source.toml,
    }


def recorded(source: Source) -> set[str]:
    """Return what the methods must explain: the columns that hooks filled, and ``theory`` where it has a line."""
    measured = {name for name in tables.MEASURES if name in source.runs and source.runs[name].notna().any()}
    return measured | ({"theory"} if len(source.frames.get("theory", ())) else set())


def _count(runs: pd.DataFrame) -> str:
    return seeds_text(runs) + ("" if _several(runs) else ", so no interval")


def _several(runs: pd.DataFrame) -> bool:
    return seeds_text(runs).endswith("seeds")
