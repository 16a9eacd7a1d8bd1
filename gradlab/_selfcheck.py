"""Comparison of a cell's derivatives with its step, for every cell, those of users included."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, is_dataclass
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradlab.arrays.scaled import Array, ldexp
from gradlab.bptt import Arriving, Columns, Gradients, Tape, backward, forward, parameter_gradients
from gradlab.cells import Cell
from gradlab.cells.base import State
from gradlab.errors import GradlabError, InputError
from gradlab.formatting import markup
from gradlab.jacobians.lyapunov import spectrum
from gradlab.jacobians.propagator import Propagator, product_log_singular_values
from gradlab.jacobians.steps import Jacobians

COMPLEX_STEP = 1e-30
DIFFERENCE_STEP = float(np.finfo(float).eps ** (1 / 3))
STEPS, BATCH = 6, 4


class Check(NamedTuple):
    """One comparison.

    Attributes
    ----------
    name : str
        The compared quantity.
    error : float
        The relative error; nan where the check does not apply, inf where a derivative is not a number.
    tolerance : float
        The largest error allowed.
    reason : str
        The reason for this tolerance.
    """

    name: str
    error: float
    tolerance: float
    reason: str

    @property
    def passed(self) -> bool:
        """True if the error is within the tolerance or the check does not apply."""
        return bool(np.isnan(self.error) or self.error <= self.tolerance)

    @property
    def word(self) -> str:
        """The outcome: "ok", "FAILED", or "—" where the check does not apply."""
        return "—" if np.isnan(self.error) else "ok" if self.passed else "FAILED"


@dataclass(frozen=True)
class SelfCheck:
    """The checks of one cell, shown as a table.

    Attributes
    ----------
    cell : str
        The repr of the cell.
    checks : tuple of Check
        The comparisons, in the order of the table.
    """

    cell: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """True if every check passed."""
        return all(check.passed for check in self.checks)

    def raise_if_failed(self) -> None:
        """Raise ``GradlabError`` with the table unless every check passed."""
        if not self.passed:
            raise GradlabError(repr(self))

    def __repr__(self) -> str:
        return markup.plain(self._title, self._rows())

    def _repr_html_(self) -> str:
        return markup.html(self._title, self._rows(), ("check", "error", "allowed", "", "why so much"))

    @property
    def _title(self) -> str:
        return f"selfcheck of {self.cell}: {'passed' if self.passed else 'FAILED'}"

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                check.name,
                "n/a" if np.isnan(check.error) else f"{check.error:.1e}",
                f"≤ {check.tolerance:.0e}",
                check.word,
                check.reason,
            )
            for check in self.checks
        ]


def selfcheck(cell: Cell, *, rng: int = 0) -> SelfCheck:
    """Compare a cell's derivatives with those of its own step, at ordinary and at saturated states.

    The step is taken as correct. The checks cover ``linearise``, ``jvp``, ``vjp``, ``parameter_pairs``, and the loop
    and the Jacobians that use them. They cover the meaning of ``pre_grad`` too: the total derivative of the loss with
    respect to each pre-activation (:meth:`gradlab.Cell.vjp`). A float32 cell is checked in float64.

    Parameters
    ----------
    cell : Cell
        The cell.
    rng : int
        Seed of the inputs, the initial states and the loss.

    Returns
    -------
    SelfCheck
        One check per quantity, with its error and its tolerance.

    Raises
    ------
    InputError
        for anything that is not a cell, and for a method whose result has not the structure that :class:`gradlab.Cell`
        asks for.

    Examples
    --------
    >>> import gradlab as gl
    >>> gl.selfcheck(gl.LSTM.init(2, 3, rng=0)).passed
    True
    """
    if not isinstance(cell, Cell):
        raise InputError(f"selfcheck takes a gradlab cell, got {type(cell).__name__}")
    with np.errstate(all="ignore"):
        _check_structure(_in_float64(cell))
        case = _Case(_in_float64(cell), np.random.default_rng(rng))
        own = cell.derivative_error
        return SelfCheck(repr(cell), tuple(c._replace(tolerance=max(c.tolerance, own)) for c in _checks(case)))


def _in_float64(cell: Cell) -> Cell:
    if cell.dtype == np.float64 or not is_dataclass(cell):
        return cell
    return cell.with_parameters({name: array.astype(np.float64) for name, array in cell.parameters.items()})


def _check_structure(cell: Cell) -> None:
    """Raise an InputError that names the first method of a cell whose result has not the structure of the contract."""
    x, before = np.zeros((1, cell.input_size, BATCH)), cell.split(np.zeros((cell.state_size, BATCH)))
    drive = cell.input_drive(x)
    if np.ndim(drive) != 3 or drive.shape[-1] != BATCH:
        raise InputError(f"input_drive must return an array (T, kH, B); got {_described(drive)}")
    many = len(cell.state_names)
    states = f"a tuple of {many} {'array' if many == 1 else 'arrays'} (…, H, N)"
    stepped = cell.step(drive[0], before)
    if not _is_pair(stepped) or not _is_state(stepped[0], cell) or not isinstance(stepped[1], dict):
        raise InputError(f"step must return (state, record), state {states}, record a dict; got {_described(stepped)}")
    after, record = stepped
    gates = len(cell.gate_names)
    if gates and "gates" not in record:
        names = ", ".join(cell.gate_names)
        raise InputError(f'step must keep the gates ({names}) in record["gates"]; got a record of {sorted(record)}')
    if gates and np.shape(record["gates"]) != (gates * cell.hidden_size, BATCH):
        found = _described(record["gates"])
        raise InputError(f'record["gates"] must stack {gates} blocks of H rows, (…, {gates}H, N); got {found}')
    local = cell.linearise(record, before, _plain(after))
    if not isinstance(local, tuple) or not all(hasattr(part, "shape") for part in local):
        raise InputError(f"linearise must return a NamedTuple of arrays (…, F, N); got {_described(local)}")
    pushed = cell.jvp(local, before)
    if not _is_state(pushed, cell):
        raise InputError(f"jvp must return {states}; got {_described(pushed)}")
    pulled = cell.vjp(local, before)
    if not _is_pair(pulled) or not _is_state(pulled[0], cell) or np.ndim(pulled[1]) != 2:
        raise InputError(
            f"vjp must return (state, pre_grad), state {states}, pre_grad an array (…, kH, N); got {_described(pulled)}"
        )


def _is_pair(found: Any) -> bool:
    return isinstance(found, tuple) and len(found) == 2


def _is_state(found: Any, cell: Cell) -> bool:
    """Return whether a value is a state of the cell: a tuple with one array (H, N) per name."""
    shapes = [(cell.hidden_size, BATCH)] * len(cell.state_names)
    return isinstance(found, tuple) and [np.shape(part) for part in found] == shapes


def _described(found: Any) -> str:
    """Return the type of a method's result, with shapes: ``(ndarray (5, 4), dict)``."""
    if isinstance(found, tuple):
        return f"({', '.join(map(_described, found))}{',' if len(found) == 1 else ''})"
    shape = f" {found.shape}" if isinstance(found, np.ndarray) else ""
    return f"{type(found).__name__}{shape}"


