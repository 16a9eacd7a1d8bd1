"""The documentation names everything that is public, is built without a warning, and its tutorial runs as printed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import gradlab as gl

DOCS = Path(__file__).parents[1] / "docs"
TUTORIAL = (DOCS / "tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", TUTORIAL, flags=re.M | re.S)


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
    names: dict[str, object] = {}
    for language, code in BLOCKS:
        if language == "python":
            exec(compile(code, "tutorial.md", "exec"), names)
    assert str(names["verdict"]).startswith("VANISHING   −0.39")
    assert "10 of the 99 steps" in str(names["verdict"])
    assert str(names["better"].verdict()).startswith("STABLE")  # type: ignore[attr-defined]
    assert names["w"].frame("runs")["step"].tolist() == [0, 20]  # type: ignore[attr-defined]
    assert (tmp_path / "results" / "adding_forget_bias" / "report.html").is_file()
