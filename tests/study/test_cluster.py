"""The same tables through Dask, on real schedulers and workers, whoever of them is killed."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from conftest import PATIENCE, oracle
from study.tiny import ONE, assert_same_tables, measure_unless_seed_1, run, tiny

from gradlab.errors import InputError, RunError
from gradlab.study import Results, Study, cluster, load_results
from gradlab.study import run as running
from gradlab.study.cluster import dask_executor

ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
TINY = tiny()


@pytest.fixture(autouse=True)
def _dask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    oracle("distributed")
    monkeypatch.setattr(cluster, "PATIENCE", float(PATIENCE))  # where somebody answers, however busy the machine
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def long() -> Study:
    """Return a study of 32 groups, long enough to kill something in the middle."""
    scales = [0.5 + 0.1 * k for k in range(8)]
    return tiny(grid={"length": [60, 90], "scale": scales, "seeds": 4})


@pytest.fixture(scope="module")
def reference(long: Study, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run(long, tmp_path_factory.mktemp("reference") / "tiny")


@contextmanager
def ended(*words: str) -> Iterator[subprocess.Popen[str]]:
    """Start a process of Dask in the current folder, and kill it in the end."""
    command = [sys.executable, "-m", *words]
    process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE)


def said(process: subprocess.Popen[str], pattern: str) -> str:
    """Return what stands in the first line of stderr that matches, and read on, so that the pipe never fills."""
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(pattern, line):
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return found[1]
    raise AssertionError(f"the process ended without saying {pattern}")


@contextmanager
def dask(*threads: int) -> Iterator[tuple[str, list[subprocess.Popen[str]]]]:
    """Yield the address of a scheduler and the processes, its own first, with a worker for each number of threads."""
    loopback = ("--host", "127.0.0.1", "--no-dashboard")
    with ExitStack() as stack:
        scheduler = stack.enter_context(ended("distributed.cli.dask_scheduler", *loopback, "--port", "0"))
        address = said(scheduler, r"Scheduler at:\s+(tcp://\S+)")
        words = ("distributed.cli.dask_worker", address, *loopback, "--no-nanny", "--local-directory", "scratch")
        workers = [stack.enter_context(ended(*words, "--nthreads", str(count))) for count in threads]
        for worker in workers:
            said(worker, r"Registered to:\s+(\S+)")
        yield address, [scheduler, *workers]


@contextmanager
def when(parts: int, folder: Path, do: Callable[[], None]) -> Iterator[list[int]]:
    """Do something as soon as the folder holds this many parts; yield the list of how many there were then."""
    found, over = list[int](), threading.Event()

    def watch() -> None:
        while not over.wait(0.005):
            count = len(list(folder.glob("parts/runs/*.parquet")))
            if count >= parts:
                do()
                found.append(count)
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join(PATIENCE)


def test_a_worker_that_is_killed_halfway_changes_nothing(long: Study, reference: Results) -> None:
    with (
        dask(1, 1) as (address, [_, first, second]),
        when(8, Path("r"), first.kill) as killed,
        dask_executor(address, long.plan) as executor,
    ):
        results = run(long, Path("r"), None, executor=executor)
        assert first.wait(60) == -signal.SIGKILL
        assert second.poll() is None
    assert 8 <= killed[0] < 32
    assert_same_tables(results, reference)


def test_a_lost_scheduler_is_said_and_what_was_done_is_kept(long: Study, reference: Results) -> None:
    with (
        dask(1, 1) as (address, [scheduler, *_]),
        when(8, Path("r"), scheduler.kill),
        pytest.raises(RunError, match="executor stopped working; finished groups are kept"),
        dask_executor(address, long.plan) as executor,
    ):
        run(long, Path("r"), None, executor=executor)
    assert 8 * 4 <= load_results("r").status()["done"] < len(long.plan.configurations)
    assert_same_tables(run(long, Path("r")), reference)


def test_only_the_configuration_that_kills_its_workers_fails(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(running, "measure", measure_unless_seed_1)
    study = tiny(grid={"cell": ["rnn"], "length": [6]})
    with dask_executor("local", study.plan, 2) as executor:
        runs = run(study, Path("r"), None, executor=executor, progress=False).frame("runs")
    assert runs.loc[runs["status"] == "failed", "seed"].tolist() == [1, 1]
    assert runs.loc[runs["status"] == "done", "seed"].tolist() == [0, 0]
    assert runs.loc[runs["status"] == "failed", "error"].str.startswith("the worker was killed, and again").all()
    assert [path.name for path in Path().iterdir()] == ["r"]
    assert capfd.readouterr() == ("", "")


def test_several_threads_in_one_worker_change_nothing() -> None:
    with dask(4) as (address, _), dask_executor(address, TINY.plan) as executor:
        results = run(TINY, Path("r"), None, executor=executor)
    assert_same_tables(results, run(TINY, Path("inline")))


def gradlab(*words: str) -> subprocess.Popen[str]:
    """Start the command line in the current folder, in a process group of its own."""
    command = [sys.executable, "-m", "gradlab", "run", "study.toml", "--out", "r", *words]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=ENVIRONMENT, text=True, start_new_session=True, **streams)


def test_on_the_command_line_it_says_no_word_of_dask_and_leaves_no_file() -> None:
    Path("study.toml").write_text(tiny(report=ONE).spec.toml(), encoding="utf-8")
    process = gradlab("--dask", "local", "--workers", "2")
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (0, "r/report.html\n")
    first, second, third = err.splitlines()
    assert first == "tiny: 16 configurations"
    assert second.startswith("tiny: 16 to run in 8 groups, on ")
    assert third.startswith("tiny: 16 of 16 done, 0 diverged, 0 failed in ")
    assert sorted(path.name for path in Path().iterdir()) == ["r", "study.toml"]
    assert_same_tables(load_results("r"), run(TINY, Path("inline")))


def test_ctrl_c_is_exit_code_130_and_leaves_no_process(long: Study) -> None:
    Path("study.toml").write_text(long.spec.toml(), encoding="utf-8")
    process = gradlab("--dask", "local", "--workers", "2")
    with when(4, Path("r"), lambda: os.killpg(process.pid, signal.SIGINT)) as stopped:
        out, err = process.communicate(timeout=PATIENCE)
    assert stopped
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1].endswith("are kept in r, the same command goes on from there")
    assert "Traceback" not in err
    until = time.monotonic() + PATIENCE
    while alive(process.pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(process.pid)


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def mute() -> Iterator[str]:
    """Return an address where somebody listens and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


