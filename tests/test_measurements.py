"""One contract of a trace, a watch and a study: tables, figures, a verdict and a file, with one meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import oracle
from matplotlib.figure import Figure
from study.tiny import run, tiny

import gradlab as gl
from gradlab import figures, progress, schema
from gradlab._trace.trace import whole_trace
from gradlab.errors import InputError
from gradlab.protocol import Measurements
from gradlab.verdicts.verdict import Verdict

T, B, D, H = 12, 4, 2, 5
HOOKS = ["gradients", "gates", "lyapunov:2"]
X = np.random.default_rng(0).standard_normal((T, B, D))
KINDS = {"string": "str", "int64": "int64", "float64": "float64"}


def trace(layers: int = 1, **options: Any) -> gl.Trace:
    cells = [gl.LSTM.init(D if not i else H, H, rng=i) for i in range(layers)]
    return whole_trace(gl.Network(cells), X, gl.projection(np.ones((B, H))), **options)


def watch(layers: int = 1) -> gl.Watch:
    model = gl.Network([gl.LSTM.init(D if not i else H, H, rng=i) for i in range(layers)])
    training = gl.Training(model, lambda step: (X + step, gl.projection(np.ones((B, H)))), optimiser=gl.Adam(0.01))
    with gl.watch(training, every=1, hooks=HOOKS) as seen:
        training.run(3)
    return seen


@pytest.fixture(scope="module")
def measurements(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Measurements]:
    study = tiny(grid={"cell": ["lstm"], "scale": [0.5, 1.5], "length": [T], "seeds": 2}, base={"hooks": HOOKS})
    return {
        "trace": trace(hooks=HOOKS),
        "deep trace": trace(2),
        "watch": watch(),
        "deep watch": watch(2),
        "results": run(study, tmp_path_factory.mktemp("results") / "tiny"),
    }


NAMES = ("trace", "deep trace", "watch", "deep watch", "results")


def summary(measured: Measurements, path: Path) -> tuple[pd.DataFrame, list[Figure], Verdict, Path]:
    """Use every word of the contract; nothing here asks what the object is."""
    drawn = [measured.plot(name) for name in (None, "rate", "dL/dh", ["dL/dh", "dL/dc"], "decay", "gradients")]
    return measured.frame(), drawn, measured.verdict(), measured.save(path)


@pytest.mark.parametrize("name", NAMES)
def test_one_function_works_on_all(measurements: dict[str, Measurements], name: str, tmp_path: Path) -> None:
    measured = measurements[name]
    assert isinstance(measured, Measurements)
    runs, drawn, verdict, path = summary(measured, tmp_path / "saved")
    assert runs["rate"].notna().all()
    assert all(isinstance(figure, Figure) and figure.axes for figure in drawn)
    assert verdict.word
    assert path.exists()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("table", schema.TABLES)
def test_tables_have_the_columns_of_the_schema(measurements: dict[str, Measurements], name: str, table: str) -> None:
    """In its order and with its dtypes; the columns that name a row stand before the layer, all others behind."""
    found, columns = measurements[name].frame(table), schema.TABLES[table]
    assert [column for column in found.columns if column in columns] == list(columns)
    for column, known in columns.items():
        expected = pd.Series([], dtype=KINDS[known.dtype]).dtype
        assert found[column].dtype == expected or not len(found), column
    behind = list(found.columns)[list(found.columns).index("layer") :]
    assert [column for column in behind if column in columns] == list(columns)[list(columns).index("layer") :]
    assert found.columns[0] == "id"
    last = list(found.columns).index(list(columns)[-1])
    measured = [column for column in found.columns if column.startswith("lyapunov_") or column in schema.WATCHED_RUNS]
    assert all(list(found.columns).index(column) > last for column in measured if column != "precision")
    pd.testing.assert_frame_equal(measurements[name].frame("runs"), measurements[name].frame())


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_name_names_the_nearest(measurements: dict[str, Measurements], name: str) -> None:
    with pytest.raises(gl.GradlabError, match='unknown table "step"; did you mean "steps"'):
        measurements[name].frame("step")
    for wrong, near in (("gatez", "gates"), ("dL/dz", "dL/d"), ("ratee", "rate")):
        with pytest.raises(gl.InputError, match=f'^unknown .*"{wrong}"; did you mean "{near}'):
            measurements[name].plot(wrong)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("figure", figures.FIGURES)
def test_every_figure_is_drawn_or_one_line_says_what_is_missing(
    measurements: dict[str, Measurements], name: str, figure: str
) -> None:
    if figure in ("decay", "gates", "gradients", "rates", "horizon", "spectrum", "lyapunov"):
        figures.png(measurements[name].plot(figure))
        return
    try:
        figures.png(measurements[name].plot(figure))
    except gl.InputError as refused:
        reason = str(refused)
    else:
        return
    assert "\n" not in reason
    assert reason.startswith(("runs: ", "steps: "))


@pytest.mark.parametrize("name", NAMES)
def test_what_no_hook_measured_names_the_hook(measurements: dict[str, Measurements], name: str) -> None:
    if "trace" in name:  # which measures what a figure needs
        assert measurements[name].plot("jac_norm2").axes
        return
    for missing, hook in (("jac_norm2", "jacobians"), ("path_share", "paths"), ("jacobians", "jacobians")):
        with pytest.raises(gl.InputError, match=rf'hooks = \["{hook}"\] records'):
            measurements[name].plot(missing)


@pytest.mark.parametrize("name", NAMES)
def test_ax_takes_a_figure_of_one_panel_and_refuses_others(measurements: dict[str, Measurements], name: str) -> None:
    own = Figure()
    assert (
        measurements[name].plot(
            "decay" if name == "trace" else "rates" if name == "results" else None, ax=own.subplots()
        )
        is own
    )
    assert own.axes[0].lines
    if name in ("deep trace", "deep watch", "results"):
        with pytest.raises(gl.InputError, match="panels here, which do not fit into one ax; leave ax out"):
            measurements[name].plot("gates", ax=Figure().subplots())


def test_a_trace_measures_gradients_on_demand_and_nothing_twice() -> None:
    bare, hooked = trace(), trace(hooks=["gradients"])
    assert bare.measured()["steps"].empty
    for table in schema.TABLES:
        pd.testing.assert_frame_equal(bare.frame(table), hooked.frame(table))
    steps = bare.frame("steps")
    assert not steps.duplicated(["layer", "direction", "quantity", "t"]).any()
    means = steps[steps["quantity"] == "dL/dh"].sort_values("t")["mean_log"]
    np.testing.assert_allclose(means, bare.log_norm("dL/dh").mean(axis=1), rtol=1e-12)
    assert (bare.frame("runs")[["id", "study"]] == "").all(axis=None)
    without = whole_trace(gl.LSTM.init(D, H, rng=0), X)
    assert without.frame("runs")["rate"].isna().all()
    assert without.frame("steps").empty


def test_a_line_of_a_watch_is_what_its_table_holds() -> None:
    seen = watch()
    steps = seen.frame("steps").query("quantity == 'dL/dh'").set_index(["step", "lag"])["mean_log"].sort_index()
    (ax,) = seen.plot("dL/dh").axes
    assert ax.get_ylabel() == "ln‖dL/dh_t‖ (nats)"
    lines = {line.get_label(): line for line in ax.lines}
    for step in (0, 1, 2):
        np.testing.assert_allclose(lines[str(step)].get_ydata(), steps[step], rtol=1e-12)
        np.testing.assert_array_equal(lines[str(step)].get_xdata(), steps[step].index)


def test_a_column_of_results_has_its_interval_over_the_seeds(measurements: dict[str, Measurements]) -> None:
    runs = measurements["results"].frame("runs")
    ax = measurements["results"].plot("lyapunov_2").axes[0]
    (bars,) = ax.containers
    expected = runs.groupby("scale")["lyapunov_2"].mean().to_numpy(np.float64)
    np.testing.assert_allclose(np.asarray(bars[0].get_ydata(), np.float64), expected, rtol=1e-12)


def test_a_segmented_trace_gives_what_its_hooks_measured() -> None:
    model, loss = gl.LSTM.init(D, H, rng=0), gl.projection(np.ones((B, H)))
    whole, parts = (gl.trace(model, X, loss, hooks=HOOKS, segment_length=n) for n in (T, 5))
    assert isinstance(parts, gl.SegmentedTrace)
    for table in schema.TABLES:
        pd.testing.assert_frame_equal(parts.frame(table), whole.frame(table), rtol=1e-12, atol=1e-12)
    assert parts.verdict().word == whole.frame("runs")["verdict"].iloc[0]
    assert parts.plot().axes[0].lines
    assert parts.plot("gates").axes
    unmeasured = gl.trace(model, X, loss, segment_length=5)
    assert unmeasured.frame("runs")["rate"].isna().all()
    with pytest.raises(gl.InputError, match=r'give gl\.trace the hook "gradients"'):
        unmeasured.verdict()
    with pytest.raises(gl.InputError, match=r'hooks = \["gradients"\] records'):
        unmeasured.plot()


# --- in a notebook ---------------------------------------------------------------------------------

SETUP = """
import numpy as np, gradlab as gl
x = np.random.default_rng(0).standard_normal((9, 3, 2))
loss = gl.projection(np.ones((3, 4)))
trace = gl.trace(gl.LSTM.init(2, 4, rng=0), x, loss)
training = gl.Training(gl.LSTM.init(2, 4, rng=0), lambda step: (x, loss))
with gl.watch(training, every=1) as w:
    training.run(2)
