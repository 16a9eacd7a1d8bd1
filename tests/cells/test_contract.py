"""A cell that is written from CONTRIBUTING alone is seen by verdict, suggestion, hooks, studies, files and the CLI."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import gradlab as gl
from gradlab.cells import CELLS, KeepGate

ROOT = Path(__file__).parents[2]
#: The cell that CONTRIBUTING prints.
CODE, *_ = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), flags=re.M | re.S
)
T, B, H = 60, 4, 6


@pytest.fixture(scope="module")
def Plain() -> Any:
    names: dict[str, Any] = {"__name__": "contributing"}
    exec(compile(CODE, "CONTRIBUTING.md", "exec", dont_inherit=True), names)
    return names["PlainMinimalRNN"]


def inputs() -> NDArray[np.float64]:
    return np.random.default_rng(0).standard_normal((T, B, 3))


def loss() -> Any:
    return gl.projection(np.random.default_rng(1).standard_normal((B, H)))


def test_the_printed_cell_passes_the_selfcheck(Plain: Any) -> None:
    gl.selfcheck(Plain.init(3, 5, bias="uniform", scale=1.5, rng=0)).raise_if_failed()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_printed_cell_computes_what_the_tuned_one_does(Plain: Any, dtype: str) -> None:
    """The two forms of the same equations share no line of code."""
    plain = Plain.init(3, H, bias="uniform", scale=1.5, rng=0, dtype=dtype)
    tuned = gl.MinimalRNN(**plain.parameters)
    one, two = (gl.trace(cell, inputs().astype(dtype), loss()) for cell in (plain, tuned))
    limit = {"float64": 1e-12, "float32": 2e-4}[dtype]  # rounding of 60 steps
    np.testing.assert_allclose(one.states["h"], two.states["h"], atol=limit)
    for name, array in one.param_grads.items():
        np.testing.assert_allclose(array, two.param_grads[name], atol=limit * np.abs(array).max())
    for name in ("z", "u"):
        found, expected = (np.asarray(trace.pre_grad[name]) for trace in (one, two))
        np.testing.assert_allclose(found, expected, atol=limit * np.abs(expected).max())


def test_verdict_and_suggestion_see_its_gate(Plain: Any) -> None:
    verdict = gl.trace(Plain.init(3, H, rng=0), inputs(), loss()).verdict()
    assert verdict.word == "VANISHING"
    assert "PlainMinimalRNN, update gate 0.49" in verdict.evidence
    assert "on average (update_bias 0): ∏u alone gives −0." in verdict.evidence
    assert "of gates saturated" in verdict.evidence
    assert verdict.suggestion.change == {"update_bias": 5.0}
    assert verdict.suggestion.word == "STABLE"


def test_the_additive_path_is_that_of_its_gate(Plain: Any) -> None:
    """Without recurrent weights everything travels on the additive path."""
    cell = Plain.init(3, H, scale=0.0, rng=0)
    paths = gl.trace(cell, inputs(), loss()).paths()
    np.testing.assert_allclose(paths.share, 1.0, atol=1e-12)


REGISTERED = f"""
import sys
from gradlab.cells import CELLS
names = {{"__name__": "contributing"}}
exec(compile(open(sys.argv[1], encoding="utf-8").read(), "CONTRIBUTING.md", "exec"), names)
CELLS["plain_minimal"] = Plain = names["PlainMinimalRNN"]  # stands for the one line in gradlab/cells/__init__.py

import numpy as np
import gradlab as gl
from gradlab.cells import CELLS, KeepGate
from gradlab.study.run import run_plan

grid = {{"cell": ["rnn", "plain_minimal"], "length": [6, 9], "seeds": 2}}
study = gl.Study(name="mine", grid=grid, base={{"hidden": 4, "batch": 3, "hooks": ["gates", "paths", "gradients"]}},
                 init={{"update_bias": 3.0}}, task={{"name": "sum"}})
runs = run_plan(study.plan, "results", workers=0).frame("runs")
assert (runs["error"] == "").all(), runs["error"].tolist()
kept = runs.groupby("cell", observed=True)["keep_gate_mean"].mean()
assert kept["plain_minimal"] > 0.9 and np.isnan(kept["rnn"]), kept  # σ(3) = 0.95
assert runs.loc[runs["cell"] == "plain_minimal", "saturation"].notna().all()

cell = Plain.init(3, {H}, update_bias=1.0, rng=0)
trace = gl.trace(cell, np.ones((5, 2, 3)), gl.projection(np.ones((2, {H}))))
trace.save("trace.npz")
again = gl.load_trace("trace.npz")
assert type(again.model) is Plain, again.model
np.testing.assert_array_equal(trace.grad["h"].mantissa, again.grad["h"].mantissa)

from typer.testing import CliRunner
from gradlab.cli import app
listed = CliRunner().invoke(app, ["list", "cells"]).output
assert "plain_minimal" in listed and "init.update_bias" in listed, listed
assert CliRunner().invoke(app, ["check", "plain_minimal"]).exit_code == 0
"""


def test_one_line_in_the_table_gives_it_to_studies_files_and_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "cell.py").write_text(CODE, encoding="utf-8")
    script = tmp_path / "use.py"
    script.write_text(REGISTERED, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "cell.py")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_class_without_init_names_it() -> None:
    class Bare(gl.RNN):
        init = classmethod(gl.Cell.init.__func__)  # type: ignore[attr-defined, assignment]

    with pytest.raises(gl.InputError, match="Bare defines no init; construct it from its parameters"):
        Bare.init(1, 2)


def test_the_tries_of_a_keep_gate_go_from_least_to_most() -> None:
    falling = KeepGate("1 − z", "∏(1 − z)", "b_z", sign=-1.0, tries=(-1.0, -2.0))
    assert falling.keeps_more(-1.0) == (-2.0,)
    with pytest.raises(gl.InputError, match="tries must fall with sign=-1, from what keeps least to what keeps most"):
        KeepGate("1 − z", "∏(1 − z)", "b_z", sign=-1.0)
    with pytest.raises(gl.InputError, match="tries must rise with sign=1"):
        KeepGate("f", "∏f", "b_f", tries=(2.0, 1.0))
    with pytest.raises(gl.InputError, match="sign must be 1 or -1, got 0"):
        KeepGate("f", "∏f", "b_f", sign=0)


@pytest.mark.parametrize("name", CELLS)
def test_init_describes_every_keyword_with_its_default(name: str) -> None:
    kind = CELLS[name]
    text = inspect.getdoc(kind.init) or ""
    described = dict(re.findall(r"^(\w+) : (.*)$", text.partition("Parameters")[2].partition("Returns")[0], flags=re.M))
    keywords = list(inspect.signature(kind.init).parameters.values())[2:]
    assert list(described) == [one.name for one in keywords]
    for one in keywords:
        default = one.default
        shown = f"{default:g}" if isinstance(default, float) else f'"{default}"'
        assert (default is None) or described[one.name].endswith(f"default {shown}")
