"""Any document is either a study or refused in one line with exit code 2: by the door that users come through."""

from __future__ import annotations

import copy
import io
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import UTC, date, datetime
from datetime import time as clock
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from study.tiny import TABLES

from gradlab import Study, cli
from gradlab.study.keys import every_key

ROOT = Path(__file__).parents[2]
STUDIES: list[dict[str, Any]] = [
    TABLES,
    *(tomllib.loads(p.read_text("utf-8")) for p in sorted(ROOT.glob("studies/*.toml"))),
]
#: Characters of one line at most, beside the path of the file; calls of functions for one document at most.
LONG, MOST = 2000, 20_000_000
#: A study of more configurations is not planned a second time.
LARGE = 5000


class Raw(str):
    """A value as the file spells it."""


# --- documents ----------------------------------------------------------------------------------------


def spelt(value: Any) -> str:
    """Return a value as TOML, tables inline; what TOML cannot spell as it comes."""
    if isinstance(value, Raw):
        return value
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{spelt(str(key))} = {spelt(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(spelt, value)) + "]"
    if isinstance(value, str | bool):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return value.isoformat() if isinstance(value, date | clock) else repr(value)


def document(tables: Mapping[str, Any]) -> bytes:
    return "\n".join(f"{spelt(key)} = {spelt(value)}" for key, value in tables.items()).encode("utf-8", "surrogatepass")


def nested(depth: int, table: bool) -> Raw:
    start, end = ("{a = ", "}") if table else ("[", "]")
    return Raw(start * depth + "1" + end * depth)


NAMES = ["../x", "/abs", "a/b", "a\\b", "con", "..", ".", "", " ", "x ", "x\n", "x\x00", "-x", ".x", "é", "x" * 100]
WORDS = [*every_key(), *(key.partition(".")[2] for key in every_key() if "." in key), *STUDIES[2], "seeds", "hooks"]
TEXTS = [
    *NAMES, *WORDS, "rnn", "last", "every", "orthogonal", "gates", "phase", "digits", "lyapunov:3", "lyapunov:0",
    "lyapunov:\u0663", "jacobians:\u00b2", "lyapunov:" + "9" * 5000, "lyapunov_" + "9" * 5000, "gates:1", ":", "yes",
    "\x1b[31mred", "\u202egnp.exe", "\u200b", "\u2028", "\x85", "\ufeff", "\U0001f600", "a\nb\r\tc", "x" * 3000,
]  # fmt: skip
NUMBERS = [
    True, False, 0, 1, 2, 3, -1, -0.0, 0.5, 1.0, 2**31, 2**63 - 1, 2**63, 10**30, -(10**30), 10**400, 10**9, 1e9,
    float("nan"), float("inf"), -float("inf"), 1.7e308, -1e308, 1e300, 5e-324, Raw("1" * 5000), Raw("0x" + "f" * 5000),
    Raw("-" + "9" * 400), Raw("1e999"), Raw("0b1"), Raw("1_0"), Raw("01"), Raw("'\ud800'"), Raw('"\\ud800"'),
]  # fmt: skip
#: What keys of each type take, extremes included.
FAIR: dict[type, list[Any]] = {
    str: ["", "a", "nowhere.csv"],
    int: [1, 2, 5, 2**40, 2**63 - 1],
    float: [0, 0.5, 2.5, 100.0, 1e300, 1.7e308, 5e-324],
    bool: [True, False],
    object: ["last", "every", [1, 2]],
    list: [[0], [0, 1, 5]],
}
DATES = [date(1979, 5, 27), clock(7, 32), datetime(1979, 5, 27, 7, 32), datetime(1, 1, 1, tzinfo=UTC)]
TEXT = st.sampled_from(TEXTS) | st.text(max_size=20)
PLAIN = st.sampled_from([*NUMBERS, *DATES]) | TEXT | st.integers() | st.floats()
DEEP = st.builds(nested, st.sampled_from([1, 3, 30, 300, 3000]), st.booleans())
ODD = st.recursive(
    PLAIN | DEEP,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
JUNK = [
    b"\xef\xbb\xbf",
    b"\x00",
    b"\xff",
    b"\xed\xa0\x80",
    b"\r",
    b"\x1b",
    b"[" * 5000,
    b"]",
    b"\n[grid]\n",
    b"\n[a.a]",
    b'"',
    b"=",
    b"\xe2\x80\xa8",
    b"\n[" + b"a." * 400 + b"b]\n",
]


@st.composite
def mutants(draw: st.DrawFn) -> bytes:
    """Return a study in which up to three entries are tuned, replaced, left out, renamed, wrapped or added."""
    tables, alter = copy.deepcopy(draw(st.sampled_from(STUDIES))), draw(st.sampled_from([tune, change]))
    for _ in range(draw(st.integers(0, 3))):
        alter(draw, tables)
    return document(tables)


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def change(draw: st.DrawFn, tables: dict[str, Any]) -> None:
    inside = [
        tables,
        *(found for found in tables.values() if isinstance(found, dict)),
        *listed(tables.get("published")),
    ]
    table = draw(st.sampled_from([found for found in inside if isinstance(found, dict)]))
    key = draw(st.sampled_from([*table, "name"]))
    verb, value = draw(st.sampled_from(["replace", "drop", "rename", "wrap", "first", "add"])), table.pop(key, None)
    if verb == "replace":
        table[key] = draw(ODD)
    elif verb == "rename":
        table[draw(st.sampled_from([key[1:], key + "s", key.upper(), key + "."]) | TEXT)] = value or draw(ODD)
    elif verb in ("wrap", "first"):
        table[key] = value[0] if verb == "first" and isinstance(value, list) and value else [value or 0]
    elif verb == "add":
        table |= {key: value or 0, draw(TEXT): draw(ODD)}


def tune(draw: st.DrawFn, tables: dict[str, Any]) -> None:
    """Give a key that there is a value that it might take: the study is often valid, and sometimes extreme."""
    key = draw(st.sampled_from(sorted(every_key())))
    values = st.sampled_from(every_key()[key].choices or FAIR[every_key()[key].type])
    for table in (table for table in tables.values() if isinstance(table, dict)):
        table.pop(key, None)
    varied = draw(st.booleans())
    section = tables.setdefault("grid" if varied else "base", {})
    if isinstance(section, dict):
        section[key] = draw(st.lists(values, min_size=1, max_size=3) if varied else values)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Return a study's file with bytes put in, lines doubled, or its end missing."""
    content = draw(mutants() | st.sampled_from([path.read_bytes() for path in sorted(ROOT.glob("studies/*.toml"))]))
    place = draw(st.integers(0, len(content)))
    verb = draw(st.sampled_from(["put", "cut", "twice"]))
    if verb == "cut":
        return content[:place]
    if verb == "twice":
        return content + b"\n" + draw(st.sampled_from(content.splitlines() or [b""]))
    return content[:place] + draw(st.sampled_from(JUNK) | st.binary(max_size=8)) + content[place:]


WILD = st.dictionaries(TEXT, ODD, max_size=6).map(document)
DOCUMENTS = st.one_of(
    mutants(), mutants(), damaged(), WILD, st.binary(max_size=60), st.text(max_size=60).map(Raw.encode)
)


# --- the door -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield where the document goes, in an empty working folder."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("fuzz"))
    yield Path("x.toml")
    os.chdir(before)


def command(*words: str) -> tuple[int, str]:
    """Run ``gradlab`` in this process: exit code and stderr."""
    out, err, argv = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["gradlab", *words]
    try:
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
            cli.main()
    finally:
        sys.argv = argv
    return int(end.value.code or 0), err.getvalue()


def assert_one_line(said: str) -> None:
    assert said.startswith("gradlab: ")
    assert said.endswith("\n")
    assert said[:-1].isprintable()
    assert len(said) < LONG


@contextmanager
def few_calls() -> Iterator[None]:
    """Fail where more functions are called than a document is worth; a time would depend on the machine."""
    calls, before = count(1), sys.getprofile()

    def called(*_: Any) -> None:
        if next(calls) > MOST:
            raise AssertionError(f"more than {MOST} calls")

    sys.setprofile(called)
    try:
        yield
    finally:
        sys.setprofile(before)


def judge(path: Path, content: bytes, full: bool = False) -> int:
    """Check how a document ends, and that nothing else does; return the exit code."""
    path.write_bytes(content)
    with few_calls():
        code, said = command("plan", str(path), *["--full"] * full)
    assert os.listdir() == [path.name]
    assert code in (0, 2)
    if code == 2:
        assert_one_line(said)
    else:
        assert said == ""
        assert_read_back_the_same(path, full)
    return code


def assert_read_back_the_same(path: Path, full: bool) -> None:
    study = Study.from_toml(path, full=full)
    if study.spec.size > LARGE:
        return
    path.write_text(study.spec.toml(), encoding="utf-8")
    again = Study.from_toml(path)
    assert again.spec == study.spec
    assert [c.id for c in again.plan.configurations] == [c.id for c in study.plan.configurations]


CALM = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]


@settings(max_examples=100, suppress_health_check=CALM)
@given(content=DOCUMENTS, full=st.booleans())
def test_any_document_is_a_study_or_one_line(path: Path, content: bytes, full: bool) -> None:
    judge(path, content, full)


@pytest.mark.full
@settings(max_examples=2000, suppress_health_check=CALM)
@given(content=DOCUMENTS, full=st.booleans())
def test_any_of_many_documents_is_a_study_or_one_line(path: Path, content: bytes, full: bool) -> None:
    judge(path, content, full)


@settings(max_examples=40, suppress_health_check=CALM)
@given(tables=st.sampled_from(STUDIES), place=st.sampled_from(["", "grid", "base", "task", "init"]), value=ODD)
def test_an_unknown_key_is_refused_by_name_whatever_it_holds(
    path: Path, tables: dict[str, Any], place: str, value: Any
) -> None:
    changed = copy.deepcopy(tables)
    (changed.setdefault(place, {}) if place else changed)["hiden"] = value
    assert judge(path, document(changed)) == 2
    said = command("plan", str(path))[1]
    assert any(words in said for words in ("hiden", "not valid TOML", "no UTF-8", "nested too", "too many digits"))


@pytest.mark.parametrize("content", [b"x = " + b"[" * 5000, b"x = " + b"1" * 5000, b'"\x1b[31m" = 1', b"\x00"])
def test_in_a_process_of_its_own_it_is_the_same(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.toml").write_bytes(content)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-m", "gradlab", "plan", "x.toml"]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_line(done.stderr)


def test_a_grid_or_a_list_without_end_is_refused_at_once(path: Path) -> None:
    changed = copy.deepcopy(TABLES)
    changed["grid"]["hidden"], changed["base"] = list(range(1, 70_000)), {}
    assert judge(path, document(changed)) == 2
