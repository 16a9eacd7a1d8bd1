"""Plain methods beside a network: against statsmodels and scikit-learn, called directly."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from statsmodels.tsa.ar_model import AutoReg, ar_select_order

from gradlab.tasks import TASKS, Digits, Sum, Sunspots
from gradlab.tasks.baselines import autoregression
from gradlab.tasks.digits import load_digits, pixel_order
from gradlab.tasks.sunspots import ORDER, standardised


def test_a_task_whose_data_are_drawn_has_no_rival() -> None:
    assert Sum().baselines() == ()
    assert [name for name, task in TASKS.items() if name != "file" and task().baselines()] == ["digits", "sunspots"]


def test_persistence_answers_with_this_year() -> None:
    """Over the one window of all test years, the mean squared yearly change."""
    x, loss = Sunspots().test.sample(87, 1, at="every", rng=np.random.default_rng(0))
    baseline = Sunspots().baselines()[0]
    z, trained = standardised()
    assert baseline.name == "persistence"
    assert loss.evaluate(baseline.answer(x))[0] == pytest.approx(np.square(np.diff(z[trained:, 0])).mean(), rel=1e-12)


def test_the_autoregression_is_that_of_statsmodels() -> None:
    """Forecasts of every test year from the nine before it; at the start, the regression on as many as there are."""
    z, trained = standardised()
    series, test = z[:trained, 0], z[trained:, 0]
    (x, _), baseline = Sunspots().test.sample(87, 1, rng=np.random.default_rng(0)), Sunspots().baselines()[1]
    y = baseline.answer(x)
    assert (baseline.name, y.shape) == ("autoregression", (87, 1, 1))
    for t in range(87):
        order = min(t + 1, ORDER)
        fitted = AutoReg(series, order, trend="c").fit()
        assert y[t, 0, 0] == pytest.approx(fitted.params @ [1, *test[t::-1][:order]], rel=1e-9)


def test_nine_years_are_what_akaikes_criterion_picks() -> None:
    z, trained = standardised()
    assert ar_select_order(z[:trained, 0], maxlag=15, ic="aic").ar_lags == list(range(1, ORDER + 1))


def test_an_autoregression_finds_the_one_that_made_the_series() -> None:
    """Without noise the weights are exact; sequences of a batch are answered one like the other."""
    series = [1.0, 2.0]
    for _ in range(40):
        series.append(0.3 + 1.2 * series[-1] - 0.9 * series[-2])
    x = np.stack([series[5:12], series[20:27]], axis=1)[..., None]
    y = autoregression(np.array(series), 2).answer(x)
    np.testing.assert_allclose(y[1:, :, 0], np.stack([series[7:13], series[22:28]], axis=1), rtol=1e-10)


@pytest.mark.parametrize("order", ["rows", "pixels", "permuted"])
def test_the_regression_is_that_of_scikit_learn(order: str) -> None:
    images, classes = load_digits()
    model = LogisticRegression(max_iter=1000).fit(images[:1347], classes[:1347])
    task = Digits(order).test
    x, loss = task.sample(task.fixed_length, 450, rng=np.random.default_rng(0))
    pixels = x.swapaxes(0, 1).reshape(450, 64)
    if order == "permuted":
        straight = np.empty_like(pixels)
        straight[:, pixel_order()] = pixels
        pixels = straight
    (baseline,) = task.baselines()
    y = baseline.answer(x)
    assert baseline.name == "logistic_regression"
    assert loss.evaluate(y)[0].mean() == pytest.approx(log_loss(loss.targets, model.predict_proba(pixels)), rel=1e-10)
    assert task.score(y, loss).mean() == pytest.approx(model.score(images[1347:], classes[1347:]), abs=1e-12)
