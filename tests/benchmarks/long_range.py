"""Long range against PyTorch and JAX: σ_max of ∂s_T/∂s_t for all t, eight Lyapunov exponents; forward pass included.

    python tests/benchmarks/long_range.py                  # results/benchmarks/long_range.{csv,md}: about 5 minutes

``norms``: PyTorch and JAX form all step Jacobians at once (`vmap(jacrev)`, `vmap(jacfwd)`), multiply them from T down,
bring each product into range, and take the norms of all products together. ``exponents``: a loop of `torch.func.jvp`
over the eight tangents (`vmap`) with a QR at every step, and the same as a compiled `scan`; all start from the same
frame, so that the sums of ln R_ii are the same numbers. Answers are compared before anything is timed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.append(str(Path(__file__).parents[1]))  # run as a script, too

from benchmarks import timing

import gradlab as gl

CELLS, SIZES = ("rnn", "lstm", "gru"), (32, 64, 128)
QUESTIONS = ("norms", "exponents")
COMMAND = "python tests/benchmarks/long_range.py"
BATCH, EXPONENTS = 16, 8
#: T, by question and H.
STEPS = {"norms": {32: 100, 64: 50, 128: 20}, "exponents": {32: 500, 64: 300, 128: 100}}
#: The least ratio in every case and in the median (issue: as fast as the machine allows).
TARGETS = {
    ("norms", "pytorch"): (4.0, 8.0),
    ("norms", "jax"): (0.0, 3.0),
    ("exponents", "pytorch"): (25.0, 25.0),
    ("exponents", "jax"): (1.0, 1.0),
}
Work = tuple[Callable[[], Any], Callable[[Any], Any]]


def given(name: str, H: int, question: str) -> tuple[gl.Cell, np.ndarray]:
    made = {"rnn": gl.RNN, "lstm": gl.LSTM, "gru": gl.GRU}[name]
    return made.init(8, H, rng=1), np.random.default_rng(2).normal(size=(STEPS[question][H], BATCH, 8))


def frame(S: int) -> np.ndarray:
    """Return the tangents that `gl.Trace.spectrum` starts from."""
    return np.linalg.qr(np.random.default_rng(0).standard_normal((BATCH, S, EXPONENTS)))[0]


def gradlab(name: str, H: int, question: str) -> Work:
    cell, x = given(name, H, question)
    if question == "norms":
        return lambda: gl.trace(cell, x).propagator_norms(), lambda found: found[:-1]
    return lambda: gl.trace(cell, x).spectrum(EXPONENTS), lambda found: found.per_sequence


def step_of(library: Any, name: str, W: Any, H: int) -> Callable[[Any, Any], Any]:
    """Return ``state (S,), drive (kH,) → state``, written for PyTorch or `jax.numpy`."""
    sigmoid, cat = library["sigmoid"], library["cat"]

    def step(s: Any, d: Any) -> Any:
        if name == "rnn":
            return library["tanh"](d + W @ s)
        if name == "lstm":
            a = d + W @ s[:H]
            i, f, o = sigmoid(a[:H]), sigmoid(a[H : 2 * H]), sigmoid(a[3 * H :])
            c = f * s[H:] + i * library["tanh"](a[2 * H : 3 * H])
            return cat([o * library["tanh"](c), c])
        rz = sigmoid(d[: 2 * H] + W[: 2 * H] @ s)
        n = library["tanh"](d[2 * H :] + W[2 * H :] @ (rz[:H] * s))
        return (1 - rz[H:]) * s + rz[H:] * n

    return step


def pytorch(name: str, H: int, question: str) -> Work:
    import torch
    from torch.func import jacrev, jvp, vmap

    cell, x = given(name, H, question)
    xs, W_xh, W, b = (torch.tensor(array) for array in (x, cell.W_xh, cell.W_hh, cell.b_h))
    library = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "cat": torch.cat}
    step = step_of(library, name, W, H)
    batched, S = vmap(step), cell.state_size
    start = torch.zeros(BATCH, S, dtype=torch.float64)
    first = torch.tensor(frame(S)).mT.contiguous()

    def norms() -> Any:
        drive = xs @ W_xh.T + b
        states = [start]
        for d in drive:
            states.append(batched(states[-1], d))
        J = vmap(vmap(jacrev(step)))(torch.stack(states[:-1]), drive)
        product, log = torch.eye(S, dtype=torch.float64).expand(BATCH, S, S), torch.zeros(BATCH, dtype=torch.float64)
        products, logs = [], []
        for one in J.flip(0):
            product = product @ one
            peak = product.abs().amax((1, 2))
            product, log = product / peak[:, None, None], log + peak.log()
            products.append(product)
            logs.append(log)
        found = torch.linalg.matrix_norm(torch.stack(products), 2).log() + torch.stack(logs)
        return found.flip(0)

    def pushed(s: Any, d: Any, tangents: Any) -> Any:
        return vmap(lambda v: jvp(lambda state: step(state, d), (s,), (v,))[1])(tangents)

    def exponents() -> Any:
        s, Q, total = start, first, 0.0
        for d in xs @ W_xh.T + b:
            Q, s = vmap(pushed)(s, d, Q), batched(s, d)
            Q, R = torch.linalg.qr(Q.mT)
            total, Q = total + R.diagonal(dim1=1, dim2=2).abs().log(), Q.mT
        return total / len(xs)

    def work() -> Any:
        with torch.no_grad():
            return norms() if question == "norms" else exponents()

    return work, lambda found: found.numpy()


def jax(name: str, H: int, question: str) -> Work:
    import jax as j
    import jax.numpy as jnp

    j.config.update("jax_enable_x64", True)
    cell, x = given(name, H, question)
    library = {"sigmoid": j.nn.sigmoid, "tanh": jnp.tanh, "cat": jnp.concatenate}
    step, S = step_of(library, name, jnp.asarray(cell.W_hh), H), cell.state_size
    batched = j.vmap(step)
    start, first = jnp.zeros((BATCH, S)), jnp.asarray(frame(S)).mT
    drive = jnp.asarray(x) @ cell.W_xh.T + cell.b_h

    def norms() -> Any:
        def forward(s: Any, d: Any) -> Any:
            return batched(s, d), s

        J = j.vmap(j.vmap(j.jacfwd(step)))(j.lax.scan(forward, start, drive)[1], drive)

        def back(carry: Any, one: Any) -> Any:
            product = carry[0] @ one
            peak = jnp.abs(product).max((1, 2))
            carry = product / peak[:, None, None], carry[1] + jnp.log(peak)
            return carry, carry

        eye = jnp.broadcast_to(jnp.eye(S), (BATCH, S, S))
        products, logs = j.lax.scan(back, (eye, jnp.zeros(BATCH)), J, reverse=True)[1]
        return jnp.log(jnp.linalg.norm(products, 2, axis=(-2, -1))) + logs

    def exponents() -> Any:
        def pushed(s: Any, d: Any, tangents: Any) -> Any:
            return j.vmap(lambda v: j.jvp(lambda state: step(state, d), (s,), (v,))[1])(tangents)

        def forward(carry: Any, d: Any) -> Any:
            s, Q, total = carry
            Q, R = jnp.linalg.qr(j.vmap(pushed)(s, d, Q).mT)
            total = total + jnp.log(jnp.abs(jnp.diagonal(R, axis1=1, axis2=2)))
            return (batched(s, d), Q.mT, total), None

        return j.lax.scan(forward, (start, first, jnp.zeros((BATCH, EXPONENTS))), drive)[0][2] / len(x)

    compiled = j.jit(norms if question == "norms" else exponents)
    return lambda: j.block_until_ready(compiled()), np.asarray


def products(name: str, H: int, question: str) -> Work:
    """Matrix products alone: of the Jacobians, or by the weights, along the tangents and forward."""
    from gradlab.cells.base import product

    cell, x = given(name, H, question)
    if question == "norms":
        J = np.random.default_rng(3).normal(size=(BATCH, cell.state_size, cell.state_size))
        into = np.empty_like(J)
        return lambda: [np.matmul(J, J, out=into) for _ in x], lambda _: None
    rows = len(cell.W_hh)
    tangents, h = np.ones((H, EXPONENTS * BATCH)), np.ones((H, BATCH))
    into, next_h = np.empty((rows, EXPONENTS * BATCH)), np.empty((rows, BATCH))

    def steps() -> None:
        for _ in x:
            product(cell.W_hh, tangents, into)
            product(cell.W_hh, h, next_h)

    return steps, lambda _: None


def measured(made: dict[str, timing.Rival], question: str, H: int, name: str, rounds: int) -> dict[str, Any]:
    """Return one row."""
    found = {rival: one.take(name, H, question) for rival, one in made.items()}
    del found["products"]
    for rival, answer in found.items():
        error = np.abs(answer - found["gradlab"]).max()
        assert error < 1e-9, f"{rival}, {name} {H}, {question}: off by {error:.1e} nats"
    times = timing.in_turn(made, rounds)
    own = times["gradlab"]
    row: dict[str, Any] = {"question": question, "cell": name, "H": H, "T": STEPS[question][H], "B": BATCH}
    row["ms"] = 1e3 * float(np.min(own))
    row |= {rival: timing.ratio(times[rival], own) for rival in ("pytorch", "jax")}
    row["most"] = timing.ratio(times["pytorch"], times["products"])
    missed = [f"{rival} ≥ {TARGETS[question, rival][0]:.3g}" for rival in ("pytorch", "jax")
              if row[rival] < TARGETS[question, rival][0]]  # fmt: skip
    return row | {"missed": ", ".join(missed)}


def medians(table: pd.DataFrame) -> str:
    """Return the medians beside what is asked of them."""
    said = []
    for (question, rival), (_, median) in TARGETS.items():
        found = table.loc[table["question"] == question, rival].median()
        said.append(f"{question}, {rival} {found:.3g} (asked: {median:.3g})")
    return "Medians: " + "; ".join(said) + "."


NOTES = """*pytorch* and *jax* (compiled, warm) say how many times longer these took; gradlab's own time is its
shortest. *most* is what *pytorch* would be if gradlab took no time but that of its matrix products: of the Jacobians,
or by the weights, along the tangents and forward.

