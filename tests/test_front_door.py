"""The public names as a type checker and an editor see them, without running anything."""

from __future__ import annotations

import re
import subprocess
import sys
from inspect import getattr_static, isfunction, signature
from pathlib import Path

import ordinary_use
import pytest
from conftest import oracle

import gradlab as gl
from gradlab._trace.facade import LayerTrace

ROOT = Path(__file__).parents[1]
USE = Path(ordinary_use.__file__)
ERROR = re.compile(r"^(.*?):(\d+): error: (.*)$")
#: Names of a layer that say where it lies, or how it was made: a whole trace has none of them.
OF_A_LAYER = {"above", "along", "batch_loss", "gradients", "last", "name", "own", "place", "reverse", "start"}


def type_errors(*paths: Path) -> dict[str, dict[int, str]]:
    """Return mypy's errors by line, for each file by its name."""
    oracle("mypy")
    options = ["--no-error-summary", "--no-color-output", "--hide-error-context"]
    command = [sys.executable, "-m", "mypy", *options, *map(str, paths)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    found = [match for line in done.stdout.splitlines() if (match := ERROR.match(line))]
    # by name alone: an error that mypy remembers from a run before has that run's folder
    return {
        path.name: {int(match[2]): match[3] for match in found if Path(match[1]).name == path.name} for path in paths
    }


def completions(code: str) -> set[str]:
    """Return what an editor offers at the end of ``code``."""
    jedi = oracle("jedi")
    project = jedi.Project(ROOT, added_sys_path=[str(ROOT)])
    return {one.name for one in jedi.Script(code, path=ROOT / "a_script.py", project=project).complete()}


# --- type checkers ------------------------------------------------------------------------------------------------


def test_the_types_of_ordinary_use_and_of_mistakes(tmp_path: Path) -> None:
    """Every ``assert_type``, which fails for another type and for Any, holds; every mistake is an error.

    Both files are checked in one run: two at once would wait for each other's cache.
    """
    wrong = {
        "gl.nothing_of_the_kind": "Module has no attribute",
        "trace.nothing_of_the_kind": '"Trace" has no attribute',
        "gl.LSTM.init('three', 4)": 'incompatible type "str"',
        "trace.spectrum('two')": 'incompatible type "str"',
        "trace.rate(lag=3)": "Unexpected keyword argument",
        "assert_type(trace.rate(), str)": 'Expression is of type "Rate"',
    }
    head = [
        "from typing import assert_type",
        "import numpy as np",
        "import gradlab as gl",
        "trace = gl.trace(gl.LSTM.init(3, 4), np.zeros((10, 2, 3)), gl.projection(np.ones((2, 4))))",
    ]
    path = tmp_path / "mistakes.py"
    path.write_text("\n".join([*head, *wrong]) + "\n", encoding="utf-8")
    found = type_errors(USE, path)
    assert found[USE.name] == {}
    assert list(found[path.name]) == [len(head) + i for i in range(1, len(wrong) + 1)]
    for message, expected in zip(found[path.name].values(), wrong.values(), strict=True):
        assert expected in message


def test_ordinary_use_runs() -> None:
    ordinary_use.one_pass()
    ordinary_use.several_layers()
    assert len(ordinary_use.hooked().norms) == 6
    assert ordinary_use.own_cells().word()
    assert repr(ordinary_use.a_study()) == 'Study("tiny", 2 configurations)'


# --- editors ------------------------------------------------------------------------------------------------------


def test_an_editor_completes_the_package() -> None:
    found = completions("import gradlab as gl\ngl.")
    assert {"LSTM", "trace", "watch", *gl.__all__} <= found
    rooms = {path.stem for path in (ROOT / "gradlab").iterdir()}
    assert {name for name in found - set(gl.__all__) - rooms if not name.startswith("_")} == set()


TRACE = "import gradlab as gl\nimport numpy as np\ndef look(trace: gl.Trace) -> None:\n    trace."


def test_an_editor_completes_a_trace() -> None:
    found = completions(TRACE)
    assert {"rate", "verdict", "jacobians", "grad", "states", "spectrum", "layers", "plot", "frame"} <= found


@pytest.mark.parametrize(
    ("ask", "offered"),
    [
        ("jacobians.", {"dense", "norm", "singular_values"}),
        ('grad["h"].', {"log_norm", "mantissa", "exponent"}),
        ("rate().", {"rate", "low", "high"}),
        ("verdict().", {"word", "evidence", "suggestion"}),
    ],
)
def test_an_editor_completes_what_a_trace_answers(ask: str, offered: set[str]) -> None:
    assert offered <= completions(TRACE + ask)


def test_an_editor_completes_a_pass() -> None:
    code = "import gradlab as gl\nimport numpy as np\ngl.trace(gl.LSTM.init(3, 4), np.zeros((10, 2, 3)))."
    assert {"rate", "verdict", "jacobians"} <= completions(code)


# --- a trace has every name of its layer --------------------------------------------------------------------------


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_a_trace_declares_every_question_to_its_layer() -> None:
    assert public(LayerTrace) - public(gl.Trace) == OF_A_LAYER
    assert not public(gl.Trace) & OF_A_LAYER


@pytest.mark.parametrize("name", sorted(public(LayerTrace) - OF_A_LAYER))
def test_a_question_has_one_signature_and_one_docstring(name: str) -> None:
    of_layer, of_trace = (getattr_static(kind, name) for kind in (LayerTrace, gl.Trace))
    assert of_trace.__doc__
    if isfunction(of_layer) and name not in ("verdict", "plot"):
        assert signature(of_trace) == signature(of_layer)
    if getattr(of_trace, "__module__", None) != gl.Trace.__module__ and name not in vars(gl.Trace):
        assert of_trace.__doc__ == of_layer.__doc__


def test_the_declared_types_are_those_of_the_layer() -> None:
    """A trace's attributes are declared once more, with their types: they must be the layer's."""
    from gradlab._trace.one_layer import OneLayer

    declared = OneLayer.__annotations__
    assert len(declared) > 10
    for name, kind in declared.items():
        of_layer = getattr_static(LayerTrace, name)
        read = of_layer.fget if isinstance(of_layer, property) else of_layer.func
        assert read.__annotations__["return"] == kind, name
