"""What the README shows works as printed, and its numbers come out of what it shows."""

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import oracle

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


def test_the_verdict_is_the_one_that_is_printed(namespace):
    shown = [code for language, code in BLOCKS if language == "text"]
    assert shown == [str(namespace["verdict"]) + "\n"]


def test_pictures_and_files_that_it_names_are_there():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).is_file(), target


def test_no_line_needs_what_only_a_developer_has():
    assert not re.search(r"/work|/opt|/root", README)


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """The README's watched training, run in an empty folder."""
    oracle("torch")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("watched"))
        names = {"folder": Path.cwd()}
        for language, code in BLOCKS:
            if language == "py" and ("gl.watch" in code or "class Board" in code):
                exec(compile(code, "README.md", "exec"), names)
    return names


def test_the_watched_training_runs_as_printed(watched):
    runs = watched["w"].frame("runs")
    assert runs["step"].tolist() == [0, 0, 50, 50, 100, 100]
    assert set(runs["module"]) == {"lower", "upper"}
    for name in ("rate.png", "hook_and_truth.png", "watched/watch.json"):
        assert (watched["folder"] / name).is_file(), name
    scalars = []
    writer = type("Writer", (), {"add_scalar": lambda self, *row: scalars.append(row)})()
    watched["Board"](writer).log({"LSTM/layer0/rate": -0.1}, step=7)
    assert scalars == [("LSTM/layer0/rate", -0.1, 7)]


def test_the_first_sentence_is_true(watched):
    """What is left at t = 1 of the gradient at t = 60: to a hook on the output 10⁻¹³, in truth all of it."""
    frame = watched["w"].frame("steps")
    lower = frame[(frame["module"] == "lower") & (frame["t"] > 0)]
    logs = lower.pivot_table(index="t", columns=["quantity", "step"], values="mean_log")
    for step in (0, 50, 100):
        hook = watched["seen"][step].norm(dim=2).log().mean(dim=1).numpy()
        assert 0.5e-13 < np.exp(hook[0] - hook[-1]) < 1.5e-13
        np.testing.assert_allclose(logs["direct", step], hook, atol=1e-3)  # nats; float32 over 59 steps
        total = logs["dL/dh", step]
        assert 0.9 < np.exp(total[1] - total[60]) < 3
