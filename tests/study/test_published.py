"""Published numbers in a specification: checked like everything else, kept, and put beside the results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from study.tiny import ONE, run, tiny

from gradlab.errors import SpecError
from gradlab.study import Spec

ENTRY = {
    "claim": "the exponent", "source": "somebody 1999", "column": "lyapunov_1", "value": -0.2, "tolerance": 0.1,
    "where": {"cell": "rnn", "length": 9, "scale": 1.5}, "reason": "finite size",
}  # fmt: skip


def study(**changes: Any) -> Any:
    entry = {key: value for key, value in (ENTRY | changes).items() if value is not None}
    return tiny(published=[entry])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colum": 1}, r'^published\[0\]\.colum: unknown key "colum"; did you mean "column"'),
        ({"reason": None}, r"^published\[0\]\.reason: missing; an entry needs claim, source"),
        ({"column": "entropi"}, r'^published\[0\]\.column: unknown column "entropi"; did you mean "entropy"'),
        ({"column": "status"}, r'^published\[0\]\.column: unknown column "status"'),
        ({"column": "lyapunov_3"}, r'no hook records lyapunov_3; put "lyapunov:3" into hooks'),
        ({"value": "much"}, r'^published\[0\]\.value: expected a finite number, got "much"'),
        ({"claim": 3}, r"^published\[0\]\.claim: expected a text, got 3"),
        ({"tolerance": None}, r"^published\[0\]: give one of tolerance \(relative\), absolute and bound .*, got none"),
        ({"absolute": 0.1}, r"^published\[0\]: give one of .* got tolerance and absolute"),
        ({"bound": "abov", "tolerance": None}, r'^published\[0\]\.bound: unknown bound "abov"; did you mean "above"'),
        ({"kind": "guess"}, r'^published\[0\]\.kind: unknown kind "guess"; '),
        ({"statistic": "meen"}, r'^published\[0\]\.statistic: unknown statistic "meen"; did you mean "mean"'),
        ({"statistic": "ratio"}, r"^published\[0\]\.over: missing; the ratio needs it"),
        ({"statistic": "slope"}, r"^published\[0\]\.against: missing; the slope needs it"),
        ({"against": "scale"}, r"^published\[0\]\.against: the mean takes none"),
        ({"over": {"scale": 0.5}}, r"^published\[0\]\.over: the mean takes none"),
        ({"statistic": "slope", "against": "scal"}, r'^published\[0\]\.against: unknown column "scal"'),
        ({"statistic": "ratio", "over": {"scale": 7.0}}, r"^published\[0\]\.over\.scale: no run has 7\.0"),
        (
            {"statistic": "ratio", "over": {"cell": "rnn", "length": 9}},
            r"over: these runs differ in scale; give one of 0\.5, 1\.5",
        ),
        ({"tolerance": -0.1}, r"^published\[0\]\.tolerance: expected a finite number, at least 0, got -0\.1"),
        ({"per": "hiden"}, r'^published\[0\]\.per: unknown key .*"hiden"; did you mean "hidden"'),
        ({"where": 3}, r"^published\[0\]\.where: expected a table of keys and values, got 3"),
        ({"where": {"scal": 1.0}}, r'^published\[0\]\.where\.scal: unknown key "scal"; did you mean "scale"'),
        ({"where": {"scale": "big"}}, r'^published\[0\]\.where\.scale: expected a finite number, .* got "big"'),
        ({"where": {"scale": 7.0}}, r"^published\[0\]\.where\.scale: no run has 7\.0; the study has 0\.5, 1\.5"),
        ({"where": {"cell": "rnn", "scale": 1.5}}, r"where: these runs differ in length; give one of 6, 9"),
        (
            {"where": {"cell": "rnn", "init.forget_bias": 0.0}},
            r"^published\[0\]\.where: no run of the study has all of",
        ),
    ],
)
def test_bad_entries_are_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        study(**changes).plan  # noqa: B018
    assert "\n" not in str(caught.value)


def test_published_must_be_a_list_of_tables() -> None:
    with pytest.raises(SpecError, match=r"^published: expected a list, got 3"):
        tiny(published=3)
    with pytest.raises(SpecError, match=r"^published\.0: expected a table \[published\.0\], got 3"):
        tiny(published=[3])


def test_written_and_read_back_it_is_the_same(tmp_path: Path) -> None:
    spec = study(where={"cell": "lstm", "length": 9, "scale": 1.5, "init": {"forget_bias": 0}}, per="hidden").spec
    assert dict(spec.published[0].where)["init.forget_bias"] == 0.0
    (tmp_path / "study.toml").write_text(spec.toml(), encoding="utf-8")
    assert Spec.from_toml(tmp_path / "study.toml") == spec


@pytest.mark.parametrize(
    "changes",
    [
        {"bound": "below", "tolerance": None, "kind": "exact", "explanation": "because", "not_comparable": "smaller"},
        {"statistic": "ratio", "over": {"cell": "rnn", "length": 9, "scale": 0.5}},
        {"statistic": "slope", "column": "rate", "against": "lyapunov_2", "where": {"cell": "rnn"}},
        {"statistic": "spearman", "against": "length", "where": {}},
        {"column": "overflow_step", "where": {"cell": "rnn", "length": 9, "scale": 1.5, "layer": 0}},
    ],
)
def test_every_kind_of_entry_is_read_back_and_measured(changes: dict[str, Any], tmp_path: Path) -> None:
    spec = study(**changes).spec
    (tmp_path / "study.toml").write_text(spec.toml(), encoding="utf-8")
    assert Spec.from_toml(tmp_path / "study.toml") == spec
    assert len(study(**changes).plan.configurations) == 16


def test_what_only_full_runs_is_said_not_to_be_run(tmp_path: Path) -> None:
    where = {"cell": "rnn", "length": 40, "scale": 1.5}
    one = tiny(published=[ENTRY | {"where": where}], full={"length": [9, 40]}, report=ONE)
    text = run(one, tmp_path / "r", progress=False).tables("markdown")
    assert "| not comparable | not run at this size; the study's --full has it |" in text


def test_it_defines_no_rows() -> None:
    assert [c.id for c in study().plan.configurations] == [c.id for c in tiny().plan.configurations]


def test_the_report_puts_it_beside_what_was_measured(tmp_path: Path) -> None:
    results = tiny(published=[ENTRY], report=ONE).run(tmp_path / "r", workers=0, progress=False)
    page = (results.folder / "report.html").read_text(encoding="utf-8")
    assert "Comparison with published numbers" in page
    table = pd.read_csv(results.folder / "tables" / "published.csv")
    runs = results.frame("runs")
    chosen = runs[(runs["cell"] == "rnn") & (runs["length"] == 9) & (runs["scale"] == 1.5)]
    assert table["measured"][0] == pytest.approx(chosen["lyapunov_1"].mean(), rel=1e-5)
    text = (results.folder / "tables" / "published.md").read_text(encoding="utf-8")
    header = "| claim | kind | source | set-up | published | measured, 95 % interval | size | runs | tolerance |"
    assert text.splitlines()[0].startswith(
        "The word follows from the 95 % interval of the measured number: reproduced: the whole"
    )
    assert text.splitlines()[2].startswith(header)
    assert "numerics" in table["made_with"][0]
    plain = tiny(report=ONE).run(tmp_path / "r", workers=0, progress=False)
    assert not (plain.folder / "tables" / "published.csv").exists()
