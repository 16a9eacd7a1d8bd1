"""The speed tables are compared with the recorded ones on the same processor only; nothing is timed here."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from benchmarks import timing

BEFORE = pd.DataFrame({"cell": ["rnn", "lstm"], "T": [100, 100], "ms": [1.0, 10.0], "missed": ["", "floor"]})


def write(folder: Path, processor: str) -> None:
    timing.write(folder, "pass", BEFORE, f"# One pass\n\n`a command` writes this. {processor}, all of them for each")


def test_what_has_become_slower_is_listed(tmp_path: Path) -> None:
    write(tmp_path, timing.processor())
    before = timing.recorded("pass", tmp_path)
    now = BEFORE.assign(ms=[1.2, 13.0], missed=["", ""])
    assert timing.compared(now, before) == "slower: lstm 100: 13 ms, recorded 10"
    assert timing.compared(BEFORE, before).startswith("none of 2 cases is slower")
    assert timing.compared(now.assign(T=50), before).startswith("no time of the same case")
    assert timing.compared(now.drop(columns="ms"), before).startswith("no time of the same case")


def test_another_processor_is_not_compared(tmp_path: Path) -> None:
    assert str(timing.recorded("pass", tmp_path)).startswith("pass: nothing was recorded")
    write(tmp_path, "Another Processor (cpu family 1, model 2, stepping 3), 2 cores")
    reason = timing.recorded("pass", tmp_path)
    assert timing.compared(BEFORE, reason) == reason
    assert str(reason).startswith("pass: recorded on another processor")


@pytest.mark.parametrize(
    ("cpuinfo", "described"),
    [
        (
            "model name\t: A\ncpu family\t: 6\nmodel\t\t: 143\nstepping\t: 8\n\nmodel name\t: B\n",
            "A (cpu family 6, model 143",
        ),
        ("processor\t: 0\nBogoMIPS\t: 50\n", ""),
        ("", ""),
    ],
)
def test_the_model_is_named_with_its_numbers(cpuinfo: str, described: str) -> None:
    """A name such as "AMD EPYC" covers several generations; an ARM machine lists none."""
    found = timing._described(cpuinfo)
    assert found.startswith(described)
    assert found.endswith(" cores")
    assert len(found) > len(", 2 cores")
