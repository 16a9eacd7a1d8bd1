"""What a study that trains keeps of a task's baselines: taken on the very sequences that the network is tested on."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pandas as pd
import pytest
from study.tiny import tiny

from gradlab.study.worker import TEST, TESTED, _rows, _seed
from gradlab.tasks import Sunspots

TRAIN = {"steps": 2, "learning_rate": 0.01}


def runs(task: str) -> pd.DataFrame:
    """Return the rows of ``runs`` of one configuration that is trained."""
    base = {"hidden": 3, "batch": 100, "hooks": ["gradients"]}
    study = tiny(grid={"cell": ["rnn"], "length": [20], "seeds": [3]}, base=base, task={"name": task}, train=TRAIN)
    return _rows(study.plan.configurations[0], False)["runs"]


def test_rivals_answer_the_networks_test_sequences() -> None:
    """Persistence by hand: the last year's number against the next, over three batches of 100 windows after 1920."""
    found = runs("sunspots")
    batches = Sunspots().test.batches(20, 100, seed=_seed(3, TEST))
    changes = [loss.targets[-1] - x[-1] for x, loss in islice(batches, -(-TESTED // 100))]
    assert found["persistence_loss"].tolist() == pytest.approx([np.square(changes).mean()] * 2, rel=1e-12)
    assert found["autoregression_loss"].between(0.05, 0.8).all()
    assert found["constant_loss"].tolist() == [Sunspots().test.baseline(20)] * 2
    assert found["persistence_score"].isna().all()


def test_a_task_without_rivals_has_a_constant_alone() -> None:
    found = runs("sum")
    assert [name for name in found if name.endswith("_loss")] == ["constant_loss"]
    assert found["constant_loss"].tolist() == pytest.approx([20 / 3] * 2, rel=1e-12)


def test_where_nobody_says_what_a_constant_costs_it_is_missing() -> None:
    assert runs("noise")["constant_loss"].isna().all()