def refused(address: str, workers: int | None = None) -> Executor:
    with dask_executor(address, TINY.plan, workers) as executor:
        return executor


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense", "foo://bar:1", "mute"])
def test_an_address_without_a_scheduler_is_one_line(address: str, mute: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "PATIENCE", 1.0)
    with pytest.raises(InputError, match=r"\A--dask .*no Dask scheduler answers there .*tcp://HOST:8786.*\Z"):
        refused(mute if address == "mute" else address)


def test_a_worker_is_no_scheduler() -> None:
    with dask(1) as (address, _), dask_executor(address, TINY.plan) as executor:
        worker = next(iter(executor._client.nthreads()))  # type: ignore[attr-defined]
        with pytest.raises(InputError, match="a Worker does"):
            refused(worker)


def test_workers_go_with_a_cluster_of_our_own() -> None:
    with pytest.raises(InputError, match="not both"):
        refused("tcp://127.0.0.1:9", 2)
    with pytest.raises(InputError, match="--dask local needs at least 1"):
        refused("local", 0)


def test_without_distributed_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"--dask needs distributed.*pip install 'gradlab\[dask\]'"):
        refused("local")


def test_a_refusal_on_the_command_line_is_exit_code_2_and_nothing_ran() -> None:
    Path("study.toml").write_text(TINY.spec.toml(), encoding="utf-8")
    process = gradlab("--dask", "nonsense")
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err.count("\n")) == (2, "", 1)
    assert not Path("r").exists()