results = gl.load_results({folder!r})
"""
PROGRESS = "training.run(5, progress=True);"
PLOTS = ("trace.plot()", 'trace.plot("gates")', "w.plot()", 'w.plot("dL/dh")', "results.plot()", 'results.plot("rate")')


@pytest.mark.filterwarnings("ignore")  # of zmq and of a kernel over TCP
@pytest.mark.parametrize("inline", ["", "%matplotlib inline"])
def test_a_notebook_shows_every_plot_once(tmp_path: Path, inline: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient, nbformat = oracle("nbclient"), oracle("nbformat")
    oracle("ipykernel")
    results = run(tiny(grid={"cell": ["lstm"], "scale": [0.5, 1.5], "length": [6], "seeds": 2}), tmp_path / "tiny")
    monkeypatch.setenv("PYTHONPATH", str(Path(gl.__file__).parents[1]))
    sources = [inline, SETUP.format(folder=str(results.folder)), *PLOTS, "training", "w", PROGRESS]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    nbclient.NotebookClient(notebook, timeout=None, kernel_name="python3").execute()
    for cell in notebook.cells[2:]:
        kinds = [kind for output in cell.outputs for kind in output.get("data", {})]
        expected = {"image/png": 1, "text/html": 0} if cell.source in PLOTS else {"image/png": 0, "text/html": 1}
        assert {kind: kinds.count(kind) for kind in expected} == expected, cell.source
    shown = str(notebook.cells[-1].outputs[0]["data"]["text/html"])
    assert "5 of 5" in shown
    assert not [output for output in notebook.cells[-1].outputs if output.get("name") == "stdout"]


def test_progress_is_html_that_escapes_the_studys_name() -> None:
    with progress.ProgressReporter("<b>", quiet=True).begin({"planned": 3, "done": 1}, 6.0) as reporter:
        reporter.advance(["failed"], 2.0)
        found = html(reporter)
    assert "&lt;b&gt;" in found
    assert "2 of 4 done, 0 diverged, 1 failed" in found
    with progress.ProgressReporter("training", unit="step", quiet=True).begin({"done": 2, "planned": 7}, 7) as steps:
        assert "step 2 of 9" in html(steps)
        steps.advance(["done"] * 2, 2.0, "loss 0.25")
        assert "loss 0.25" in html(steps)
        assert "step 4 of 9" in html(steps)


def html(thing: Any) -> str:
    return str(thing._repr_html_())


def test_the_loss_is_drawn_without_a_hook() -> None:
    whole = trace()
    drawn = whole.plot("loss").axes[0]
    heights = [y for line in drawn.lines for y in np.asarray(line.get_ydata(), float)]
    assert whole.frame("runs")["loss"].iloc[0] in heights


@pytest.mark.parametrize("name", ["", [], 3, ["dL/dh", 3]])
def test_a_plot_of_no_name_is_refused(name: Any) -> None:
    with pytest.raises(InputError, match="name: expected a figure, a quantity, a column or a list"):
        trace().plot(name)


def test_a_column_within_a_list_is_refused() -> None:
    with pytest.raises(InputError, match='"rate" is a column of runs, and a list names quantities of steps'):
        trace().plot(["dL/dh", "rate"])


def test_a_table_that_is_no_name_is_refused() -> None:
    with pytest.raises(InputError, match="unknown table"):
        trace().frame(["runs"])  # type: ignore[arg-type]


def test_a_trace_of_segments_has_no_file() -> None:
    cell, x = gl.RNN.init(2, 3, rng=0), np.zeros((20, 2, 2))
    segments = gl.trace(cell, x, gl.projection(np.ones((2, 3))), segment_length=7)
    assert not hasattr(segments, "save")
    assert not isinstance(segments, Measurements)
    with pytest.raises(InputError, match='"save" needs all steps at once'):
        _ = segments.save  # type: ignore[union-attr]


def test_a_loaded_watch_keeps_its_tables(tmp_path: Path) -> None:
    w = watch()
    w.save(tmp_path / "w")
    loaded = gl.load_watch(tmp_path / "w")
    rate = loaded.frame("runs")["rate"].to_numpy().copy()
    runs = loaded.frame("runs")
    runs["rate"] = 0.0
    assert (loaded.frame("runs")["rate"].to_numpy() == rate).all()


def test_a_published_folder_without_parts_is_copied(tmp_path: Path) -> None:
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "study.toml").write_text(tiny().spec.toml(), encoding="utf-8")
    copy = gl.load_results(folder).save(tmp_path / "copy")
    assert [path.name for path in copy.iterdir()] == ["study.toml"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "published"]
