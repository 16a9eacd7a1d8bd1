"""Every shipped study, shrunken, from its file to its report: none of them rots."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from study.tiny import run

import gradlab as gl
from gradlab.tables.published import beside

STUDIES = sorted((Path(__file__).parents[2] / "studies").glob("*.toml"))
#: The most of each that a shrunken study has; values of a key, and seeds.
SMALL = {"hidden": 8, "length": 40, "batch": 2}
SEEDS, STEPS = 2, 3
shipped = pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)


def shrunken(given: dict[str, Any]) -> dict[str, Any]:
    """Return a study's tables with few short runs of few units; what its entries name is moved to what is left."""
    grid = {key: levels if key == "seeds" else _few(key, levels) for key, levels in given["grid"].items()}
    base = {key: min(value, SMALL[key]) if key in SMALL else value for key, value in given.get("base", {}).items()}
    found = {key: value for key, value in given.items() if key != "full"} | {
        "grid": grid | {"seeds": SEEDS},
        "base": base,
    }
    if "train" in given:
        found["train"] = given["train"] | {"steps": STEPS, "measure_at": [0, STEPS]}
    if "published" in given:
        found["published"] = [_moved(entry, grid) for entry in given["published"]]
    return found


def _few(key: str, levels: list[Any]) -> list[Any]:
    """Return the first and the last of a key's levels, as small as they may be; of the cells all."""
    small = list(dict.fromkeys(min(level, SMALL[key]) if key in SMALL else level for level in levels))
    return small if key == "cell" else small[:: max(len(small) - 1, 1)]


def _moved(entry: dict[str, Any], grid: dict[str, Any]) -> dict[str, Any]:
    places = {
        place: {
            k: min(v, STEPS) if k == "step" else v if k not in grid or v in grid[k] else grid[k][0]
            for k, v in entry[place].items()
        }
        for place in ("where", "over")
        if place in entry
    }
    return entry | places


def study(path: Path) -> gl.Study:
    return gl.Study(**shrunken(tomllib.loads(path.read_text("utf-8"))))


@shipped
def test_a_shipped_study_runs(path: Path, tmp_path: Path) -> None:
    small = study(path)
    runs = run(small, tmp_path / "out").frame("runs")
    assert set(runs["status"]) <= {"done", "diverged"}
    entries = [entry.table() for entry in small.spec.published]
    assert len(beside(runs, entries)) == len(entries)


@pytest.mark.full
@shipped
def test_a_shipped_study_draws_what_it_names(path: Path, tmp_path: Path) -> None:
    """The file's figures are all drawn: none is left out for want of a hook."""
    small = study(path)
    results = small.run(tmp_path / "out", workers=0, progress=False)
    drawn = {figure.stem for figure in (results.folder / "figures").glob("*.svg")}
    assert drawn >= set(small.spec.figures)
    assert "<table" in (results.folder / "report.html").read_text("utf-8")
