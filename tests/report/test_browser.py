"""The pages in a real browser: nothing complains, figures show, tables sort and filter, quoted text does not run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import absent
from report.browser import Browser, browser, missing
from report.test_page import DRAWN
from synthetic import frames, make_frames

from gradlab.report import Source, write_pair, write_report

GRID = {"cell": ["rnn", "lstm"], "length": [10, 20], "scale": [0.5, 1.0, 2.0]}
LOST = {("rnn", 20, 2.0): "diverged", ("lstm", 10, 0.5): "failed"}
EVIL = "</script><script>window.ran = 1</script><img src=x onerror='window.ran = 1'>"
ENTER = "\ue007"
#: Of a table on the page by its name: its header buttons' selector, and its rows that are to be seen, as texts.
TABLE = 'table[aria-label="All rates"]'
ROWS = """return [...document.querySelectorAll(arguments[0] + " tbody tr")].filter((row) => !row.hidden)
    .map((row) => [...row.cells].map((cell) => cell.textContent))"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if missing():
        absent(f"no browser to open a report in: {missing()}")
    with browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


def source(*, seeds: int = 3, evil: str = "", name: str = "made_up", **grid: list[Any]) -> Source:
    runs, steps = make_frames(GRID | grid, seeds=seeds, lost=LOST)
    lost = runs["status"] == "failed"
    runs = runs.assign(error=runs["error"] + evil, traceback=runs["traceback"].where(~lost, f"Traceback {evil}"))
    runs = runs.assign(**{"task.name": f"sum{evil}"})
    provenance = {"argv": ["gradlab", "run", f"x{evil}.toml"], "versions": {"gradlab": f"0.1.0{evil}"}}
    study = {"name": name + evil, "question": f"When?{evil}", "report": {"figures": ["rates"] if evil else DRAWN}}
    return Source(frames(runs, steps), study, provenance, f"name = 'made_up'{evil}", f"made_up{evil}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("pages")
    one, other = source(), source(name="other", scale=[1.0, 2.0, 3.0])
    write_report(where, one)
    write_pair(where / "pair.html", one, other)
    write_report(where / "evil", source(evil=EVIL))
    write_pair(where / "evil" / "pair.html", source(evil=EVIL), source(evil=EVIL, scale=[1.0]))
    return where


@pytest.fixture(params=["report.html", "pair.html"])
def opened(chromium: Browser, folder: Path, request: pytest.FixtureRequest) -> Browser:
    assert chromium.open(folder / request.param) == []
    return chromium


@pytest.fixture
def rates(chromium: Browser, folder: Path) -> Browser:
    """The report, with the table of all rates unfolded."""
    assert chromium.open(folder / "report.html") == []
    chromium.click("#rates details summary")
    return chromium


def test_every_figure_is_seen_and_described(opened: Browser) -> None:
    images = opened.run(
        """return [...document.images].map((image) => [image.complete, image.naturalWidth, image.alt,
        image.getBoundingClientRect().width, image.getBoundingClientRect().height])"""
    )
    assert len(images) == len(DRAWN) * (2 if "pair" in opened.run("return location.href") else 1)
    for complete, natural, alt, width, height in images:
        assert complete
        assert natural > 100
        assert width > 100
        assert height > 50
        assert len(alt) > 50


def test_every_column_of_every_table_sorts_up_down_and_back(opened: Browser) -> None:
    tables = opened.run(
        """return [...document.querySelectorAll("table.sortable")].filter((table) => table.tBodies[0].rows.length > 1)
        .map((table) => [...table.tHead.rows[0].cells].map((header, i) => {
            const column = () => [...table.tBodies[0].rows].map((row) => row.cells[i].textContent);
            const seen = [["none", column()]];
            for (const _ of [1, 2, 3]) {
                header.querySelector("button").click();
                seen.push([header.getAttribute("aria-sort") ?? "none", column()]);
            }
            return seen;
        }))"""
    )
    assert len(tables) >= 2
    for columns in tables:
        for seen in columns:
            ways, orders = zip(*seen, strict=True)
            assert ways == ("none", "ascending", "descending", "none")
            assert orders[0] == orders[3]
            assert sorted(orders[0]) == sorted(orders[1]) == sorted(orders[2])
            up, down = ([text for text in order if text != "—"] for order in orders[1:3])
            assert list(orders[1][len(up) :]) == list(orders[2][len(down) :]) == ["—"] * (len(orders[0]) - len(up))
            if all(number(text) is not None for text in up):
                assert list(map(number, up)) == sorted(map(number, up))
                assert list(map(number, down)) == sorted(map(number, down), reverse=True)


def number(text: str) -> float | None:
    """Return the number before an interval, as Python reads it."""
    try:
        return float(text.partition(" [")[0].replace("−", "-"))
    except ValueError:
        return None


def test_negative_rates_sort_as_numbers_not_as_text(rates: Browser) -> None:
    rates.click(f"{TABLE} th:nth-child(4) button")
    shown = [row[3] for row in rates.run(ROWS, TABLE)]
    known = [text for text in shown if text != "—"]
    assert [number(text) for text in known] == sorted(number(text) or 0.0 for text in known)
    assert known != sorted(known)
    assert shown[len(known) :] == ["—", "—"]


def test_sorting_needs_no_mouse(rates: Browser) -> None:
    before = rates.run(ROWS, TABLE)
    rates.run(f"document.querySelector('{TABLE} th:nth-child(3) button').focus()")
    rates.press(ENTER)
    assert [row[2] for row in rates.run(ROWS, TABLE)] == sorted(row[2] for row in before)
    assert (
        rates.run(f"return document.querySelector('{TABLE} th:nth-child(3)').getAttribute('aria-sort')") == "ascending"
    )
    rates.press(" ")
    assert [row[2] for row in rates.run(ROWS, TABLE)] == sorted((row[2] for row in before), reverse=True)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("", lambda row: True),
        ("lstm", lambda row: row[0] == "lstm"),
        ("STM 20", lambda row: row[0] == "lstm" and row[1] == "20"),
        ("2", lambda row: row[2] == "2"),
        ("nothing", lambda row: False),
    ],
)
def test_filtering_leaves_the_rows_with_every_word(rates: Browser, typed: str, kept: Any) -> None:
    everything = rates.run(ROWS, TABLE)
    rates.type('input[aria-label="Filter the rows of: All rates"]', typed)
    expected = [row for row in everything if kept(row)]
    assert rates.run(ROWS, TABLE) == expected
    count = rates.run("return document.querySelector('#rates details output').textContent")
    assert count == (f"{len(expected)} of {len(everything)} rows" if typed else "")
    rates.type('input[aria-label="Filter the rows of: All rates"]', " ")
    assert rates.run(ROWS, TABLE) == everything


