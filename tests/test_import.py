"""The map: every name loads, the import is light, and a module never takes a function's name."""

import doctest
import pkgutil
import subprocess
import sys
from importlib import import_module

import pytest

import gradlab as gl

HEAVY = ("pandas", "matplotlib", "seaborn", "torch", "pydantic", "scipy", "pyarrow", "typer")


def fresh(code: str) -> str:
    """Return what ``code`` prints in a new interpreter."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_is_light() -> None:
    """The import loads nothing but itself: no NumPy, no module of ours, and no more than a handful of others."""
    assert fresh(f"import sys, gradlab; print(sorted(set({(*HEAVY, 'numpy')!r}) & set(sys.modules)))") == "[]"
    assert fresh("import sys, gradlab; print([name for name in sys.modules if name.startswith('gradlab.')])") == "[]"


@pytest.mark.parametrize("command", [["--help"], ["--version"]])
def test_help_loads_no_numbers(command: list[str]) -> None:
    """What starts the command line is the parser alone: no NumPy, and nothing that stands on it."""
    code = f"""
import contextlib, io, sys
from gradlab.__main__ import main
sys.argv = ["gradlab", *{command!r}]
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main()
print(sorted(set({(*HEAVY[:-1], "numpy", "jinja2", "distributed")!r}) & set(sys.modules)))
"""
    assert fresh(code) == "[]"


def test_a_pass_needs_no_plotting_and_no_torch() -> None:
    code = """
import sys, numpy as np, gradlab as gl
trace = gl.trace(gl.RNN.init(1, 2, rng=0), np.zeros((3, 1, 1)), gl.projection(np.ones((1, 2))))
trace.log_norm("adjoint"), trace.frame(), trace.jacobians.norm(2)
trace.param_grads, trace.spectrum(1), trace.loss
print(sorted({"matplotlib", "seaborn", "torch", "pydantic"} & set(sys.modules)))
"""
    assert fresh(code) == "[]"


def test_a_worker_of_a_study_loads_no_statistics() -> None:
    code = "import sys, gradlab.study.worker; print(sorted({'scipy.stats', 'matplotlib', 'torch'} & set(sys.modules)))"
    assert fresh(code) == "[]"


def test_gradients_need_neither_tables_nor_statistics() -> None:
    """Of the second in which all of gradlab is loaded, pandas and scipy.stats are the larger part."""
    code = """
import sys, numpy as np, gradlab as gl
trace = gl.trace(gl.RNN.init(1, 2, rng=0), np.zeros((3, 1, 1)), gl.projection(np.ones((1, 2))))
trace.grad, trace.param_grads, trace.log_norm("adjoint"), trace.rate(), trace.jacobians.norm(2), trace.spectrum(1)
print(sorted({"pandas", "pyarrow", "scipy.stats", "scipy.optimize"} & set(sys.modules)))
"""
    assert fresh(code) == "[]"


@pytest.mark.parametrize("name", gl.__all__)
def test_every_public_name_loads(name: str) -> None:
    assert getattr(gl, name) is not None
    assert name in dir(gl)


def test_a_function_is_never_hidden_by_a_module_of_its_name() -> None:
    code = """
import pkgutil
from importlib import import_module
import gradlab as gl
for module in pkgutil.walk_packages(gl.__path__, "gradlab."):
    if module.name not in ("gradlab.__main__", "gradlab.cells.autodiff_jax", "gradlab.cells.autodiff_torch"):
        import_module(module.name)
print(sorted(name for name in gl.__all__ if type(getattr(gl, name)) is type(gl)), type(gl).__name__)
"""
    assert fresh(code) == "['tasks', 'theory'] module"


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match=r"^module 'gradlab' has no attribute 'lsmt'; did you mean 'LSTM'\?$"):
        _ = gl.lsmt
    with pytest.raises(AttributeError, match=r"^module 'gradlab' has no attribute 'nothing_of_the_kind'$"):
        _ = gl.nothing_of_the_kind
    assert not hasattr(gl, "ModuleType")


MODULES = sorted(module.name for module in pkgutil.walk_packages(gl.__path__, "gradlab."))


@pytest.mark.parametrize("name", [name for name in MODULES if name != "gradlab.__main__"])
def test_examples_run_as_printed(name: str) -> None:
    import_module(name)
    assert doctest.testmod(sys.modules[name]).failed == 0
