"""The command line as it is typed: what it prints, and how it ends."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import PATIENCE
from study.tiny import ONE, assert_same_tables, run, tables, tiny

from gradlab import Study, __version__, cli, load_results
from gradlab.study import Results
from gradlab.study import worker as measuring
from gradlab.study.results import describe_status

TINY = tiny(report=ONE).spec.toml()


def replaced(old: str, new: str) -> str:
    """Return the tiny study's file with one text replaced, which must be there."""
    assert old in TINY
    return TINY.replace(old, new)


#: Long enough to be stopped in the middle.
LONG = {"grid": {"length": [100, 150], "scale": [1.0], "seeds": 16}, "base": {"hooks": ["gradients"]}}
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Return a function that runs ``gradlab`` here, in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def ends(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["gradlab", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return ends


@pytest.fixture
def spec(tmp_path: Path) -> str:
    (tmp_path / "tiny.toml").write_text(TINY, encoding="utf-8")
    return "tiny.toml"


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Results, "report", lambda results: results.folder / "report.html")


def test_run_computes_writes_a_report_and_prints_its_path(command: Command, spec: str) -> None:
    code, out, err = command("run", spec, "--workers", "0")
    assert (code, out) == (0, "results/tiny/report.html\n")
    assert err.startswith("tiny: 16 configurations\ntiny: 16 to run in 8 groups, in this process\n")
    assert "tiny: 16 of 16 done, 0 diverged, 0 failed in " in err
    assert Path("results/tiny/report.html").stat().st_size > 10_000
    assert Path("results/tiny/figures").is_dir()
    assert Path("results/tiny/tables").is_dir()


def test_report_writes_it_again_without_running(command: Command, spec: str) -> None:
    run(tiny(report=ONE), Path("r"), progress=False)
    assert command("report", "r") == (0, "r/report.html\n", "")
    assert Path("r/report.html").exists()


@pytest.mark.parametrize(("kind", "first"), [("latex", "% needs"), ("markdown", "**rates.**"), ("csv", "# rates")])
def test_report_prints_the_tables_and_writes_nothing(command: Command, kind: str, first: str) -> None:
    results = run(tiny(), Path("r"), progress=False)
    before = sorted(Path("r").rglob("*"))
    code, out, err = command("report", "r", "--format", kind)
    assert (code, err) == (0, "")
    assert out.startswith(first)
    assert out == results.tables(kind) + "\n"
    assert sorted(Path("r").rglob("*")) == before
    assert command("report", "r", "--format", "ltex")[0] == 2


def test_report_of_two_writes_one_page_and_leaves_their_own_alone(command: Command) -> None:
    run(tiny(report=ONE), Path("r"), progress=False)
    run(tiny(name="other", base={"hidden": 3}, report=ONE), Path("s"), progress=False)
    for path in ("r/report.html", "s/report.html"):
        Path(path).write_text("mine", encoding="utf-8")
    assert command("report", "r", "s/") == (0, "r/report_with_s.html\n", "")
    page = Path("r/report_with_s.html").read_text(encoding="utf-8")
    assert "<h1>tiny and other</h1>" in page
    assert command("report", "r", "s", "--out", "both/page.html") == (0, "both/page.html\n", "")
    assert Path("both/page.html").read_text(encoding="utf-8") == page
    assert {Path(path).read_text(encoding="utf-8") for path in ("r/report.html", "s/report.html")} == {"mine"}
    assert not Path("r/figures").exists()
    assert run(tiny(), Path("r")).status()["done"] == 16  # the page is no stranger


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("r", "r/."), "gradlab: r: is the same study; expected another study to compare with it\n"),
        (("r", "nowhere"), "gradlab: nowhere: holds no study.toml; expected a folder that `gradlab run` wrote\n"),
        (
            ("r", "s", "--out", "s/report.html"),
            "gradlab: out: s/report.html is a study's own report; name another file\n",
        ),
        (("r", "s", "--out", "s"), "gradlab: out: s is a folder; name a file\n"),
        (
            ("r", "--out", "x.html"),
            "gradlab: out: a study's own report is r/report.html; give out only with ",
        ),
    ],
)
def test_report_of_what_cannot_be_is_refused(command: Command, words: tuple[str, ...], message: str) -> None:
    run(tiny(), Path("r"), progress=False)
    run(tiny(), Path("s"), progress=False)
    code, out, err = command("report", *words)
    assert (code, out) == (2, "")
    assert err.startswith(message)
    assert err.count("\n") == 1
    assert not list(Path().rglob("*.html"))