class _Case:
    """One pass of a cell over random data. Half of the sequences drive it into saturation."""

    def __init__(self, cell: Cell, rng: np.random.Generator) -> None:
        self.cell, self.rng = cell, rng
        spread = np.where(np.arange(BATCH) < BATCH // 2, 1.0, 6.0)
        self.x = rng.standard_normal((STEPS, cell.input_size, BATCH)) * spread
        self.initial = rng.standard_normal((cell.state_size, BATCH)) * spread
        self.arriving = rng.standard_normal((STEPS + 1, cell.hidden_size, BATCH))
        self.arriving[0] = 0.0
        self.tape, self.gradients = self.run(cell, slice(None))

    def run(self, cell: Cell, sequences: slice) -> tuple[Tape, Gradients]:
        """Return the forward and backward pass over some of the sequences."""
        tape = forward(cell, self.x[..., sequences], self.initial[..., sequences])
        return tape, backward(tape, Arriving.everywhere(Columns.of(self.arriving[..., sequences])))

    def last_state(self, cell: Cell, initial: Array, x: Array) -> Array:
        """Return s_T, computed by the cell's step alone, without tape or derivative."""
        return self.states(cell, initial, x)[-1]

    def states(self, cell: Cell, initial: Array, x: Array) -> list[Array]:
        """Return the joint states s_1 … s_T, computed by the cell's step alone."""
        drive, state, found = cell.input_drive(x), cell.split(initial), []
        for at_t in drive:
            state = _plain(cell.step(at_t, state)[0])
            found.append(np.concatenate(state, axis=-2))
        return found

    def loss(self, cell: Cell, initial: Array, x: Array) -> Array:
        """Return Σ_t v_t · h_t per sequence, ``(B,)``, computed by the cell's step alone."""
        H = cell.hidden_size
        pairs = zip(self.arriving[1:], self.states(cell, initial, x), strict=True)
        return np.asarray(sum((v * s[:H]).sum(axis=0) for v, s in pairs))


def _plain(state: State) -> State:
    return tuple(np.array(part) for part in state)


def _checks(case: _Case) -> Iterator[Check]:
    _cell, (_, _, B), S = case.cell, case.x.shape, case.cell.state_size
    J = Jacobians(case.tape)
    dense = np.stack([J.dense(t) for t in range(1, STEPS + 1)])
    applied = J @ np.broadcast_to(np.eye(S), J.shape)
    one_step = _one_step_map(case)
    by_complex = _complex_slopes(one_step, S)
    by_difference = _difference_slopes(one_step, S)
    exact, near = "no cancellation: rounding only", "truncation and rounding of ε^(1/3)"
    through = "differences through the whole pass"
    size = max(1.0, float(np.abs(case.tape.states).max()))
    yield Check("complex step", _error(applied, by_complex), 1e-13, exact)
    yield Check("central differences", _error(applied, by_difference), 1e-8 * size, near)
    yield Check("dense = J applied to units", _error(dense, applied), 1e-13, "identity: rounding only")
    yield Check("dot test ⟨u, Jv⟩ = ⟨Jᵀu, v⟩", _dot_test(case), 1e-12, "identity: rounding only")
    whole = _whole_map(case)
    product = np.moveaxis(propagator(list(np.moveaxis(applied, 1, -1))), -1, 0)
    chained = _complex_slopes(whole, S)
    if chained is None:
        yield Check("product order", _error(product, _difference_slopes(whole, S)), 1e-5, through)
    else:
        yield Check("product order", _error(product, chained), 1e-12, exact)
    whole_propagator = Propagator(case.tape, 0, STEPS)
    yield Check("propagator = dense product", _error(whole_propagator.dense(), product), 1e-12, "another order")
    yield Check("ln σ of P and of Pᵀ", _transposed_error(case), 1e-8, "relative accuracy where cond J_t < 1e7")
    yield Check("Σ λ_i = mean ln|det J|", _sum_rule_error(case), 1e-9, "identity where cond J_t < 1e7")
    yield _pre_activation_check(case, size)
    yield Check("adjoint of the whole loss", _adjoint_error(case), 1e-5, through)
    yield Check("input gradient", _input_error(case), 1e-5, through)
    yield _parameter_check(case, through)
    yield Check("batch = stack of singles", _batch_error(case, B), 1e-12, "another order of the same sums")


def _pre_activation_check(case: _Case, size: float) -> Check:
    """Compare ``pre_grad`` with dL/d(drive), and ∂a_k/∂(drive_k) with I, for a cell that names its pre-activations."""
    name, cell, tape = "pre-activation gradients", case.cell, case.tape
    if not cell.block_names:
        return Check(name, float("nan"), 1e-12, "the cell names no pre-activation")
    H, rows = cell.hidden_size, cell.hidden_size * len(cell.block_names)
    drive, before = cell.input_drive(case.x), tape.states[:-1]
    adjoint = case.rng.spawn(1)[0].standard_normal(tape.states[1:].shape)
    pre_grad = cell.vjp(tape.linearise(slice(0, STEPS)), cell.split(adjoint))[1]
    if {drive.shape[-2], pre_grad.shape[-2]} != {rows}:
        came = f"drive has {drive.shape[-2]} and pre_grad {pre_grad.shape[-2]}"
        return Check(name, float("inf"), 1e-12, f"blocks of {H} per name are {rows} rows, {came}")

    def moved(shift: Array) -> Array:
        after, record = cell.step(drive + shift, cell.split(before.astype(shift.dtype)))
        a = record.get("a", drive + shift)
        return np.swapaxes(np.concatenate([*after, a], axis=-2), -1, -2)

    exact = _complex_slopes(moved, rows)
    slopes = _difference_slopes(moved, rows) if exact is None else exact
    by_state, by_drive = slopes[..., : cell.state_size, :], slopes[..., cell.state_size :, :]
    expected = np.einsum("tsb,tbsk->tkb", adjoint, by_state)
    errors = []
    for k in range(len(cell.block_names)):
        rows_of = slice(k * H, (k + 1) * H)
        errors.append(_error(pre_grad[:, rows_of], expected[:, rows_of]))
        own = by_drive[..., rows_of, rows_of]
        errors.append(_error(own, np.broadcast_to(np.eye(H), own.shape)))
    reason = "dL/d(drive): total derivative, s_{t−1} fixed"
    return Check(name, max(errors), 1e-12 if exact is not None else 1e-8 * size, reason)


def propagator(jacobians: list[Array]) -> Array:
    """Return ``P = J_T … J_1``, ``(S, S, B)``, with later steps to the left, from Jacobians in order of time."""
    return reduce(lambda product, J: np.einsum("ijb,jkb->ikb", J, product), jacobians[1:], jacobians[0])


def _error(found: Array, expected: Array | None) -> float:
    """Return ‖found − expected‖/‖expected‖; nan where ``expected`` is None."""
    if expected is None:
        return float("nan")
    size = np.linalg.norm(expected)
    distance = np.linalg.norm(found - expected)
    return _number(distance / size if size else distance)


def _number(error: Any) -> float:
    """Return an error as a float. One that is not a number is infinite, because nan means that no check applies."""
    return float("inf") if np.isnan(error) else float(error)


def _one_step_map(case: _Case) -> Callable[[Array], Array]:
    """Return the map of a perturbation ``(S, 1)`` of every s_{t−1} to every s_t, ``(T, B, S)``."""
    cell = case.cell
    drive, before = cell.input_drive(case.x), case.tape.states[:-1]

    def after(shift: Array) -> Array:
        state = cell.step(drive, cell.split(before + shift))[0]
        return np.swapaxes(np.concatenate(state, axis=-2), -1, -2)

    return after


def _whole_map(case: _Case) -> Callable[[Array], Array]:
    """Return the map of a perturbation ``(S, 1)`` of s_0 to s_T, ``(B, S)``."""
    return lambda shift: case.last_state(case.cell, case.initial + shift, case.x).swapaxes(-1, -2)


def _complex_slopes(function: Callable[[Array], Array], size: int) -> Array | None:
    """Return the Jacobian ``(…, m, size)`` by the complex step; None where the function takes no complex numbers."""
    try:
        moved = [function(1j * COMPLEX_STEP * unit[:, None]) for unit in np.eye(size)]
    except (TypeError, ValueError):
        return None
    if not all(np.iscomplexobj(one) for one in moved):
        return None
    return np.stack([one.imag / COMPLEX_STEP for one in moved], axis=-1)


def _difference_slopes(function: Callable[[Array], Array], size: int) -> Array:
    """Return the Jacobian ``(…, m, size)`` by central differences."""
    slopes = [
        (function(DIFFERENCE_STEP * unit[:, None]) - function(-DIFFERENCE_STEP * unit[:, None]))
        / (2.0 * DIFFERENCE_STEP)
        for unit in np.eye(size)
    ]
    return np.stack(slopes, axis=-1)


def _dot_test(case: _Case) -> float:
    J = Jacobians(case.tape)
    u, v = case.rng.standard_normal((2, *J.shape[:3]))
    forward_product, backward_product = (u * (J @ v)).sum(axis=-1), ((J.T @ u) * v).sum(axis=-1)
    size = np.abs(u * (J @ v)).sum(axis=-1)
    return _number((np.abs(forward_product - backward_product) / np.where(size > 0, size, 1.0)).max())


def _transposed_error(case: _Case) -> float:
    """Return the largest difference in ln σ between the product and its transpose; nan if all J are near-singular."""
    one, two = (product_log_singular_values(case.tape, 0, STEPS, transposed=flag) for flag in (False, True))
    return _largest(np.abs(one - two).max(axis=-1)[_regular(case)])


def _sum_rule_error(case: _Case) -> float:
    """Return the largest error of the sum rule, in nats per step; nan if all J are near-singular."""
    exponents = spectrum(case.tape, case.cell.state_size).per_sequence.sum(axis=-1)
    return _largest(np.abs(exponents - Jacobians(case.tape).log_abs_det().mean(axis=0))[_regular(case)])


def _regular(case: _Case) -> NDArray[np.bool_]:
    """Return the sequences all of whose J_t have condition numbers below 1e7, so that the smallest σ keeps digits."""
    values = Jacobians(case.tape).singular_values()
    return np.asarray((values[..., -1] > 1e-7 * values[..., 0]).all(axis=0))


def _largest(errors: Array) -> float:
    return _number(errors.max()) if errors.size else float("nan")


def _adjoint_error(case: _Case) -> float:
    found = ldexp(case.gradients.adjoint[0], case.gradients.exponent[0])
    slopes = _difference_slopes(lambda e: case.loss(case.cell, case.initial + e, case.x), case.cell.state_size)
    return _error(found.T, slopes)


def _input_error(case: _Case) -> float:
    gradient = case.gradients.input
    found = ldexp(gradient.mantissa, gradient.exponent[:, None, :])
    direction = case.rng.standard_normal(case.x.shape)
    ahead, behind = (
        case.loss(case.cell, case.initial, case.x + sign * DIFFERENCE_STEP * direction) for sign in (1, -1)
    )
    slope = (ahead - behind) / (2.0 * DIFFERENCE_STEP)
    return _error((found * direction).sum(axis=(0, 1)), slope)


def _parameter_check(case: _Case, reason: str) -> Check:
    """Compare a directional derivative by each parameter with its gradient; a failure names the worst parameter."""
    name, tolerance, cell = "parameter gradients", 1e-5, case.cell
    if not cell.parameters or not is_dataclass(cell):
        return Check(name, float("nan"), tolerance, reason)
    found = parameter_gradients(case.gradients.pairs, case.gradients.exponent[1:])
    if missing := [key for key in cell.parameters if key not in found]:
        return Check(name, float("inf"), tolerance, f"parameter_pairs has no {', '.join(missing)}")
    gradients = {key: ldexp(mantissa, np.asarray(exponent)) for key, (mantissa, exponent) in found.items()}
    directions = {key: case.rng.standard_normal(gradient.shape) for key, gradient in gradients.items()}
    errors = {key: _directional_error(case, key, gradients[key], directions[key]) for key in gradients}
    worst = max(errors, key=lambda key: errors[key])
    if errors[worst] > tolerance:
        reason = f"{reason}; worst: {_worst_rows(case, worst, gradients[worst], directions[worst])}"
    return Check(name, errors[worst], tolerance, reason)


def _directional_error(case: _Case, name: str, gradient: Array, direction: Array) -> float:
    """Return the relative error of the mean loss's derivative when one parameter moves in a direction."""
    cell = case.cell
    ahead, behind = (
        case.loss(
            cell.with_parameters({name: cell.parameters[name] + sign * DIFFERENCE_STEP * direction}),
            case.initial,
            case.x,
        ).mean()
        for sign in (1, -1)
    )
    slope = np.asarray((ahead - behind) / (2.0 * DIFFERENCE_STEP))
    return _number(np.abs((gradient * direction).sum() - slope) / _size(gradient * (direction != 0.0), slope))


def _worst_rows(case: _Case, name: str, gradient: Array, direction: Array) -> str:
    """Return a parameter's name, with the block of rows that is worst if it has one block per pre-activation."""
    blocks, H = case.cell.block_names, case.cell.hidden_size
    if len(blocks) < 2 or len(gradient) != len(blocks) * H:
        return name
    errors = []
    for k in range(len(blocks)):
        alone = np.zeros_like(direction)
        alone[k * H : (k + 1) * H] = direction[k * H : (k + 1) * H]
        errors.append(_directional_error(case, name, gradient, alone))
    return f"{name}, rows of block {blocks[int(np.argmax(errors))]}"


def _size(gradient: Array, slope: Array) -> float:
    """Return the unit of a directional derivative's error. A direction may be nearly orthogonal to the gradient."""
    return max(float(np.linalg.norm(gradient)), abs(float(slope)), float(np.finfo(float).tiny))


def _batch_error(case: _Case, batch: int) -> float:
    singles = [case.run(case.cell, slice(b, b + 1)) for b in range(batch)]
    states = np.concatenate([tape.states for tape, _ in singles], axis=-1)
    adjoints = np.concatenate([ldexp(g.adjoint, g.exponent[:, None, :]) for _, g in singles], axis=-1)
    whole = ldexp(case.gradients.adjoint, case.gradients.exponent[:, None, :])
    return max(_error(case.tape.states, states), _error(whole, adjoints))
