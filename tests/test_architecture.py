"""docs/architecture.md describes the code as it is: floors, the way of one pass, and files that exist."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from test_house import FLOORS, ROOT

import gradlab as gl
from gradlab import native

PAGE = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_page_names_every_room_on_its_floor() -> None:
    drawn = re.findall(r"^ *(\d+) \| (.+?) *\| ", PAGE, re.MULTILINE)
    assert [tuple(names.split(", ")) for _, names in reversed(drawn)] == FLOORS
    assert [int(number) for number, _ in reversed(drawn)] == list(range(1, len(FLOORS) + 1))


def test_files_on_the_page_exist() -> None:
    named = re.findall(r"`((?:gradlab|tests)/[^`]+)`", PAGE)
    assert len(named) > 15
    assert not [path for path in named if not (ROOT.parent / path).exists()]
    assert len(re.findall(r"^\d\. `gradlab/", PAGE.partition("eight files")[2], re.MULTILINE)) == 8


def test_tests_named_by_the_invariants_exist() -> None:
    named = re.findall(r"``(\w+/test_\w+\.py)(?:::(\w+))?``", str(native.__doc__))
    assert len(named) > 20
    files = {path: (Path(__file__).parent / path).read_text(encoding="utf-8") for path, _ in named}
    assert not [test for path, test in named if test and f"def {test}(" not in files[path]]


def test_one_pass_calls_the_functions_on_the_page_in_that_order() -> None:
    named = re.findall(r"`([\w.]+)` in `gradlab/([\w/]+\.py)`", PAGE)
    assert len(named) == 13
    network = gl.Network([gl.LSTM.init(3, 4, rng=0)], readout=gl.Readout.init(4, 2, rng=1))
    x, loss = np.random.default_rng(0).normal(size=(40, 2, 3)), gl.mse(np.zeros((2, 2)))
    str(gl.trace(network, x, loss).verdict())  # loads every module
    called: list[tuple[str, str]] = []

    def note(frame: FrameType, event: str, _: Any) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(ROOT):
            called.append((frame.f_code.co_qualname, path.relative_to(ROOT).as_posix()))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        gl.trace(network, x, loss).verdict()
    finally:
        sys.setprofile(before)
    assert [one for one in dict.fromkeys(called) if one in named] == named