Norms: products take half of the time, forming the matrices a tenth (of a GRU's two fifths), Lanczos, of each product
while it lies in the cache, a fifth. Tried: an SVD of each; Gram matrices, and Lanczos on those a step of all at once (2
to 3 times as long in all). To start from the singular vector of the step behind would save little: while the product is
short, the two stand at angles of sine 0.3 to 1, and later few steps are needed anyway. On more cores sequences are
shared out, which one core does not show.

Exponents: 25 times PyTorch is more than the products leave at H 128, and of an LSTM at H 64 (*most*). What is not
products is the formulas along tangents, which read and write all of these at each step, and Gram-Schmidt, at short T of
every second or third step: forty, for the standard errors. JAX does the same in one compiled loop, with a QR at every
step. Tried: LAPACK's QR of each sequence (four to twenty times Gram-Schmidt's time); tangents side by side, for one
product, where each has enough sequences to be one by itself (a GRU's exponents at H 64 take 1.2 times as long).
"""


def page(table: pd.DataFrame, cores: int) -> str:
    heading = f"# Long range, against PyTorch and JAX\n\n{timing.header(COMMAND, cores)}"
    return f"{heading}\n\n{NOTES}\n{medians(table)}"


if __name__ == "__main__":
    AXES = {"questions": QUESTIONS, "sizes": SIZES, "cells": CELLS}
    RIVALS: dict[str, timing.Build] = {"gradlab": gradlab, "pytorch": pytorch, "jax": jax, "products": products}
    timing.table(__doc__, "long_range", AXES, RIVALS, measured, page)