@pytest.mark.parametrize(
    "words",
    [("report", "r"), ("report", "r", "s"), ("report", "s", "r"), ("report", "r", "--format", "csv"), ("export", "r")],
)
def test_a_folder_without_a_finished_run_keeps_its_published_tables(command: Command, words: tuple[str, ...]) -> None:
    run(tiny(grid={"length": [6], "seeds": 1}), Path("s"), progress=False)
    Path("r/tables").mkdir(parents=True)
    Path("r/study.toml").write_text(TINY, encoding="utf-8")
    for path in ("r/tables/rates.csv", "r/tables/published.md", "r/report.html"):
        Path(path).write_text("published", encoding="utf-8")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    makes = "holds no finished run; `gradlab run` on its file makes some; nothing was written"
    assert command(*words) == (2, "", f"gradlab: r: {makes}\n")
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_a_run_of_which_all_failed_still_has_its_report(
    command: Command, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise ValueError("no")

    monkeypatch.setattr(measuring, "whole_trace", fails)
    assert command("run", spec, "--workers", "0")[:2] == (1, "results/tiny/report.html\n")
    assert "16 failed of 16 runs" in Path("results/tiny/report.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("no_report")
def test_a_second_run_skips_everything(command: Command, spec: str) -> None:
    command("run", spec, "--workers", "0", "--out", "r")
    assert command("run", spec, "--out", "r") == (0, "r/report.html\n", "tiny: 16 of 16 already done\n")


@pytest.mark.usefixtures("no_report")
def test_full_applies_the_full_table(command: Command, spec: str) -> None:
    Path(spec).write_text(TINY + "\n[full]\nseeds = 3\n", encoding="utf-8")
    assert command("run", spec, "--full", "--workers", "0")[0] == 0
    assert len(load_results("results/tiny").frame("runs")) == 24


@pytest.mark.usefixtures("no_report")
def test_a_failed_configuration_is_exit_code_1(command: Command, spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def network(config: Any) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(measuring, "network", network)
    code, out, err = command("run", spec, "--workers", "0")
    assert (code, out) == (1, "results/tiny/report.html\n")
    assert "16 of 16 done, 0 diverged, 16 failed" in err
    code, out, err = command("status", "results/tiny")
    assert (code, err) == (0, "")
    assert "failed    16\n" in out
    assert "failed cell rnn, length 6, scale 0.5, seed 0: MemoryError: no room\n" in out
    assert out.endswith("  and 6 more\n")
    done = gradlab("run", spec, "--workers", "0", "--retry-failed", cwd=Path.cwd())  # where nothing is patched
    assert done.returncode == 0, done.stderr
    assert "16 of 16 already done, 16 of them failed; run again" in done.stderr


@pytest.mark.usefixtures("no_report")
def test_a_run_that_cannot_go_on_is_exit_code_1(command: Command, spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, out, err = command("run", spec, "--workers", "0")
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith("gradlab: results/tiny: the disk is full; finished groups are kept")


def test_export_writes_every_table_twice_and_prints_the_paths(command: Command) -> None:
    run(tiny(), Path("r"), progress=False)
    written = [f"{name}.{kind}" for name in ("runs", "steps", "spectra") for kind in ("csv", "parquet")]
    assert command("export", "r") == (0, "".join(f"r/export/{name}\n" for name in written), "")
    assert command("export", "r", "--out", "mine")[1].startswith("mine/runs.csv\n")
    assert len(Path("mine/steps.csv").read_text(encoding="utf-8").splitlines()) > 16
    assert run(tiny(), Path("r")).folder == Path("r")  # export/ is no stranger


@pytest.mark.parametrize("verb", ["run", "plan"])
@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (replaced("scale", "scal"), 'gradlab: grid.scal: unknown key "scal"; did you mean "scale"? ('),
        (replaced("gates", "gaets"), 'gradlab: base.hooks[0]: unknown hook "gaets"; did you mean "gates"?'),
        (
            replaced("length = [\n    6,\n    9,\n]", "length = 6"),
            "gradlab: grid.length: expected a list, got 6; write grid.length = [6]",
        ),
        (replaced("    9,\n]", "    9,\n"), "gradlab: tiny.toml: not valid TOML: "),
        (TINY + "[full]\nseeds = true\n", "gradlab: full.seeds: expected a whole number, at least 1, got true"),
        (replaced("hidden = 4", "hidden = 1000000"), "gradlab: about "),
    ],
    ids=lambda text: text[-20:],
)
def test_bad_input_is_one_line_and_exit_code_2(
    command: Command, spec: str, verb: str, broken: str, message: str
) -> None:
    Path(spec).write_text(broken, encoding="utf-8")
    code, _, err = command(verb, spec)
    assert code == 2
    assert err.startswith((message, message.replace("gradlab: ", f"gradlab: {spec}: ", 1)))
    assert err.count("\n") == 1
    assert not Path("results").exists()


@pytest.mark.parametrize("layers", ["[2]", "[1, 2]"])
def test_stacked_layers_are_reported_each(command: Command, spec: str, layers: str) -> None:
    Path(spec).write_text(replaced("[grid]", f"[grid]\nlayers = {layers}"), encoding="utf-8")
    assert command("run", spec, "--workers", "0")[0] == 0
    rates = pd.read_csv("results/tiny/tables/rates.csv")
    assert {0, 1} <= set(rates["layer"])


def test_options_that_exclude_each_other_are_refused_before_anything_runs(command: Command, spec: str) -> None:
    Path(spec).write_text(TINY + "\n[init]\nforget_bias = 1.0\nchrono = 50.0\n", encoding="utf-8")
    code, _, err = command("plan", spec)
    assert code == 2
    assert "give forget_bias or chrono, not both" in err


def test_full_needs_its_table(command: Command, spec: str) -> None:
    code, _, err = command("run", spec, "--full")
    assert (code, err.count("\n")) == (2, 1)
    assert "the study has no [full] table" in err


def test_what_cannot_fit_says_what_would(command: Command, spec: str) -> None:
    Path(spec).write_text(replaced("batch = 3", "batch = 2000000000"), encoding="utf-8")
    _, _, err = command("run", spec)
    assert "GB are needed (cell lstm, length 9, hidden 4, batch 2000000000), and " in err
    assert " GB are free; batch = " in err


@pytest.mark.parametrize("words", [["report", "nowhere"], ["run", "nowhere.toml"], ["list", "hoks"]])
def test_a_slip_elsewhere_is_one_line_too(command: Command, words: list[str]) -> None:
    code, out, err = command(*words)
    assert (code, out) == (2, "")
    assert err.startswith("gradlab: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "words", [["rnu"], ["run"], ["run", "x.toml", "--wrokers", "2"], ["run", "x", "--workers", "-1"]]
)
def test_words_that_are_no_command_are_exit_code_2(command: Command, words: list[str]) -> None:
    code, _, err = command(*words)
    assert code == 2
    assert "Traceback" not in err


def test_a_missing_package_is_one_line(command: Command, spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from gradlab.tasks import digits

    digits.load_digits.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn", None)
    study = Study(name="x", grid={"cell": ["rnn"]}, task={"name": "digits"})
    Path(spec).write_text(study.spec.toml(), encoding="utf-8")
    code, _, err = command("run", spec)
    assert code == 2
    assert err.startswith("gradlab: task digits: the digits come with scikit-learn, which is missing; install it")
    assert err.count("\n") == 1


def test_plan_prints_what_will_run_and_runs_nothing(command: Command, spec: str) -> None:
    code, out, err = command("plan", spec)
    assert (code, err) == (0, "")
    assert "configurations  16 (2 cell x 2 length x 2 scale x 2 seeds)\n" in out
    assert "groups          8, of at most 2" in out
    assert "memory          about " in out
    assert "time            about " in out
    assert not Path("results").exists()


def test_list_names_everything_a_study_may_name(command: Command) -> None:
    _, out, _ = command("list")
    for name in ("cells", "lstm", "rnn.activation", "init.forget_bias", "tasks", "task.order", "orthogonal", "gates"):
        assert name in out
    assert command("list", "hooks")[1].splitlines()[0] == "hooks"
    assert "lstm" not in command("list", "hooks")[1]
    assert "capped at the state's width" in command("list", "hooks")[1]


def test_help_teaches_and_version_tells(command: Command) -> None:
    assert command("--version") == (0, f"gradlab {__version__}\n", "")
    assert "gradlab run studies/init_scale.toml" in command("--help")[1]
    assert "gradlab run studies/init_scale.toml --full" in command("run", "--help")[1]


def test_the_command_line_loads_nothing_heavy() -> None:
    code = (
        "import gradlab.cli, sys; print([m for m in ('numpy', 'pandas', 'matplotlib', 'pydantic') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# --- stopped from outside -----------------------------------------------------------------------------


def gradlab(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "gradlab", *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=PATIENCE)


def started(folder: Path, until: str, count: int) -> subprocess.Popen[str]:
    """Start a run that never finishes on two workers, and return when so many files that match are there."""
    (folder / "held").mkdir(parents=True)
    (folder / "tiny.toml").write_text(tiny(**LONG).spec.toml(), encoding="utf-8")
    words = [sys.executable, "-c", "from study.tiny import held; held()"]
    words += ["run", "tiny.toml", "--out", "r", "--workers", "2"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "GRADLAB_TEST_HELD": str(folder / "held")}
    process = subprocess.Popen(
        words, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while len(list(folder.glob(until))) < count:
        assert process.poll() is None
        time.sleep(0.01)
    return process


def assert_group_ends(group: int) -> None:
    """Check that no process of the group is left, within some minutes."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("worker processes outlive their parent")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run(tiny(**LONG), tmp_path_factory.mktemp("whole") / "r")


def test_killed_in_the_middle_it_goes_on_to_the_same_tables(tmp_path: Path, uninterrupted: Results) -> None:
    process = started(tmp_path / "x", "r/parts/runs/*.parquet", 3)
    live = describe_status(tmp_path / "x" / "r")
    assert re.search(rf"  planned   [1-9]\d*\n(.*\n)*  held by \S+ on \S+, process {process.pid}, since", live)
    process.kill()
    process.communicate(timeout=PATIENCE)  # its workers hold the pipe as long as they live
    assert_group_ends(process.pid)
    folder = tmp_path / "x" / "r"
    status = load_results(folder).frame("runs")["status"].value_counts()
    assert status["done"] > 0
    assert status["planned"] > 0
    assert_same_tables(run(tiny(**LONG), folder), uninterrupted)


def test_ctrl_c_drops_what_runs_says_how_to_go_on_and_is_exit_code_130(tmp_path: Path, uninterrupted: Results) -> None:
    process = started(tmp_path / "x", "r/parts/runs/*.parquet", 3)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "are kept in r, the same command goes on from there" in err
    assert "Traceback" not in err
    assert_group_ends(process.pid)
    folder = tmp_path / "x" / "r"
    assert not (folder / ".lock.json").exists()
    assert load_results(folder).frame("runs")["status"].value_counts()["done"] >= 3 * 8
    assert_same_tables(run(tiny(**LONG), folder), uninterrupted)


@pytest.mark.parametrize(("until", "count"), [("r/provenance.json", 1), ("held/*", 1), ("held/*", 5)])
def test_ctrl_c_while_workers_start_is_as_clean(tmp_path: Path, until: str, count: int) -> None:
    process = started(tmp_path / "x", until, count)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "are kept in r, the same command goes on from there" in err
    assert "Traceback" not in err
    assert_group_ends(process.pid)


@pytest.mark.parametrize("where", ["_study", "report"])
def test_ctrl_c_before_and_after_the_measuring_says_how_to_go_on_too(
    command: Command, spec: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli if where == "_study" else Results, where, stopped)
    code, out, err = command("run", spec, "--workers", "0")
    assert (code, out) == (130, "")
    assert err.endswith("gradlab: interrupted; the same command goes on from there\n")


IN_EXEC = """
from gradlab import __main__, cli
cli.main = lambda: exec("import signal; signal.raise_signal(signal.SIGINT)")
__main__.main()
"""


def test_ctrl_c_inside_exec_is_exit_code_130_as_everywhere(tmp_path: Path) -> None:
    """Libraries call exec() while they load; `python -m` would end by the signal itself, with no exit code."""
    (tmp_path / "interrupted.py").write_text(IN_EXEC)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-m", "interrupted"]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (130, "")


def test_a_script_without_a_guard_is_told_to_have_one(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(f"import gradlab\ngradlab.Study(**{tables()!r}).run(workers=2)\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "script.py"]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert 'call run() under `if __name__ == "__main__":`, or give workers=0' in done.stderr.splitlines()[-1]
    assert set(load_results(tmp_path / "results" / "tiny").frame("runs")["status"]) == {"planned"}
