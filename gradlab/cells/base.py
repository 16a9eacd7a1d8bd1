"""The contract of a recurrence: everything that gradlab asks of a cell stands in :class:`Cell`.

A cell works on *columns*: arrays ``(…, F, N)``, features × N sequences, with any leading axes. ``W @ h`` then reads as
in the paper. One sequence, a batch, all steps and K tangents run through the same lines, and the loop, the Jacobians
and the self-check share them. A state is a tuple of such arrays, one per name in ``state_names``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from gradlab.arrays.checks import choice, float_array
from gradlab.arrays.scaled import Array
from gradlab.cells.initialisers import INIT_KEYS
from gradlab.cells.keep_gate import KeepGate
from gradlab.errors import InputError
from gradlab.native.compiled import compiled
from gradlab.native.pool import empty
from gradlab.options import Option

State = tuple[Array, ...]
Record = dict[str, Array]
#: The arrays into which a step writes its results: the next state and the record.
Out = tuple[State, Record]
#: Factors of one block of a parameter's gradient: Σ_{t,b} left ⊗ right; ``right`` None for a bias.
Pair = tuple[Array, Array | None]
#: A change that a suggestion can try: takes the cell and a value, returns the attributes that change.
Intervention = Callable[[Any, Any], Mapping[str, Any]]
#: What may saturate: the activation's name ("tanh", "logistic", "relu", "identity") and its values ``(T, H, B)``.
Units = tuple[str, Array]

#: BLAS libraries have kernels for products of up to 100³ multiplications. Beyond that they pack the matrices and wake
#: threads, which does not pay for a product a few times larger: cut into small parts it takes half the time.
SMALL = 100**3
#: Up to this many inputs the weights are cheap to copy, and the bias becomes one more column of them.
FEW = 32


class Cell(ABC):
    """A recurrence: what it declares about itself, one step forward, and the step's two derivatives.

    A cell is a frozen dataclass. Its fields are its parameters (arrays) and its options. A cell in
    :data:`gradlab.cells.CELLS` can be used by name in studies, files and the command line; any other subclass works in
    :func:`gradlab.trace` and :func:`gradlab.selfcheck`.

    **Required:** ``name``, ``block_names``, :meth:`step`, :meth:`linearise`, :meth:`jvp`, :meth:`vjp`; for a place in
    ``CELLS`` also :meth:`init`. Everything else has a default, given below.

    The pre-activations a_t are what the activations of a step are applied to. ``pre_grad`` is the *total* gradient
    ∂L/∂a_t: it counts every effect of a_t, also the effect on another pre-activation of the same step. Every parameter
    gradient and ∂L/∂x_t then follow from ``pre_grad`` alone.

    Attributes
    ----------
    name : str
        The name in ``CELLS``, studies and files.
    block_names : tuple of str
        The pre-activations, in the order of ``drive``, of ``record["a"]`` and of the ``pre_grad`` that ``vjp``
        returns: one block of H rows per name.
    state_names : tuple of str, default ("h",)
        The states, H units each. The first is the cell's output sequence.
    gate_names : tuple of str, default ()
        The gates and candidates that ``step`` keeps in ``record["gates"]``, stacked in this order, H rows each.
    candidate_names : tuple of str, default ()
        Those of ``gate_names`` that are tanh units; the others are logistic.
    parameter_names : tuple of str, default ("W_xh", "W_hh", "b_h")
        The attributes that hold parameters. They are trained, stored, and have gradients (:meth:`parameter_pairs`).
    additive_state : int, optional
        The place in ``state_names`` of the state that is updated additively; None where there is none. A cell with
        one defines :meth:`additive` and :attr:`keep_gate`.
    vanilla : bool, default False
        Whether the step is ``h_t = φ(drive + W_hh h_{t−1})`` with ``activation`` φ. Mean-field theory and Pascanu's
        regulariser hold for such cells.
    INIT_KEYS : mapping of str to Option
        The keywords of :meth:`init` in addition to sizes, options, ``rng`` and ``dtype``: a study's ``init.<key>``.
    OPTION_KEYS : mapping of str to Option, default {}
        The fields that are options: a study's ``<name>.<key>``, stored in files, shown by ``repr``.
    INTERVENTIONS : mapping of str to Intervention, default {}
        The changes that a suggestion can try, by key. Each is a function ``(cell, value) -> {attribute: array}``;
        :mod:`gradlab.cells.interventions` has the usual ones. Keys that suggestions use: "scale_by" (factor of W_hh),
        "recurrent", "bias" (draws and clears W_hh and b_h), "chrono", and the keep gate's own key.
    derivative_error : float, default 0
        Relative error of the cell's own derivatives; 0 where they are formulas.
    of_ufuncs : bool, default False
        Whether ``step``, ``jvp`` and ``vjp``, given ``out``, only call ufuncs on views of their arguments, of the
        parameters, and of each other's results, and :attr:`kind` and the shapes determine which. Their loops then run
        in compiled code (:mod:`gradlab.native.loop`). The flag is not inherited.
    """

    name: ClassVar[str]
    state_names: ClassVar[tuple[str, ...]] = ("h",)
    gate_names: ClassVar[tuple[str, ...]] = ()
    candidate_names: ClassVar[tuple[str, ...]] = ()
    block_names: ClassVar[tuple[str, ...]] = ()
    parameter_names: ClassVar[tuple[str, ...]] = ("W_xh", "W_hh", "b_h")
    additive_state: ClassVar[int | None] = None
    vanilla: ClassVar[bool] = False
    derivative_error: float = 0.0
    INIT_KEYS: ClassVar[Mapping[str, Option]] = INIT_KEYS
    OPTION_KEYS: ClassVar[Mapping[str, Option]] = {}
    INTERVENTIONS: ClassVar[Mapping[str, Intervention]] = {}
    of_ufuncs: ClassVar[bool] = False
    _in_place: ClassVar[set[str]]

    W_xh: Array
    W_hh: Array
    b_h: Array

    if TYPE_CHECKING:

        def __init__(self, *parameters: Any, **parameters_and_options: Any) -> None:
            """Take parameters and options by name, as the dataclass of a cell does."""

    # --- what every recurrence defines --------------------------------------------------------------

    @abstractmethod
    def step(self, drive: Array, state: State) -> tuple[State, Record]:
        """Return the next state, and a record of what the derivatives need.

        Parameters
        ----------
        drive : array (…, kH, N)
            What :meth:`input_drive` made of the inputs; W_xh x_t + b_h by default.
        state : tuple of arrays (…, H, N)
            s_{t−1}, one array per state.

        Returns
        -------
        state : tuple of arrays (…, H, N)
            s_t.
        record : dict of arrays (…, F, N)
            Anything that :meth:`linearise` needs. ``"gates"`` holds the gates of a cell with ``gate_names``.
        """

    @abstractmethod
    def linearise(self, record: Record, before: State, after: State) -> Any:
        """Return the step's derivative in factored form: a NamedTuple of arrays ``(…, F, N)`` for ``jvp`` and ``vjp``.

        ``before`` is s_{t−1}, ``after`` is s_t. The leading axes are those of many steps at once.
        """

    @abstractmethod
    def jvp(self, local: Any, tangent: State) -> State:
        """Return J v, where ``J = ∂s_t/∂s_{t−1}`` is the Jacobian of the joint state."""

    @abstractmethod
    def vjp(self, local: Any, adjoint: State) -> tuple[State, Array]:
        """Return Jᵀ δ and the pre-activation gradients ``pre_grad (…, kH, N)``, blocks in the order of ``block_names``.

        Block k of ``pre_grad`` is dL/da_k, the total derivative of the loss with respect to the pre-activation a_k.
        It counts every path from a_k within the step: through its own gate, other pre-activations and the states.
        The step adds block k of ``drive`` to a_k, so that ``pre_grad`` equals dL/d(drive) with s_{t−1} held fixed.
        Gradients of the input and of its weights are therefore products: ``W_xhᵀ pre_grad`` and ``Σ pre_grad x_tᵀ``.
        :func:`gradlab.selfcheck` compares ``pre_grad`` with this derivative.
        """

    # --- what a cell with a name in CELLS defines ---------------------------------------------------

    @classmethod
    def init(cls, input_size: int, hidden_size: int, *args: Any, **keys: Any) -> Self:
        """Draw the parameters and return a cell.

        Parameters
        ----------
        input_size, hidden_size : int
            D and H.
        **keys
            All are keyword-only and have defaults: every key of ``INIT_KEYS`` (by default recurrent, scale, input,
            input_scale, bias), every key of ``OPTION_KEYS``, ``rng`` (a seed or a Generator) and ``dtype`` ("float64"
            or "float32"). The same ``rng`` gives the same draws at every ``scale``.

        Raises
        ------
        InputError
            for a value that is refused, and for a class that defines no ``init``.
        """
        raise InputError(f"{cls.__name__} defines no init; construct it from its parameters")

    # --- what a cell with an additive path defines --------------------------------------------------

    @property
    def keep_gate(self) -> KeepGate | None:
        """The gate that decides how much of the additive state is kept; None for a cell without one."""
        return None

    def additive(self, local: Any) -> Array:
        """Return the factor with which the additive state enters its next value, elementwise ``(…, H, N)``."""
        raise InputError(f"{self!r} has no additive state")

    # --- what most recurrences leave as it is -------------------------------------------------------

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._in_place = {name for name in ("step", "jvp", "vjp") if "out" in signature(getattr(cls, name)).parameters}

    @property
    def label(self) -> str:
        """How a verdict names the cell."""
        return type(self).__name__

    def units(self, record: Record, after: State) -> dict[str, Units]:
        """Return the activations that may saturate or fall silent, by name; the gates by default.

        ``record`` and ``after`` are those of all steps, ``(T, F, B)``.
        """
        H = self.hidden_size
        return {
            name: ("tanh" if name in self.candidate_names else "logistic", block(record["gates"], k, H))
            for k, name in enumerate(self.gate_names)
        }

    @property
    def constants(self) -> list[Array] | None:
        """The arrays that steps read besides their arguments, for a cell that is ``of_ufuncs``; else None."""
        return list(self.parameters.values()) if vars(type(self)).get("of_ufuncs") else None

    @property
    def kind(self) -> tuple[Any, ...]:
        """The class and its options, which determine, with the shapes, the ufuncs that a step calls."""
        return (type(self), *(getattr(self, key) for key in self.OPTION_KEYS))

    @classmethod
    def probe_columns(cls, name: str) -> slice:
        """Return the columns to use when probing the shapes of the results of ``step`` or ``vjp``.

        One column suffices for a cell that accepts ``out``. Another cell may be compiled for each width: use all.
        """
        return slice(1) if name in cls._in_place else slice(None)

    def step_into(self, drive: Array, state: State, out: Out) -> None:
        """Write the results of :meth:`step` into ``out``; a copy, unless the cell's ``step`` accepts ``out``."""
        if "step" in self._in_place:
            self.step(drive, state, out)  # type: ignore[call-arg]
        else:
            after, record = self.step(drive, state)
            _write((*out[0], *out[1].values()), (*after, *record.values()))

    def jvp_into(self, local: Any, tangent: State, out: State) -> None:
        """Write the result of :meth:`jvp` into ``out``, which may be ``tangent`` itself.

        This is a copy, unless the cell's ``jvp`` accepts ``out``.
        """
        if "jvp" in self._in_place:
            self.jvp(local, tangent, out)  # type: ignore[call-arg]
        else:
            _write(out, self.jvp(local, tangent))

    def vjp_into(self, local: Any, adjoint: State, out: tuple[State, Array]) -> None:
        """Write the results of :meth:`vjp` into ``out``; a copy, unless the cell's ``vjp`` accepts ``out``."""
        if "vjp" in self._in_place:
            self.vjp(local, adjoint, out)  # type: ignore[call-arg]
        else:
            before, pre_grad = self.vjp(local, adjoint)
            _write((*out[0], out[1]), (*before, pre_grad))

    @property
    def input_size(self) -> int:
        """D, the number of inputs."""
        return int(self.W_xh.shape[1])

    @property
    def hidden_size(self) -> int:
        """H, the size of one state."""
        return int(self.W_hh.shape[1])

    @property
    def state_size(self) -> int:
        """S, the size of the joint state: H times the number of states."""
        return self.hidden_size * len(self.state_names)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The floating-point type in which the cell runs."""
        return self.W_hh.dtype

    def input_drive(self, x: Array) -> Array:
        """Return ``W_xh x_t + b_h`` for all steps at once, ``(T, D, B)`` → ``(T, kH, B)``.

        Blocks of ``b_h`` below the last row of W_xh belong to pre-activations without an input.
        """
        return affine(self.W_xh, self.b_h, x)

    def input_vjp(self, pre_grad: Array) -> Array:
        """Return dL/dx from the pre-activation gradients, ``(…, kH, N)`` → ``(…, D, N)``."""
        return np.asarray(self.W_xh.T @ pre_grad)

    def teacher_force(self, drive: Array, states: Array) -> tuple[Record, Array]:
        """Take all steps at once from known outputs, and fill in the other states.

        Parameters
        ----------
        drive : array (T, kH, B)
        states : array (T+1, S, B)
            Holds h at every t, and the other states at t = 0; the rest is written here.

        Returns
        -------
        record : dict of arrays (T, F, B)
        h : array (T, H, B)
            The output of each step, computed from the given h before it.

        Raises
        ------
        InputError
            for a cell of several states that does not override this method.
        """
        if len(self.state_names) > 1:
            raise InputError(f"{self!r} cannot be followed from its h alone")
        after, record = self.step(drive, (states[:-1],))
        return record, after[0]

    def total(self, local: Any, adjoint: State) -> State:
        """Return the total gradients dL/ds_t: the adjoint itself, unless one state of a step feeds another."""
        return adjoint

    def dense(self, local: Any) -> Array:
        """Return J as matrices ``(N, S, S)`` for factors ``(F, N)``; by default J applied to the S unit vectors."""
        S, N = self.state_size, local[0].shape[-1]
        unit = np.ascontiguousarray(np.broadcast_to(np.eye(S, dtype=self.dtype)[:, :, None], (S, S, N)))
        columns = np.concatenate(self.jvp(local, self.split(unit)), axis=-2)
        return np.ascontiguousarray(np.moveaxis(columns, (2, 1, 0), (0, 1, 2)))

    def log_abs_det(self, local: Any) -> Array | None:
        """Return ln|det J|, ``(…, N)``, in closed form; None where a recurrence has none."""
        return None

    def frobenius_squared(self, local: Any) -> tuple[Array, Array] | None:
        """Return ‖J‖_F² in closed form, ``(…, N)``, and the sum of the positive terms in it; None without such a form.

        The ratio of the two measures how much of ‖J‖_F² cancellation has left.
        """
        return None

    def parameter_pairs(self, record: Record, before: State, pre_grad: Array, x: Array) -> dict[str, list[Pair]]:
        """Return the factors of each parameter's gradient, ``Σ left ⊗ right``, one pair per block of its rows.

        Parameters
        ----------
        record : dict of arrays (T, F, B)
        before : tuple of arrays (T, H, B)
            The states s_{t−1}.
        pre_grad : array (T, kH, B)
        x : array (T, D, B)

        Returns
        -------
        dict of list of (left, right)
            ``left (T, F, B)`` and ``right (T, G, B)`` give the rows of a matrix ``(F, G)``; ``right`` is None for a
            bias ``(F,)``. Reuse one array object as ``left`` where possible: its products are then computed at once.
        """
        return {"W_xh": [(pre_grad, x)], "W_hh": [(pre_grad, before[0])], "b_h": [(pre_grad, None)]}

    @property
    def parameters(self) -> dict[str, Array]:
        """The parameters by name."""
        return {name: getattr(self, name) for name in self.parameter_names}

    def with_parameters(self, changed: Mapping[str, Array]) -> Self:
        """Return the cell, a dataclass of its parameters, with some of them replaced."""
        return replace(self, **changed)  # type: ignore[type-var]

    def split(self, joint: Array) -> State:
        """Return the states as views of a joint array ``(…, S, N)``."""
        H = self.hidden_size
        return tuple(joint[..., i * H : (i + 1) * H, :] for i in range(len(self.state_names)))

    def __repr__(self) -> str:
        options = "".join(f", {key}={_shown(getattr(self, key))}" for key in self.OPTION_KEYS)
        sizes = f"input_size={self.input_size}, hidden_size={self.hidden_size}"
        return f"{type(self).__name__}({sizes}{options}, {self.dtype})"


def _shown(option: Any) -> str:
    """Return an option as ``repr`` shows it; an array is shown as its range."""
    return f"{option.min():.3g}…{option.max():.3g}" if isinstance(option, np.ndarray) else repr(option)


def _write(targets: Iterable[Array], arrays: Iterable[Array]) -> None:
    for target, array in zip(targets, arrays, strict=True):
        target[...] = array


def affine(W: Array, b: Array, x: Array) -> Array:
    """Return ``W x_t + b`` for all steps at once, ``(T, D, B)`` → ``(T, F, B)``.

    ``b (F,)`` may have more rows than W: the rows of W that are missing count as zeros.
    """
    D, N = x.shape[-2:]
    if D > FEW:
        drive = np.matmul(W, x)
        if len(b) > len(W):
            drive = np.concatenate([drive, np.zeros((*x.shape[:-2], len(b) - len(W), N), drive.dtype)], axis=-2)
        drive += b[:, None]
        return np.asarray(drive)
    weights = np.zeros((len(b), D + 1), W.dtype)
    weights[: len(W), :-1], weights[:, -1] = W, b
    with_one = np.empty((*x.shape[:-2], D + 1, N), x.dtype)
    with_one[..., :-1, :], with_one[..., -1, :] = x, 1.0
    return np.asarray(np.matmul(weights, with_one))


def product(W: Array, columns: Array, out: Array | None = None) -> Array:
    """Return ``W @ columns``. For one step's columns ``(F, N)`` the rows of W are cut into parts of small products.

    Columns ``(K, F, N)`` whose memory is laid out as ``(F, K·N)`` are multiplied in that shape, as one product.
    """
    (size, inner), N = W.shape, columns.shape[-1]
    if columns.ndim == 3 and out is None and _side_by_side(columns):
        flat = columns.swapaxes(0, 1).reshape(inner, -1)
        return product(W, flat).reshape(size, -1, N).swapaxes(0, 1)
    if columns.ndim > 2 or N == 1 or size * inner * N <= SMALL:
        return np.matmul(W, columns, out=out)
    parts = _parts(size, inner * N)
    if out is None:
        out = np.empty((size, N), np.result_type(W, columns))
    np.matmul(W.reshape(parts, size // parts, inner), columns, out=out.reshape(parts, size // parts, N))
    return out


def _side_by_side(columns: Array) -> bool:
    K, _, N = columns.shape
    item = columns.itemsize
    return K > 1 and columns.strides == (N * item, K * N * item, item)


@cache
def _parts(size: int, each: int) -> int:
    """Return the smallest number of equal parts whose products are small; a row takes ``each`` multiplications."""
    return next((n for n in range(1, size) if size % n == 0 and size // n * each <= SMALL), size)


@compiled
def scaled_rows(factors: Array, matrices: Array, diagonal: Array, out: Array | None = None) -> Array:
    """Factors ``(…, K, H)``, matrices ``(…, K, H, H)``, a diagonal ``(…, H)`` → Σ_k diag(f_k) M_k + diag(diagonal)."""
    by, unit = factors[..., None], np.arange(factors.shape[-1])
    answer = np.multiply(by[..., 0, :, :], matrices[..., 0, :, :], out=out)
    for k in range(1, factors.shape[-2]):
        answer += by[..., k, :, :] * matrices[..., k, :, :]
    answer[..., unit, unit] += diagonal
    return np.asarray(answer)


def rows_and_diagonal(W: Array, by: Array, keep: Array) -> Array:
    """Return ``diag(keep) + diag(by) W`` as ``(N, H, H)``, for ``by (H, N)`` and ``keep (H,)`` or ``(N, H)``."""
    return np.asarray(scaled_rows(by_matrix(by), W[None], keep, out=empty((by.shape[-1], *W.shape), W.dtype)))


def rows_and_diagonal_product(W: Array, by: Array, keep: Array, v: Array, out: Array | None) -> Array:
    """Return ``(diag(keep) + diag(by) W) v`` for columns ``v (…, H, N)``, written into ``out`` if it is given."""
    pushed = product(W, v)
    pushed *= by
    kept = np.multiply(keep, v, out=out)
    kept += pushed
    return np.asarray(kept)


def rows_and_diagonal_squared(W: Array, by: Array, keep: Array) -> tuple[Array, Array]:
    """Return ‖diag(keep) + diag(by) W‖_F² for factors ``(…, H, N)``, and the sum of the squared terms in it."""
    parts = ((W**2).sum(axis=1)[:, None] * by**2 + keep**2).sum(axis=-2)
    crossed = (2.0 * np.diagonal(W)[:, None] * by * keep).sum(axis=-2)
    return parts + crossed, parts


def by_matrix(*factors: Array) -> Array:
    """Return K factors ``(H, N)`` as ``(N, K, H)``, the layout of :func:`scaled_rows`."""
    return np.ascontiguousarray(np.stack(factors).transpose(2, 0, 1))


def in_cache(count: int, size: int) -> list[slice]:
    """Return slices that cut ``count`` matrices of ``size`` numbers into stretches of 128 KiB of float64."""
    length = max(1, 2**14 // size)
    return [slice(start, min(start + length, count)) for start in range(0, count, length)]


def block(array: Array, index: int, size: int) -> Array:
    """Return block ``index`` of ``size`` rows of ``array (…, kH, N)``, a view."""
    return array[..., index * size : (index + 1) * size, :]


def in_blocks(array: Array, count: int) -> tuple[Array, ...]:
    """Return the ``count`` blocks of rows of ``array (…, count·H, N)``, views."""
    return tuple(block(array, k, array.shape[-2] // count) for k in range(count))


def stacked(columns: Array, blocks: int) -> Array:
    """Return an uninitialised array ``(…, kH, N)`` of k ``blocks``, each of the shape of ``columns (…, H, N)``."""
    return np.empty_like(columns, shape=(*columns.shape[:-2], blocks * columns.shape[-2], columns.shape[-1]))


def checked_weights(
    W_xh: object, W_hh: object, b_h: object, blocks: int, *, bias_blocks: int | None = None
) -> dict[str, Array]:
    """Check that the weights are ``(kH, D)``, ``(kH, H)`` and ``(kH,)``, and return them by name.

    A bias of None becomes a zero bias. ``bias_blocks`` is the number of blocks of ``b_h`` where that is not k.

    Raises
    ------
    InputError
        names the array, the expected shape and the given one.
    """
    recurrent = float_array("W_hh", W_hh, ("kH" if blocks > 1 else "H", "H"))
    rows, hidden = recurrent.shape
    if rows != blocks * hidden:
        gates = f"{blocks} blocks of H rows and H columns" if blocks > 1 else "as many rows as columns"
        raise InputError(f"W_hh must have {gates}, got {recurrent.shape}")
    inputs = float_array("W_xh", W_xh, (rows, "D"))
    length = rows if bias_blocks is None else bias_blocks * hidden
    bias = np.zeros(length, recurrent.dtype) if b_h is None else float_array("b_h", b_h, (length,))
    return {"W_xh": inputs, "W_hh": recurrent, "b_h": bias}


def store_weights(owner: object, arrays: Mapping[str, Array]) -> None:
    """Check that all arrays have one dtype, and store them, contiguous, as attributes of a frozen dataclass.

    Raises
    ------
    InputError
        names the dtype of each array.
    """
    kinds = {name: array.dtype.name for name, array in arrays.items()}
    if len(set(kinds.values())) > 1:
        came = ", ".join(f"{name} {kind}" for name, kind in kinds.items())
        raise InputError(f"all weights of a cell must have one dtype, got {came}")
    for name, array in arrays.items():
        object.__setattr__(owner, name, np.ascontiguousarray(array))


def checked_dtype(dtype: str) -> str:
    """Check that ``dtype`` is float64 or float32, and return its name."""
    return choice("dtype", np.dtype(dtype).name if not isinstance(dtype, str) else dtype, ("float64", "float32"))
