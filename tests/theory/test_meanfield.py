"""Mean field: TRUTHS' numbers, the equations by another quadrature, simulated networks."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from gradlab import theory
from gradlab.cells.activations import ACTIVATIONS
from gradlab.errors import InputError

#: Autonomous tanh: g → λ₁ (TRUTHS E20), as printed, to six decimals.
AUTONOMOUS = {1.5: 0.065217, 3.0: 0.310249, 4.0: 0.432878}
#: Driven tanh: (g, s²) → χ, and s² → critical g (E21).
DRIVEN = {(1.5, 0.1): 1.053798, (3.0, 1.0): 1.710920}
CRITICAL = {0.01: 1.193401, 0.1: 1.409281, 0.25: 1.549674, 1.0: 1.855589}
PRINTED = 6e-7
SATURATING = ("tanh", "logistic")
SCALES = [(0.5, 0.1), (0.7, 0.0), (1.2, 0.0), (1.2, 1e-4), (1.5, 0.1), (3.0, 1.0), (30.0, 0.0), (100.0, 1e4)]


def average(f: Any, q: float) -> float:
    """Return ⟨f⟩_q by adaptive quadrature over stretches that grow with |a|."""
    if q == 0.0:
        return float(f(0.0))
    end = 12 * math.sqrt(q)
    ends = [0.0, *(x for x in (0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256) if x < end), end]
    both = [*pairwise([-end for end in reversed(ends)]), *pairwise(ends)]

    def weighted(a: float) -> float:
        return float(f(a)) * math.exp(-a * a / (2 * q)) / math.sqrt(2 * math.pi * q)

    # the logistic function's e^{−a} may overflow far out, where σ is 0
    with np.errstate(over="ignore"):
        return math.fsum(quad(weighted, *ends, epsabs=1e-16, epsrel=1e-13)[0] for ends in both)


def assert_autonomous(rate: Any) -> None:
    """Assert that ``rate(MeanField)`` gives the λ₁ of E20."""
    for g, known in AUTONOMOUS.items():
        found = rate(theory.mean_field("tanh", scale=g))
        assert abs(found - known) < PRINTED, f"g = {g}: {found}, known {known}"


def test_autonomous_tanh() -> None:
    assert_autonomous(lambda field: field.rate)


def test_growth_of_the_squared_norm_is_not_the_rate() -> None:
    """Negative control: the factor 2 between ln χ and the rate."""
    with pytest.raises(AssertionError, match=r"g = 1\.5"):
        assert_autonomous(lambda field: math.log(field.chi))


@pytest.mark.parametrize("g", [1e-3, 0.5, 0.99, 1.0])
def test_tanh_at_rest(g: float) -> None:
    field = theory.mean_field("tanh", scale=g)
    assert field.variance == 0.0
    np.testing.assert_allclose([field.rate, field.chi, field.kurtosis], [math.log(g), g * g, 1.0], rtol=1e-15)


def test_tanh_just_above_its_edge() -> None:
    """``q = (g − 1) + O((g − 1)²)`` and ``χ − 1 = (4/3) q² + O(q³)``, by expansion of both averages in q."""
    field = theory.mean_field("tanh", scale=1.0 + 1e-4)
    np.testing.assert_allclose(field.variance, 1e-4, rtol=1e-3)
    np.testing.assert_allclose(field.chi - 1.0, 4 / 3 * field.variance**2, rtol=1e-3)


@pytest.mark.parametrize(("g", "s2"), DRIVEN)
def test_driven_tanh(g: float, s2: float) -> None:
    field = theory.mean_field("tanh", scale=g, input_var=s2)
    assert abs(field.chi - DRIVEN[g, s2]) < PRINTED
    assert field.rate == 0.5 * math.log(field.chi)


@pytest.mark.parametrize("s2", CRITICAL)
def test_critical_scale_of_driven_tanh(s2: float) -> None:
    assert abs(theory.critical_scale("tanh", input_var=s2).scale - CRITICAL[s2]) < PRINTED


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("g", "s2"), SCALES)
def test_equations_hold_by_another_quadrature(activation: str, g: float, s2: float) -> None:
    """q, χ and κ as defined, the averages by ``quad`` (1e-13) of the cells' own activations; q up to 1e4."""
    field = theory.mean_field(activation, scale=g, input_var=s2)
    value, derivative = ACTIVATIONS[activation].value, ACTIVATIONS[activation].derivative

    def slope(a: float) -> float:
        at = np.array([a])
        return float(derivative(at, value(at))[0])

    q = field.variance if math.isfinite(field.variance) else 1.0
    if activation == "relu" and q == 0.0:
        q = 1.0
    square = average(lambda a: slope(a) ** 2, q)
    np.testing.assert_allclose(field.chi, g * g * square, rtol=1e-11)
    np.testing.assert_allclose(field.kurtosis, average(lambda a: slope(a) ** 4, q) / square**2, rtol=1e-11)
    if math.isfinite(field.variance):
        passed = average(lambda a: float(value(np.array([a]))[0]) ** 2, field.variance)
        np.testing.assert_allclose(field.variance, g * g * passed + s2, rtol=1e-11)


