"""Would compiled steps pay? The loops of a tanh RNN by Numba, against gradlab's NumPy passes: a prototype.

    python -m venv /tmp/compiled && /tmp/compiled/bin/pip install -e . numba
    /tmp/compiled/bin/python tests/benchmarks/compiled.py     # results/benchmarks/compiled.{csv,md}: about a minute

``forward``: states and pre-activations of all steps. ``backward``: local derivatives, adjoints, gradients at the
pre-activations; of gradlab with exponents, of Numba plain numbers. ``tanh``: that function alone, of as many numbers as
a step has, a hundred times. Products are BLAS's in both.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.append(str(Path(__file__).parents[1]))  # run as a script, too

from benchmarks import one_pass, timing

from gradlab.bptt import Columns, backward, forward

CASES = tuple(case for case in one_pass.CASES if case.B > 1)
PARTS = ("forward", "backward", "tanh")
COMMAND = "python tests/benchmarks/compiled.py"


def gradlab(part: str, case: one_pass.Case) -> one_pass.Work:
    cell, xs, arriving = one_pass.as_columns("rnn", case)
    initial = np.zeros((case.H, case.B))
    tape, step, out = forward(cell, xs, initial), cell.drive(xs)[0], np.empty((case.H, case.B))
    return {
        "forward": (lambda: forward(cell, xs, initial), lambda found: found.states[1:]),
        "backward": (
            lambda: backward(tape, arriving),
            lambda found: Columns(found.pre_grad, found.exponent[1:]).plain(),
        ),
        "tanh": (lambda: [np.tanh(step, out=out) for _ in range(100)], lambda _: out),
    }[part]


def numba(part: str, case: one_pass.Case) -> one_pass.Work:
    from numba import njit

    cell, xs, arriving = one_pass.as_columns("rnn", case)
    initial = np.zeros((case.H, case.B))
    states, step, out = forward(cell, xs, initial).states, cell.drive(xs)[0], np.empty((case.H, case.B))
    W, turned, adjoint = cell.W_hh, np.ascontiguousarray(cell.W_hh.T), arriving.plain()

    @njit  # type: ignore[untyped-decorator]
    def ahead(W: Any, drive: Any, h: Any, a: Any) -> Any:
        T, H, B = drive.shape
        pushed = np.empty((H, B))
        for t in range(T):
            np.dot(W, h[t], pushed)
            for i in range(H):
                for b in range(B):
                    a[t, i, b] = pushed[i, b] + drive[t, i, b]
                    h[t + 1, i, b] = math.tanh(a[t, i, b])
        return h[1:]

    @njit  # type: ignore[untyped-decorator]
    def back(W: Any, h: Any, adjoint: Any, pre_grad: Any) -> Any:
        T, H, B = pre_grad.shape
        for t in range(T - 1, -1, -1):
            for i in range(H):
                for b in range(B):
                    pre_grad[t, i, b] = (1.0 - h[t + 1, i, b] ** 2) * adjoint[t + 1, i, b]
            np.dot(W, pre_grad[t], adjoint[t])
        return pre_grad

    @njit  # type: ignore[untyped-decorator]
    def tanh(a: Any, out: Any) -> Any:
        for _ in range(100):
            for i in range(a.shape[0]):
                for b in range(a.shape[1]):
                    out[i, b] = math.tanh(a[i, b])
        return out

    found, room = np.zeros_like(states), np.empty((case.T, case.H, case.B))
    return {
        "forward": (lambda: ahead(W, cell.drive(xs), found, room), np.asarray),
        "backward": (lambda: back(turned, states, adjoint, room), np.asarray),
        "tanh": (lambda: tanh(step, out), np.asarray),
    }[part]


def rows(rounds: int) -> Iterator[dict[str, Any]]:
    """Yield one row a size and part."""
    with timing.rivals({"gradlab": gradlab, "numba": numba}, cores=1) as made:
        for case in CASES:
            for part in PARTS:
                start = time.perf_counter()
                compiled = made["numba"].take(part, case)
                compiling = time.perf_counter() - start
                error = np.abs(compiled - made["gradlab"].take(part, case)).max()
                assert error < 1e-10, f"{part} {case}: off by {error:.1e}"
                times = timing.in_turn(made, rounds)
                row = {"part": part, **case._asdict(), "gradlab_ms": 1e3 * float(times["gradlab"].min())}
                ratio = timing.ratio(times["gradlab"], times["numba"])
                yield row | {"ratio": ratio, "compiling_s": compiling}


def installed(package: str) -> float:
    """Return the MiB that a package's files take."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return sum(file.stat().st_size for file in Path(spec.origin).parent.rglob("*") if file.is_file()) / 2**20


NOTES = """*ratio* says how many times longer gradlab's NumPy took than Numba, *compiling* how long a process waits for
the first answer. Numba and llvmlite take {size:.0f} MiB, NumPy {numpy:.0f}.

Not used. Numba's `tanh` goes one number after the other, NumPy's several at once, so that a compiled way forward is
slower. The way back, where no such function is called, gains; that would be one more writing of every cell's formulas
and a wait in every process, for a part of a small pass.
"""


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    say = parser.parse_args()
    table = pd.DataFrame(rows(say.rounds))
    print(table.to_string(index=False, float_format="%.3g"))
    notes = NOTES.format(size=installed("numba") + installed("llvmlite"), numpy=installed("numpy"))
    heading = f"# Would compiled steps pay?\n\n{timing.header(COMMAND, 1, ('gradlab', 'numpy', 'numba'))}\n\n{notes}\n"
    timing.write(say.out, "compiled", table, heading + timing.cells(table))


if __name__ == "__main__":
    main()