def test_a_hyphen_finds_a_minus(rates: Browser) -> None:
    everything = rates.run(ROWS, TABLE)
    value = next(row[3] for row in everything if row[3].startswith("−")).partition(" ")[0]
    rates.type('input[aria-label="Filter the rows of: All rates"]', value.replace("−", "-"))
    assert rates.run(ROWS, TABLE) == [row for row in everything if row[3].startswith(value + " ")]


def test_on_a_phone_nothing_stands_out_sideways(opened: Browser) -> None:
    opened.emulate("setDeviceMetricsOverride", width=400, height=800, deviceScaleFactor=1, mobile=True)
    try:
        assert opened.run("return document.documentElement.scrollWidth") <= 400
    finally:
        opened.emulate("clearDeviceMetricsOverride")


def test_print_has_no_controls(opened: Browser) -> None:
    style = "return [...document.querySelectorAll('.tools input, nav')].map((one) => getComputedStyle(one).display)"
    assert "none" not in opened.run(style)
    opened.emulate("setEmulatedMedia", media="print")
    try:
        assert set(opened.run(style)) == {"none"}
    finally:
        opened.emulate("setEmulatedMedia", media="")


@pytest.mark.parametrize("name", ["report.html", "pair.html"])
def test_quoted_text_does_not_run(chromium: Browser, folder: Path, name: str) -> None:
    assert chromium.open(folder / "evil" / name) == []
    text, ran, scripts = chromium.run("return [document.body.textContent, window.ran, document.scripts.length]")
    assert ran is None
    assert scripts == 1
    assert text.count(EVIL) >= 8


def test_the_policy_stops_what_escaping_would_have_let_through(chromium: Browser, folder: Path, tmp_path: Path) -> None:
    page = (folder / "report.html").read_text(encoding="utf-8").replace("<main>", f"<main><script></script>{EVIL}")
    (tmp_path / "holed.html").write_text(page, encoding="utf-8")
    said = chromium.open(tmp_path / "holed.html")
    assert chromium.run("return window.ran") is None
    assert any("Content Security Policy" in line for line in said)
    (tmp_path / "lawless.html").write_text(page.replace("Content-Security-Policy", "x"), encoding="utf-8")
    chromium.open(tmp_path / "lawless.html")
    assert chromium.run("return window.ran") == 1
