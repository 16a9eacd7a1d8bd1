"""Killed at any instant, on a full disk, out of memory: what was finished stays finished, and nothing stands twice."""

from __future__ import annotations

import errno
import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import PATIENCE
from study.tiny import ONE, assert_same_tables, run, tiny

from gradlab.errors import RunError
from gradlab.study import Results, Study, load_results, store
from gradlab.study import worker as measuring
from gradlab.study.store import PartStore

#: Everything that changes a file or a folder's listing.
OPERATIONS = ("mkstemp", "fsync", "replace", "unlink", "chmod")


def small() -> Study:
    """Return a study of five groups."""
    return tiny(grid={"cell": ["rnn"], "length": [6], "scale": [0.5, 0.7, 0.9, 1.1, 1.3]})


class Killed(BaseException):
    """Stands for SIGKILL: after it, nothing that touches a file works any more."""


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run(small(), tmp_path_factory.mktemp("reference") / "tiny")


@pytest.fixture
def quick(reference: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make measuring quick, by handing out what was measured once, and merging frequent."""
    whole = {config.id: measuring._rows(config, False) for config in reference.plan.configurations}
    monkeypatch.setattr(measuring, "_rows", lambda config, thin: whole[config.id])
    monkeypatch.setattr(store, "FAN", 2)


@contextmanager
def failing_from(
    operation: int, monkeypatch: pytest.MonkeyPatch, error: BaseException, names: Sequence[str] = OPERATIONS
) -> Iterator[list[str]]:
    """Let every operation of these names fail from this one on; yield what was asked for."""
    asked: list[str] = []

    def failing(name: str, whole: Any) -> Any:
        def call(*args: Any, **keys: Any) -> Any:
            asked.append(name)
            if len(asked) > operation:
                raise error
            return whole(*args, **keys)

        return call

    with monkeypatch.context() as patch:
        for name in names:
            home = tempfile if name == "mkstemp" else os
            patch.setattr(home, name, failing(name, getattr(home, name)))
        yield asked


def die(folder: Path, operation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the small study and be killed at this operation."""

    def killed() -> None:
        with failing_from(operation, monkeypatch, Killed()), pytest.raises(Killed):
            run(small(), folder)

    killed()
    gc.collect()  # what the dead held open goes with them


def stored_ids(folder: Path) -> list[str]:
    """Return the ids that any reader of Parquet would find."""
    return sorted(pd.concat([pd.read_parquet(p, columns=["id"]) for p in (folder / "parts" / "runs").iterdir()])["id"])


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.full), 11])
def test_killed_at_every_write_and_between_any_two(
    quick: None, reference: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    with failing_from(10**9, monkeypatch, Killed()) as asked:
        run(small(), tmp_path / "whole")
    assert set(asked) == set(OPERATIONS)
    assert len(asked) > 80
    for operation in range(int(np.random.default_rng(0).integers(every)), len(asked), every):
        folder = tmp_path / str(operation)
        die(folder, operation, monkeypatch)
        before = set(PartStore.open(folder).statuses)
        results = run(small(), folder)
        assert_same_tables(results, reference)
        assert before <= set(PartStore.open(folder).statuses)
        assert stored_ids(folder) == sorted(c.id for c in reference.plan.configurations)
        assert not list((folder / "parts").rglob(".*"))


def test_killed_again_and_again(
    quick: None, reference: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, finished = np.random.default_rng(0), [0]
    for _ in range(6):
        die(tmp_path / "r", int(rng.integers(10, 40)), monkeypatch)
        finished.append(len(PartStore.open(tmp_path / "r").statuses))
    assert finished == sorted(finished)
    assert 0 < finished[-1] < 10
    assert_same_tables(run(small(), tmp_path / "r"), reference)


def test_a_disk_that_fills_is_said_and_costs_nothing(
    quick: None, reference: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    for operation in range(0, 36, 5):
        folder = tmp_path / str(operation)
        said = rf"{operation}: the disk is full; finished groups are kept, free some"
        with failing_from(operation, monkeypatch, full, ("mkstemp", "fsync")), pytest.raises(RunError, match=said):
            run(small(), folder)
        assert_same_tables(run(small(), folder), reference)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounts a small disk, as root")
def test_a_real_disk_that_fills(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        (tmp_path / "tiny.toml").write_text(tiny(grid={"seeds": 20}, report=ONE).spec.toml(), encoding="utf-8")
        done = command(tmp_path, "run", "tiny.toml", "--out", "disk/r", "--workers", "0")
        assert done.returncode == 1
        said = done.stderr.splitlines()[-1]
        assert said.startswith("gradlab: disk/r: the disk is full; finished groups are kept, free some space and run")
        kept = load_results(disk / "r").status()["done"]
        assert 0 < kept < 160
        load_results(disk / "r").frame("steps")
        subprocess.run(["mount", "-o", "remount,size=40m", str(disk)], check=True)
        done = command(tmp_path, "run", "tiny.toml", "--out", "disk/r", "--workers", "0")
        assert done.returncode == 0
        assert f"tiny: {kept} of 160 already done" in done.stderr
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``gradlab`` in ``folder``."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    words = (sys.executable, "-m", "gradlab", *words)
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE)


OUT_OF_MEMORY = """
import resource
from pathlib import Path
import gradlab as gl
import gradlab.study.run

study = gl.Study(
    name="large",
    grid={"cell": ["lstm"], "hidden": [4, 64, 5]},
    base={"length": 5000, "batch": 64, "hooks": ["gradients"]},
    task={"name": "sum"},
)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, used + 2**30))
study.run("r", workers=0, progress=False)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits its memory as Linux does")
def test_memory_that_one_configuration_exhausts_is_its_row(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", OUT_OF_MEMORY]
    subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, timeout=PATIENCE, check=True)
    runs = load_results(tmp_path / "r").frame("runs")
    assert dict(zip(runs["hidden"], runs["status"], strict=True)) == {4: "done", 64: "failed", 5: "done"}
    assert "MemoryError" in runs.set_index("hidden").loc[64, "error"]


def latest(folder: Path) -> int:
    """Return the highest number that a part of this folder has had."""
    return max((int(path.name[:8]) for path in (folder / "parts").glob("runs/*.parquet")), default=0)


def survive(folder: Path, study: dict[str, Any], kills: int, seed: int, share: int) -> int:
    """Run a study on two workers and kill it this often; return how many kills fell on a run.

    The times are seeded; a machine so quick that a run has written its ``share`` of parts by then kills it at once.
    """
    rng, struck = np.random.default_rng(seed), 0
    folder.mkdir()
    (folder / "tiny.toml").write_text(tiny(**study).spec.toml(), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-m", "gradlab", "run", "tiny.toml", "--out", "r", "--workers", "2"]
    for _ in range(kills):
        process = subprocess.Popen(words, cwd=folder, env=environment, stderr=subprocess.DEVNULL)
        while not (folder / "r" / ".lock.json").exists() and process.poll() is None:
            time.sleep(0.01)
        until, parts_then = time.monotonic() + rng.uniform(0.0, 4.0), latest(folder / "r")
        while time.monotonic() < until and latest(folder / "r") < parts_then + share:
            time.sleep(0.01)
        struck += process.poll() is None
        process.kill()
        process.wait()
        if (folder / "r" / "parts").exists():
            load_results(folder / "r").frame("steps")  # whatever is there can be read
    return struck


LONG = {"grid": {"length": [30, 60], "seeds": 24}}


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.full)])
def test_sigkills_at_any_time(tmp_path: Path, kills: int) -> None:
    study = LONG if kills == 3 else {"grid": {"length": [30, 60], "seeds": 160}}
    groups = len(tiny(**study).plan.groups())
    assert survive(tmp_path / "x", study, kills, seed=kills, share=groups // (2 * kills)) == kills
    folder = tmp_path / "x" / "r"
    results = run(tiny(**study), folder, 2)
    assert stored_ids(folder) == sorted(c.id for c in results.plan.configurations)
    assert_same_tables(results, run(tiny(**study), tmp_path / "whole"))
