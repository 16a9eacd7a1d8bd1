"""The page opens from disk with all it shows, finding what was found and what was lost, and escapes what it quotes."""

from __future__ import annotations

import base64
import hashlib
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from synthetic import BASE, frames, make_frames
from synthetic import GRID as SYNTHETIC

from gradlab.report import Source, page, source, tabular, write_report

GRID = {"cell": ["rnn", "lstm"], "length": [10, 20], "scale": [0.5, 1.0, 2.0]}
LOST = {("rnn", 20, 2.0): "diverged", ("lstm", 10, 0.5): "failed"}
DRAWN = ("decay", "phase", "rates", "horizon", "comparison", "gradients")
STUDY = {"name": "made_up", "question": "When does it stop vanishing?"}
ONE = {"figures": ["rates"]}  # where no picture is asked after
PROVENANCE = {
    "started": "2024-01-01T00:00:00+00:00",
    "ended": None,
    "argv": ["gradlab", "run", "x.toml"],
    "versions": {"gradlab": "0.1.0", "python": "3.11"},
    "git": {"commit": "abc", "dirty": False},
    "earlier": [],
}


class Read(HTMLParser):
    """What a page consists of: start tags with attributes, text, and whether every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def written(folder: Path, runs: pd.DataFrame, steps: pd.DataFrame, **study: Any) -> Read:
    path = write_report(folder, Source(frames(runs, steps), STUDY | study, PROVENANCE, toml='name = "made_up"'))
    assert path == folder / "report.html"
    found = Read(path.read_text(encoding="utf-8"))
    assert not found.open
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("made_up")
    written(where, *make_frames(GRID, seeds=3, lost=LOST))
    return where


@pytest.fixture(scope="module")
def read(folder: Path) -> Read:
    return Read((folder / "report.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("limit", "said"), [(1.0, True), ("none", False), (np.nan, False)])
def test_clipping_is_said_where_norms_are_shown(tmp_path: Path, limit: Any, said: bool) -> None:
    runs, steps = make_frames({"cell": ["rnn"], "scale": [0.5, 1.0]}, seeds=2)
    runs.insert(runs.columns.get_loc("study") + 1, "train.clip_norm", limit)
    written(tmp_path, runs, steps, report={"figures": ["gradients"]})
    assert ("norm, before clipping, nats per step" in Read((tmp_path / "report.html").read_text("utf-8")).text) == said


def test_files(folder: Path) -> None:
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        *(f"figures/{name}.{kind}" for name in sorted(DRAWN) for kind in ("png", "svg")),
        "report.html",
        *(
            f"tables/{name}.{kind}"
            for name in ("comparisons", "crossings", "excluded", "rates")
            for kind in ("csv", "md")
        ),
    ]


def test_needs_no_network(read: Read) -> None:
    addresses = [(key, str(value)) for _, attrs in read.tags for key, value in attrs.items() if key in ("src", "href")]
    assert {key: value[:5] for key, value in addresses} == {"src": "data:", "href": "#prov"}
    assert all(value.startswith("data:" if key == "src" else "#") for key, value in addresses)
    assert not {tag for tag, _ in read.tags} & {"link", "iframe", "object"}
    assert [attrs for tag, attrs in read.tags if tag == "script"] == [{}]


def test_every_place_that_it_points_to_is_there(read: Read) -> None:
    places = {attrs["id"] for _, attrs in read.tags if "id" in attrs}
    assert {str(attrs["href"])[1:] for tag, attrs in read.tags if tag == "a"} <= places


def test_every_section_of_rates_is_in_the_navigation(read: Read) -> None:
    there = {attrs["href"] for tag, attrs in read.tags if tag == "a"}
    assert {"#rates", "#differences", "#crossings", "#failures"} <= there


def test_what_has_not_run_is_not_counted_on_the_page(tmp_path: Path) -> None:
    runs, steps = make_frames({"cell": ["rnn", "lstm"], "length": [10], "scale": [0.5, 1.0, 2.0]}, seeds=4)
    left = (runs["cell"] == "lstm") | (runs["scale"] == 2.0) | (runs["seed"] == 3)
    begun = runs.assign(status=runs["status"].where(~left, "planned"), rate=runs["rate"].where(~left))
    text = written(tmp_path, begun, steps[steps["id"].isin(begun.loc[~left, "id"])]).text
    assert "mean over 3 seeds, 95 % t-interval over them" in text
    assert "over 4 seeds" not in text
    assert "lstm not run yet" in text
    assert "none from 0.5 to 1" in text
    assert "0.5 to 2" not in text


def test_allows_its_own_style_and_script_alone(folder: Path, read: Read) -> None:
    policy = next(str(attrs["content"]) for _, attrs in read.tags if attrs.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert "unsafe" not in policy
    text = (folder / "report.html").read_text(encoding="utf-8")
    for tag in ("style", "script"):
        ours = re.search(f"<{tag}>(.*?)</{tag}>", text, flags=re.S)
        assert ours
        digest = base64.b64encode(hashlib.sha256(ours[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_without_its_script_it_has_every_row_and_no_dead_control(folder: Path, read: Read) -> None:
    assert not {tag for tag, _ in read.tags} & {"button", "input", "form"}
    assert not [attrs for _, attrs in read.tags if "hidden" in attrs]
    rows = len(pd.read_csv(folder / "tables" / "rates.csv"))
    assert rows == 12
    text = (folder / "report.html").read_text(encoding="utf-8")
    table = re.search('<table class="sortable" aria-label="All rates">(.*?)</table>', text, flags=re.S)
    assert table
    assert table[1].count("<tr>") == rows + 1


def test_style_loads_nothing(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "url(" not in text
    assert "@import" not in text


def test_pictures_are_inside_and_loads_nothing(folder: Path, read: Read) -> None:
    pictures = [attrs for tag, attrs in read.tags if tag == "img"]
    for name, attrs in zip(DRAWN, pictures, strict=True):
        kind, _, content = str(attrs["src"]).partition(",")
        assert kind == "data:image/svg+xml;base64"
        svg = base64.b64decode(content)
        assert svg == (folder / "figures" / f"{name}.svg").read_bytes()
        links = [value for node in ET.fromstring(svg).iter() for key, value in node.items() if key.endswith("href")]
        assert all(link.startswith(("#", "data:")) for link in links)


def test_every_picture_has_its_words(read: Read) -> None:
    alts = [str(attrs["alt"]) for tag, attrs in read.tags if tag == "img"]
    assert len(alts) == len(DRAWN)
    assert "changes by between" in alts[0]
    assert "The rate turns positive" in alts[1]
    assert "whole 95 % interval" in alts[2]
    assert "keep 1 % of the gradient" in alts[3]
    assert "differences have an interval that excludes zero" in alts[4]


def test_says_what_was_found(read: Read) -> None:
    for expected in (
        "When does it stop vanishing?",
        "at length 20; mean over 3 seeds, 95 % t-interval over them.",
        "3 diverged, 3 failed of 36 runs, left out of every mean.",
        "the gradient decays at every scale studied",
        "task.name sum",
        "scale 0.5, 1, 2",
        "seed 3 (0 … 2)",
        "Rates per cell at length 20",
        "Lazarus et al. 2018",
        "the first 10 % of each sequence, and 50 steps at most",
        "Made by gradlab run x.toml",
        "# with gradlab at commit abc gradlab run study.toml --out ../made_up_again",
        'name = "made_up"',
        "commit abc, dirty False",
    ):
        assert expected in read.text


def test_unknown_provenance_is_left_out(read: Read) -> None:
    assert "ended" not in read.text
    assert "earlier" not in read.text


def test_lost_runs_stand_with_their_reasons(read: Read) -> None:
    assert "the state is not finite from t = 37 on" in read.text
    assert "ValueError: <b>told you</b> & so" in read.text
    assert "Traceback of 3 runs: ValueError: <b>told you</b> & so Traceback …" in read.text


def test_what_was_found_stands_under_the_question(tmp_path: Path) -> None:
    runs, steps = make_frames(GRID, seeds=1)
    assert "Found:" not in written(tmp_path, runs, steps, report=ONE).text
    found = written(tmp_path, runs, steps, found="At <1.5 it does.", report=ONE)
    assert "Found: At <1.5 it does." in found.text
    assert found.text.index(STUDY["question"]) < found.text.index("Found: ") < found.text.index("Answer")


def test_quoted_text_is_escaped(tmp_path: Path) -> None:
    runs, steps = make_frames(GRID, seeds=1, lost=LOST)
    found = written(tmp_path, runs, steps, name="<i>x</i>", question='<script>alert("&")</script>', report=ONE)
    assert '<script>alert("&")</script>' in found.text
    assert "<i>x</i>" in found.text
    assert [tag for tag, _ in found.tags].count("script") == 1
    assert "b" not in {tag for tag, attrs in found.tags if "told" in str(attrs)}


def test_written_again_the_bytes_are_the_same(folder: Path, tmp_path: Path) -> None:
    written(tmp_path, *make_frames(GRID, seeds=3, lost=LOST))
    for path in folder.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / path.relative_to(folder)).read_bytes(), path.name


def test_only_the_figures_asked_for(tmp_path: Path) -> None:
    runs, steps = make_frames(GRID, seeds=1)
    found = written(tmp_path, runs, steps, report={"figures": ["phase"]})
    assert [tag for tag, _ in found.tags].count("img") == 1
    assert not (tmp_path / "figures" / "decay.svg").exists()


def test_what_an_earlier_report_drew_is_taken_away(tmp_path: Path) -> None:
    runs, steps = make_frames(GRID, seeds=1)
    written(tmp_path, runs, steps)
    one = runs[(runs["scale"] == 1.0) & (runs["length"] == 20)]
    written(tmp_path, one, steps)
    assert sorted(path.name for path in tmp_path.rglob("*.svg")) == [
        "decay.svg",
        "gradients.svg",
        "horizon.svg",
        "rates.svg",
    ]
    assert sorted(path.name for path in tmp_path.rglob("*.csv")) == [
        "excluded.csv",
        "rates.csv",
    ]  # one seed: no comparison


@pytest.mark.parametrize(
    ("grid", "seeds", "expected"),
    [
        ({"cell": ["rnn"], "length": [64]}, 1, "one seed, so no interval"),
        ({"cell": ["rnn"], "length": [10], "scale": [0.5, 1.0]}, 2, "the gradient decays at every scale studied"),
        ({"cell": ["rnn", "lstm"], "length": [64], "task.order": ["rows", "pixels"]}, 2, "order rows: −0."),
    ],
)
def test_small_studies(tmp_path: Path, grid: dict[str, list[Any]], seeds: int, expected: str) -> None:
    assert expected in written(tmp_path, *make_frames(grid, seeds=seeds), report=ONE).text


def test_a_figure_that_cannot_be_drawn_says_why(tmp_path: Path) -> None:
    runs, steps = make_frames({"cell": ["rnn", "lstm"], "length": [64]}, seeds=2)
    found = written(tmp_path, runs, steps, report={"figures": ["phase", "rates"]})
    assert "phase is not drawn: runs: nothing varies but the cell and the seed" in found.text


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_a_study_of_which_nothing_is_left(tmp_path: Path, status: str) -> None:
    lost = {(cell, 10, scale): status for cell in ("rnn", "lstm") for scale in (0.5, 1.0)}
    runs, steps = make_frames({"cell": ["rnn", "lstm"], "length": [10], "scale": [0.5, 1.0]}, seeds=1, lost=lost)
    found = written(tmp_path, runs, steps, report={"figures": ["decay"]})
    assert "no run has a rate (2 runs " + status in found.text
    assert "decay is not drawn" in found.text


def test_rates_that_are_not_known(tmp_path: Path) -> None:
    runs, steps = make_frames(GRID, seeds=2)
    assert "no run has a rate" in written(tmp_path, runs.assign(rate=np.nan), steps, report=ONE).text


def test_nothing_has_run_yet(tmp_path: Path) -> None:
    runs, steps = make_frames(GRID, seeds=1)
    planned = runs.assign(status="planned", rate=np.nan)
    assert "12 planned of 12 runs" in written(tmp_path, planned, steps[:0], report=ONE).text


def test_cells_are_compared_at_the_longest_length_in_sentences(folder: Path) -> None:
    lines = (folder / "tables" / "comparisons.md").read_text(encoding="utf-8").splitlines()
    assert lines[0].endswith("intervals of the table hold together (Bonferroni, Dunn 1961); p is adjusted alike.")
    assert lines[2].startswith("| init scale g | a | b | rate of b − rate of a (nats/step), 95 % interval | pairs |")
    assert len(lines) == 4 + 3
    assert "LSTM vanishes" in lines[4]
    assert "no pair of runs to compare LSTM with the RNN at scale 2 (left out of 3 pairs: 3 diverged)" in lines[6]


def test_settings_are_compared_where_there_is_one_cell() -> None:
    made = page.made_tables(make_frames({"cell": ["rnn"], "scale": [0.5, 1.0, 2.0]}, seeds=2)[0])
    assert made["comparisons"][["a", "b"]].to_numpy().tolist() == [[0.5, 1.0], [0.5, 2.0], [1.0, 2.0]]
    assert "comparisons" not in page.made_tables(make_frames({"cell": ["rnn"]}, seeds=2)[0])


def test_the_main_study_stays_small(tmp_path: Path) -> None:
    written(tmp_path, *make_frames(SYNTHETIC, seeds=5, base=BASE))
    assert (tmp_path / "report.html").stat().st_size < 5e6
    assert len(pd.read_csv(tmp_path / "tables" / "rates.csv")) == 84


@pytest.mark.parametrize("text", ["", "lower the scale"])
def test_a_verdict_is_three_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    found = SimpleNamespace(word="VANISHING", finding="it is gone", evidence="the rate says so", suggestion=text)
    monkeypatch.setattr(source, "study_verdict", lambda runs: found)
    words = written(tmp_path, *make_frames(GRID, seeds=2), report=ONE).text
    assert "VANISHING it is gone because the rate says so " + ("try " + text if text else "") in words
    assert ("try " in words) == bool(text)
    assert "Verdict." in words


def test_tables_of_a_huge_study_are_cut_but_not_what_was_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tabular.grid, "__defaults__", (200,))
    scales = [i / 10 for i in range(1, 200 + 102)]
    runs, steps = make_frames({"cell": ["rnn"], "length": [2], "scale": scales[:2]}, seeds=1)
    many = pd.concat([runs.iloc[:1]] * len(scales), ignore_index=True).assign(
        scale=scales, id=[f"c{i}" for i in range(len(scales))], status="failed", error="too late", traceback="no"
    )
    many.loc[0, "status"] = "done"
    found = written(tmp_path, many, steps[:0], report={"figures": ["rates"]})
    assert "101 more rows are in the files under tables/." in found.text
    assert found.text.count("too late") == len(scales) - 1 + 1