def test_fixed_gauss_hermite_nodes_are_not_enough() -> None:
    """Why the averages are not taken so: at q = 100, 64 nodes miss ⟨sech⁴⟩ by a tenth and more."""
    field = theory.mean_field("tanh", scale=1e-6, input_var=100.0)
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    rule = float(weights @ np.cosh(10 * nodes) ** -4) / math.sqrt(2 * math.pi)
    assert abs(rule / (field.chi * 1e12) - 1) > 0.1
    np.testing.assert_allclose(field.chi * 1e12, average(lambda a: math.cosh(a) ** -4, field.variance), rtol=1e-11)


def test_relu_and_identity_in_closed_form() -> None:
    relu = theory.mean_field("relu", scale=1.2, input_var=0.28)
    np.testing.assert_allclose([relu.chi, relu.rate, relu.variance], [0.72, 0.5 * math.log(0.72), 1.0], rtol=1e-14)
    linear = theory.mean_field("identity", scale=0.6, input_var=0.32)
    np.testing.assert_allclose([linear.chi, linear.rate, linear.variance], [0.36, math.log(0.6), 0.5], rtol=1e-14)
    assert theory.mean_field("relu", scale=1.5).variance == math.inf
    assert theory.mean_field("identity", scale=1.0, input_var=1.0).variance == math.inf
    assert math.isnan(theory.mean_field("identity", scale=1.0).variance)


def test_critical_scale_where_it_is_known() -> None:
    assert theory.critical_scale("tanh") == (1.0, 0.0)
    for s2 in (0.0, 1.0):
        np.testing.assert_allclose(theory.critical_scale("relu", input_var=s2).scale, math.sqrt(2), rtol=1e-15)
        assert theory.critical_scale("identity", input_var=s2).scale == 1.0
    assert theory.critical_scale("relu", input_var=1.0).variance == math.inf
    assert math.isnan(theory.critical_scale("identity").variance)


VARIANCES = st.floats(-10, 6).map(lambda e: 10.0**e) | st.just(0.0)
EXPONENTS = st.floats(-2, 3)


@given(activation=st.sampled_from(sorted(ACTIVATIONS)), s2=VARIANCES)
def test_critical_scale_inverts_chi(activation: str, s2: float) -> None:
    edge = theory.critical_scale(activation, input_var=s2)
    field = theory.mean_field(activation, scale=edge.scale, input_var=s2)
    np.testing.assert_allclose(field.chi, 1.0, rtol=1e-13)
    if activation in SATURATING and s2 > 0.0:
        np.testing.assert_allclose(field.variance, edge.variance, rtol=1e-6)


@given(activation=st.sampled_from(sorted(ACTIVATIONS)), s2=VARIANCES, low=EXPONENTS, ratio=st.floats(1.01, 100))
def test_chi_increases_with_the_scale(activation: str, s2: float, low: float, ratio: float) -> None:
    one, two = (theory.mean_field(activation, scale=g, input_var=s2) for g in (10**low, 10**low * ratio))
    assert one.chi < two.chi
    assert one.variance <= two.variance or math.isnan(one.variance)


