"""The documentation names everything that is public, is built without a warning, and its pages run as printed."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gradlab as gl

DOCS = Path(__file__).parents[1] / "docs"


def run(page: str) -> tuple[dict[str, object], str]:
    """Run a page's Python from top to bottom; return its names, and what the page says is printed."""
    text = (DOCS / page).read_text(encoding="utf-8")
    names, blocks = dict[str, object](), re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.M | re.S)
    for language, code in blocks:
        if language == "python":
            exec(compile(code, page, "exec"), names)
    return names, "".join(code for language, code in blocks if language == "text")


def test_every_public_name_stands_in_the_reference() -> None:
    text = (DOCS / "api.rst").read_text(encoding="utf-8")
    named = set(re.findall(r"^\.\. auto\w+:: (?:gradlab\.)?(\w+)$", text, flags=re.M))
    assert set(gl.__all__) - {"__version__"} - named == set()


@pytest.mark.full
def test_the_documentation_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("furo", reason="pip install -e '.[docs]'")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", str(DOCS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "gradlab.RNN" in (tmp_path / "api.html").read_text(encoding="utf-8")


@pytest.mark.full
def test_the_tutorial_runs_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names, _ = run("tutorial.md")
    assert str(names["verdict"]).startswith("VANISHING   −0.39")
    assert "10 of the 99 steps" in str(names["verdict"])
    assert str(names["better"].verdict()).startswith("STABLE")  # type: ignore[attr-defined]
    assert names["w"].frame("runs")["step"].tolist() == [0, 20]  # type: ignore[attr-defined]
    assert (tmp_path / "results" / "adding_forget_bias" / "report.html").is_file()


@pytest.mark.full
def test_the_running_sum_runs_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names, printed = run("running_sum.md")
    assert capsys.readouterr().out == printed
    ratio = np.divide(names["errors"], names["bounds"])  # type: ignore[call-overload]
    assert (np.abs(ratio[6:] - 1) < 5e-3).all()  # ε of 1e-8 and more; below rounding counts
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sum_exact.png", "sum_forget_bias.png"]
