"""The repository keeps of ``results/`` what a page shows and the numbers behind it, and no more."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: Bytes of all files that the repository keeps in ``results/``.
MOST = 3_000_000


def shown() -> set[str]:
    """Return the paths that the pages link, relative to the root."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "results/benchmarks").glob("*.md")]
    return {
        os.path.relpath((page.parent / link).resolve(), ROOT)
        for page in pages
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
        if "://" not in link
    }


def kept() -> set[str]:
    """Return the files of ``results/`` that Git tracks; studies that ran here have written others."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a clone of the repository")
    words = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "results"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {path for path in listed.split("\0") if path and (ROOT / path).exists()}


def test_every_file_that_a_page_shows_is_there() -> None:
    missing = {path for path in shown() if not (ROOT / path).exists()}
    assert not missing
    assert {path for path in shown() if path.startswith("results/")} <= kept()


def test_every_picture_that_is_kept_is_shown_and_in_one_format() -> None:
    pictures = {path for path in kept() if not path.endswith((".csv", ".md", ".toml"))}
    assert pictures <= shown()
    assert {Path(path).suffix for path in pictures} == {".png"}


def test_what_is_kept_is_small() -> None:
    assert sum((ROOT / path).stat().st_size for path in kept()) <= MOST