@given(activation=st.sampled_from(SATURATING), s2=VARIANCES, more=st.floats(1.01, 100))
def test_input_raises_the_critical_scale(activation: str, s2: float, more: float) -> None:
    quiet = theory.critical_scale(activation, input_var=s2).scale
    loud = theory.critical_scale(activation, input_var=max(s2 * more, 1e-4)).scale
    assert quiet < loud


def largest_exponent(
    activation: str, g: float, s2: float, size: int, steps: int, rng: np.random.Generator, warmup: int = 200
) -> float:
    """Return λ₁ of ``a_t = W φ(a_{t−1}) + noise`` from one tangent vector."""
    function = ACTIVATIONS[activation]
    W = g / math.sqrt(size) * rng.standard_normal((size, size))
    a, v, total = rng.standard_normal(size), rng.standard_normal(size), 0.0
    for t in range(warmup + steps):
        y = function.value(a)
        v = W @ (function.derivative(a, y) * v)
        grown = float(np.linalg.norm(v))
        v /= grown
        total += math.log(grown) if t >= warmup else 0.0
        a = W @ y + math.sqrt(s2) * rng.standard_normal(size)
    return total / steps


@pytest.mark.parametrize("g", [3.0, 4.0])
def test_simulated_tanh_lies_at_the_shifted_rate(g: float, rng: np.random.Generator) -> None:
    """E20, N = 256: within 0.01 of the shifted value, mean of 4 networks, and nearer to it than to the limit."""
    field = theory.mean_field("tanh", scale=g, size=256)
    found = np.mean([largest_exponent("tanh", g, 0.0, 256, 1000, rng) for _ in range(4)])
    assert abs(found - (field.rate + field.shift)) < 0.01
    assert abs(found - (field.rate + field.shift)) < abs(found - field.rate)


def test_simulated_relu(rng: np.random.Generator) -> None:
    """E23, N = 256: O(N^−½), here 1.5/√N for the mean of 4; ln χ instead of ½ ln χ would be .35 away."""
    found = np.mean([largest_exponent("relu", 1.0, 1.0, 256, 600, rng) for _ in range(4)])
    assert abs(found - theory.mean_field("relu", scale=1.0, input_var=1.0).rate) < 1.5 / 16


def test_shift_against_the_exact_law() -> None:
    """Identity units with fresh weights: Newman's λ₁ is ``−1/2N − 1/6N²…``, the shift its first term."""
    for size in (64, 256):
        shift = theory.mean_field("identity", scale=1.0, size=size).shift
        np.testing.assert_allclose(shift, theory.gaussian_growth(size, 1).rate, rtol=1 / size)
    assert theory.mean_field("tanh", scale=3.0).shift == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.mean_field("tahn", scale=1.0), 'unknown activation "tahn"; did you mean "tanh"'),
        (lambda: theory.critical_scale("softmax"), 'unknown activation "softmax"'),
        (lambda: theory.mean_field(scale=0.0), "scale must lie between 1e-100 and 1e.100, got 0"),
        (lambda: theory.mean_field(scale=-1.5), "scale must lie between .* got -1.5"),
        (lambda: theory.mean_field(scale=math.nan), "scale must be finite, got nan"),
        (lambda: theory.mean_field(scale="2"), "scale must be a number, got '2'"),  # type: ignore[arg-type]
        (lambda: theory.mean_field(scale=1.0, input_var=-0.1), "input_var is a variance .* got -0.1"),
        (lambda: theory.critical_scale(input_var=math.inf), "input_var must be finite, got inf"),
        (lambda: theory.mean_field(scale=1.0, size=0), "size must be at least 1, got 0"),
        (lambda: theory.mean_field(scale=1.0, size=2.5), "size must be a whole number"),  # type: ignore[arg-type]
    ],
)
def test_bad_input(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
