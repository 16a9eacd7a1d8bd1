"""Recurrences of today that are not gradlab's, once for NumPy, PyTorch and JAX: ``step(xp, h, x, p) -> h``.

``xp`` is the library; ``h (…, S)``, ``x (…, D)``; p holds the parameters by name. The maximum in the sLSTM is taken by
real parts in NumPy, so that a complex step goes through it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

D, H = 2, 3
Parameters = dict[str, Any]


def _sigmoid(xp: Any, a: Any) -> Any:
    return 1.0 / (1.0 + xp.exp(-a))


def _maximum(xp: Any, a: Any, b: Any) -> Any:
    return np.where(a.real > b.real, a, b) if xp is np else xp.maximum(a, b)


def min_gru(xp: Any, h: Any, x: Any, p: Parameters) -> Any:
    """The minGRU: gate and candidate see x alone (Feng et al. 2024); J_t = diag(1 − z_t)."""
    z = _sigmoid(xp, x @ p["W_z"].T + p["b_z"])
    return (1.0 - z) * h + z * (x @ p["W_h"].T + p["b_h"])


def lru(xp: Any, h: Any, x: Any, p: Parameters) -> Any:
    """The linear recurrent unit, λ = e^{−e^ν + i e^θ} (Orvieto et al. 2023), real and imaginary part in h."""
    size, phase = xp.exp(-xp.exp(p["nu"])), xp.exp(p["theta"])
    cos, sin = size * xp.cos(phase), size * xp.sin(phase)
    gain = (1.0 - size**2) ** 0.5
    re, im = h[..., :H], h[..., H:]
    new = [cos * re - sin * im + gain * (x @ p["B_re"].T), sin * re + cos * im + gain * (x @ p["B_im"].T)]
    return xp.concatenate(new, -1)


def s_lstm(xp: Any, h: Any, x: Any, p: Parameters) -> Any:
    """The sLSTM, (h, c, n, m): exponential gates, normaliser n, stabiliser m (Beck et al. 2024)."""
    h, c, n, m = (h[..., k * H : (k + 1) * H] for k in range(4))
    a = x @ p["W"].T + h @ p["R"].T + p["b"]
    z, i, f, o = (a[..., k * H : (k + 1) * H] for k in range(4))
    log_f = -xp.log(1.0 + xp.exp(-f))
    top = _maximum(xp, log_f + m, i)
    i, f = xp.exp(i - top), xp.exp(log_f + m - top)
    c, n = f * c + i * xp.tanh(z), f * n + i
    return xp.concatenate([_sigmoid(xp, o) * c / n, c, n, top], -1)


class Recurrence(NamedTuple):
    """A step, its S, and its parameters' shapes."""

    step: Callable[[Any, Any, Any, Parameters], Any]
    size: int
    shapes: dict[str, tuple[int, ...]]

    def parameters(self) -> Parameters:
        """Return random parameters as arrays."""
        rng = np.random.default_rng(5)
        return {name: 0.7 * rng.standard_normal(shape) for name, shape in self.shapes.items()}

    def start(self, batch: int) -> np.ndarray[Any, Any]:
        """Return a random initial state ``(B, S)``; normalisers are above zero."""
        h = np.random.default_rng(6).standard_normal((batch, self.size))
        return np.abs(h) + 1.0 if self.step is s_lstm else h


RECURRENCES = {
    "minGRU": Recurrence(min_gru, H, {"W_z": (H, D), "b_z": (H,), "W_h": (H, D), "b_h": (H,)}),
    "LRU": Recurrence(lru, 2 * H, {"nu": (H,), "theta": (H,), "B_re": (H, D), "B_im": (H, D)}),
    "sLSTM": Recurrence(s_lstm, 4 * H, {"W": (4 * H, D), "R": (4 * H, H), "b": (4 * H,)}),
}
