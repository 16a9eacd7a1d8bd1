"""What the README shows works as printed, and its numbers come out of what it shows."""

import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, flags=re.M | re.S)


@pytest.fixture(scope="module")
def namespace(tmp_path_factory):
    """The README's Python, run from top to bottom in an empty folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("readme"))
        names = {}
        for language, code in BLOCKS:
            if language == "python":
                exec(compile(code, "README.md", "exec"), names)
        names["pictures"] = sorted(path.name for path in Path.cwd().glob("*.png"))
    return names


def test_the_first_block_holds_the_two_commands():
    language, code = BLOCKS[0]
    assert language == "sh"
    run, test = code.splitlines()
    for line in (run, test):
        assert line.startswith("python3 -m venv .venv && .venv/bin/pip install")
    assert "gradlab run studies/init_scale.toml" in run
    assert "pytest" in test


def test_the_python_runs_as_printed(namespace):
    assert namespace["pictures"] == ["direct_and_total.png"]
    assert 0 <= min(namespace["hook"].share.values()) <= max(namespace["hook"].share.values()) <= 1
    assert sorted(namespace["hook"].share) == list(range(1, 61))


def test_the_first_sentence_is_true(namespace):
    lower = namespace["trace"].layers[0]
    left = {}
    for quantity in ("direct", "dL/dh"):
        logs = lower.log_norm(quantity).mean(axis=1)
        left[quantity] = np.exp(logs[1] - logs[-1])
    assert 1e-14 < left["direct"] < 1e-13
    assert 0.45 < left["dL/dh"] < 0.6


def test_the_verdict_is_the_one_that_is_printed(namespace):
    shown = [code for language, code in BLOCKS if language == "text"]
    assert shown == [str(namespace["verdict"]) + "\n"]


def test_pictures_and_files_that_it_names_are_there():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).is_file(), target


def test_no_line_needs_what_only_a_developer_has():
    assert not re.search(r"/work|/opt|/root", README)


@pytest.mark.torch_oracle
def test_the_watched_training_runs_as_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for language, code in BLOCKS:
        if language == "py" and ("gl.watch" in code or "class Board" in code):
            exec(compile(code.replace("range(101)", "range(51)"), "README.md", "exec"), names)
    assert names["w"].frame("runs")["step"].tolist() == [0, 0, 50, 50]
    assert (tmp_path / "rate.png").is_file()
    assert (tmp_path / "watched" / "watch.json").is_file()
    scalars = []
    writer = type("Writer", (), {"add_scalar": lambda self, *row: scalars.append(row)})()
    names["Board"](writer).log({"LSTM/layer0/rate": -0.1}, step=7)
    assert scalars == [("LSTM/layer0/rate", -0.1, 7)]
