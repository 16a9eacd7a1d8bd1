"""Initial weights: one standard draw Z times a scale, so that different scales are compared on the same Z."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gradlab.arrays.checks import choice, number, positive
from gradlab.arrays.scaled import Array
from gradlab.errors import InputError
from gradlab.options import Option

Seed = int | np.random.Generator | np.random.SeedSequence | None


#: Nonzero recurrent inputs per unit in a ``sparse`` W_hh.
CONNECTIONS = 15


def _orthogonal(size: int, rng: np.random.Generator) -> Array:
    """Return a Haar-distributed orthogonal matrix: QR with R's diagonal made positive (Mezzadri 2007)."""
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    return np.asarray(q * np.sign(np.diag(r)))


def _sparse(size: int, rng: np.random.Generator) -> Array:
    """Return Gaussian weights with at most ``CONNECTIONS`` inputs per unit, divided by the spectral radius."""
    places = rng.permuted(np.broadcast_to(np.arange(size), (size, size)), axis=1)
    weights = np.where(places < CONNECTIONS, rng.standard_normal((size, size)), 0.0)
    return np.asarray(weights / np.abs(np.linalg.eigvals(weights)).max())


#: name → (function that draws one block ``(H, H)`` at scale 1, description)
RECURRENT: dict[str, tuple[Callable[[int, np.random.Generator], Array], str]] = {
    "gaussian": (lambda H, rng: rng.standard_normal((H, H)) / np.sqrt(H), "N(0, scale²/H)"),
    "orthogonal": (_orthogonal, "scale · Q, Q Haar-orthogonal"),
    "identity": (lambda H, rng: np.eye(H), "scale · I (Le, Jaitly & Hinton 2015)"),
    "cyclic": (
        lambda H, rng: np.roll(np.eye(H), 1, axis=0),
        "each unit from the one before it, in a ring (Rodan & Tiňo 2011)",
    ),
    "uniform": (
        lambda H, rng: rng.uniform(-1.0, 1.0, (H, H)) / np.sqrt(H),
        "U(±scale/√H), the common libraries' default at scale 1",
    ),
    "glorot": (
        lambda H, rng: rng.uniform(-1.0, 1.0, (H, H)) * np.sqrt(6.0 / (H + H)),
        "U(±scale·√(6/2H)) (Glorot & Bengio 2010)",
    ),
    "he": (lambda H, rng: rng.standard_normal((H, H)) * np.sqrt(2.0 / H), "N(0, 2·scale²/H) (He et al. 2015)"),
    "sparse": (_sparse, "15 Gaussian inputs a unit, spectral radius scale (Pascanu, Mikolov & Bengio 2013)"),
}

#: name → description of W_xh; name → description of the biases.
INPUT = {"gaussian": "N(0, input_scale²/D)", "uniform": "U(±input_scale/√H), the common libraries' default at 1"}
BIAS = {"zero": "0", "uniform": "the sum of two draws of U(±1/√H), the common libraries' two biases"}

#: The keywords that ``init`` of every cell accepts, in addition to its sizes.
INIT_KEYS = {
    "recurrent": Option(str, "gaussian", choices=tuple(RECURRENT), meaning="how W_hh is drawn, gate by gate"),
    "scale": Option(float, 1.0, minimum=0.0, meaning="factor of W_hh: W = g·Z with one Z for every g"),
    "input": Option(str, "gaussian", choices=tuple(INPUT), meaning="how W_xh is drawn"),
    "input_scale": Option(float, 1.0, minimum=0.0, meaning="factor of W_xh"),
    "bias": Option(str, "zero", choices=tuple(BIAS), meaning="how the biases are drawn; forget_bias is added"),
}


def streams(rng: Seed, count: int) -> list[np.random.Generator]:
    """Return ``count`` independent generators, one per purpose, so that one draw never shifts another."""
    try:
        return list(np.random.default_rng(rng).spawn(count))
    except (TypeError, ValueError) as refused:
        raise InputError(f"rng must be a seed, 0 or more, or a numpy Generator, got {rng!r}") from refused


def recurrent_weights(name: str, size: int, blocks: int, scale: float, rng: np.random.Generator) -> Array:
    """Return ``W_hh (blocks·H, H)``, each block drawn independently.

    Raises
    ------
    InputError
        for an unknown name, a size below 1, a scale that is negative or not finite.
    """
    draw, _ = RECURRENT[choice("recurrent init", name, RECURRENT)]
    size, factor = positive("hidden_size", size), number("scale", scale, least=0.0)
    return factor * np.concatenate([draw(size, rng) for _ in range(blocks)])


def input_weights(
    rows: int, columns: int, scale: float, rng: np.random.Generator, *, name: str = "gaussian", size: int = 1
) -> Array:
    """Return weights ``(rows, columns)``: Gaussian of std ``scale/√columns``, or uniform within ``±scale/√size``.

    Raises
    ------
    InputError
        for an unknown name, no column, a scale that is negative or not finite.
    """
    columns, factor = positive("input_size", columns), number("input_scale", scale, least=0.0)
    if choice("input init", name, INPUT) == "uniform":
        return np.asarray(factor * rng.uniform(-1.0, 1.0, (rows, columns)) / np.sqrt(size))
    return np.asarray(factor * rng.standard_normal((rows, columns)) / np.sqrt(columns))


def biases(name: str, size: int, blocks: int, rng: np.random.Generator) -> Array:
    """Return the biases of input and recurrence, ``(2, blocks, H)``, which a cell adds: zeros, or U(±1/√H).

    Raises
    ------
    InputError
        for an unknown name.
    """
    shape = (2, blocks, positive("hidden_size", size))
    if choice("bias init", name, BIAS) == "uniform":
        return np.asarray(rng.uniform(-1.0, 1.0, shape) / np.sqrt(size))
    return np.zeros(shape)


def chrono_bias(size: int, longest: float, rng: np.random.Generator) -> Array:
    """Return ``ln U(1, T_max − 1)``, the bias that spreads a gate's memory over 1 … T_max (Tallec & Ollivier 2018)."""
    horizon = number("chrono", longest)
    if horizon <= 2.0:
        raise InputError(f"chrono must be a length above 2 steps, got {longest}")
    return np.log(rng.uniform(1.0, horizon - 1.0, size))
