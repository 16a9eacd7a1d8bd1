"""The schema of all tables: dtype, unit, meaning and label of every column. Figures take their labels from here."""

from __future__ import annotations

from typing import NamedTuple

from gradlab.errors import InputError, unknown


class Column(NamedTuple):
    """The description of one column.

    Attributes
    ----------
    dtype : str
        The pandas dtype: "string", "int64" or "float64".
    unit : str
        The unit; "" for a pure number.
    meaning : str
        The meaning in one line.
    label : str
        A short label for an axis; "" to use the column's name.
    """

    dtype: str
    unit: str
    meaning: str
    label: str = ""


STATUSES = ("planned", "done", "diverged", "failed")
DIRECTIONS = ("forward", "reverse")

_IDENTITY = {
    "id": Column("string", "", "hash of everything that determines the rows of the configuration"),
    "layer": Column("int64", "", "layer, counted from 0 at the input", "layer"),
    "direction": Column("string", "", "forward or reverse", "direction"),
}


class Recorded(NamedTuple):
    """The numbers that one hook records.

    Attributes
    ----------
    columns : columns of ``runs``, in their order.
    quantities : meanings of the values in the ``quantity`` column of ``steps``; ``gate_*`` is one quantity per gate.
    """

    columns: dict[str, Column] = {}
    quantities: dict[str, str] = {}


#: The numbers that each built-in hook records, by the hook as ``hooks = […]`` names it. A new hook has its entry here.
RECORDED: dict[str, Recorded] = {
    "gradients": Recorded(
        columns={
            "rate": Column(
                "float64", "nats/step", "mean per-step increment of ln‖δ‖, backward in time", "rate of ln‖δ‖"
            ),
            "rate_low": Column("float64", "nats/step", "lower end of the rate's 95 % interval within the run"),
            "rate_high": Column("float64", "nats/step", "upper end of the rate's 95 % interval within the run"),
            "window": Column("int64", "steps", "number of increments that the rate averages", "window"),
            "horizon_e": Column(
                "float64", "steps", "median steps until ‖δ‖ is below 1/e of its value at lag 1", "horizon (1/e)"
            ),
            "horizon_1pct": Column(
                "float64", "steps", "median steps until ‖δ‖ is below 1 % of its value at lag 1", "horizon (1 %)"
            ),
            "censored": Column("float64", "", "share of sequences that ended before ‖δ‖ fell below 1 %", "censored"),
            "shape": Column(
                "string", "", "exponential, power law, flat, non-monotone or undecided", "shape of the decay"
            ),
            "verdict": Column(
                "string", "", "verdict on the run, from its gradient alone (gradlab.verdicts.labels)", "verdict"
            ),
        },
        quantities={
            "adjoint": "ln‖δ_t‖, the joint adjoint of the whole loss",
            "last_adjoint": "ln‖δ_t‖, the joint adjoint of the loss at the last loss step alone, which gives the rate",
            "dL/dh": "ln‖dL/dh_t‖, total",
            "dL/dc": "ln‖dL/dc_t‖, total",
            "direct": "ln‖direct gradient‖: without the layer's own recurrence",
            "dL/dx": "ln‖dL/dx_t‖",
            "dL/*": "ln of the norm of the total gradient of any other state or pre-activation",
        },
    ),
    "lyapunov:8": Recorded(
        columns={
            "lyapunov_*": Column("float64", "nats/step", "Lyapunov exponents, the largest first"),
            "kaplan_yorke": Column("float64", "", "Kaplan–Yorke dimension, if enough exponents are known", "D_KY"),
            "entropy": Column(
                "float64", "nats/step", "sum of the positive exponents, if all of them are known", "entropy rate"
            ),
            "positive_exponents": Column(
                "float64", "", "number of positive exponents, if all of them are known", "exponents > 0"
            ),
            "mean_exponent": Column("float64", "nats/step", "mean of all S exponents, if it is known", "mean exponent"),
        },
    ),
    "paths": Recorded(
        columns={
            "path_share": Column(
                "float64",
                "",
                "share of the gradient at t = 0 that arrives on the additive path alone",
                "additive share",
            ),
        },
        quantities={
            "path_additive": "ln of the gradient's norm on the additive path alone",
            "path_gates": "ln of the norm of the gradient's part that passed through a gate at least once",
            "path_all": "ln of the gradient's norm on all paths, for the same state",
        },
    ),
    "jacobians": Recorded(
        columns={
            "jac_norm2_median": Column("float64", "", "median of ‖J_t‖₂ over steps and sequences", "median ‖J_t‖₂"),
            "jac_cond_median": Column(
                "float64", "", "median of σ_max/σ_min of J_t over steps and sequences", "median cond J_t"
            ),
        },
        quantities={
            "jac_norm2": "ln‖J_t‖₂",
            "jac_fro": "ln‖J_t‖_F",
            "jac_cond": "ln(σ_max/σ_min) of J_t",
            "jac_q75": "ln of the upper quartile of the singular values of J_t",
            "jac_q50": "ln of the median of the singular values of J_t",
            "jac_q25": "ln of the lower quartile of the singular values of J_t",
            "jac_min": "ln of the smallest singular value of J_t",
        },
    ),
    "sensitivity": Recorded(
        columns={
            "state_power": Column(
                "float64",
                "",
                "mean of h² over units, sequences and all steps after the first tenth",
                "mean square of h",
            ),
            "weight_sensitivity": Column(
                "float64",
                "",
                "mean over sequences of ‖∂ℓ/∂W_hh‖² / (H ‖∂ℓ/∂h‖²), ℓ the loss at the last loss "
                "step; E (∂h/∂λ)² if W_hh = λI",
                "mean square of ∂h/∂w",
            ),
        },
    ),
    "gates": Recorded(
        columns={
            "saturation": Column(
                "float64", "", "share of gate units (tanh units in an RNN) that are saturated", "saturated"
            ),
            "keep_gate_mean": Column(
                "float64",
                "",
                "mean over units, steps and sequences of the cell's keep gate: f for an LSTM, 1 − z or z for a GRU, "
                "u for a MinimalRNN, 1 − α for a leaky RNN",
                "mean gate that keeps",
            ),
        },
        quantities={
            "gate_*": "ln of the mean of |gate| over units",
            "saturation_*": "ln of the share of a gate's units that are saturated",
        },
    ),
    "contributions": Recorded(
        quantities={
            "contribution_*": "ln of the norm of step t's part of a parameter's gradient",
        },
    ),
    "temporal": Recorded(
        quantities={
            "temporal": "ln‖∂L_t/∂s_s‖ for one loss step t: the column t holds s, and lag counts from the loss step",
        },
    ),
}

#: Columns of ``runs`` that every study has; a study adds its grid's and base's keys between ``study`` and ``layer``.
RUNS: dict[str, Column] = {
    "id": _IDENTITY["id"],
    "study": Column("string", "", "name of the study"),
    "layer": _IDENTITY["layer"],
    "direction": _IDENTITY["direction"],
    "status": Column("string", "", "planned, done, diverged or failed"),
    "error": Column("string", "", "reason why a configuration failed or diverged, in one line"),
    "traceback": Column("string", "", "traceback of a failed configuration"),
    "seconds": Column("float64", "s", "wall time of the configuration", "time"),
    "loss": Column("float64", "", "mean loss over the batch", "loss"),
    **RECORDED["gradients"].columns,
    "overflow_step": Column("int64", "steps", "first t at which a state was not finite; 0 if none", "overflow at t"),
    **{
        name: column
        for recorded in RECORDED.values()
        for name, column in recorded.columns.items()
        if not name.endswith("*")
    },
}

#: Current names of columns by their names in older files.
RENAMED = {"carried": "keep_gate_mean"}

#: Keys of a study that need a description. All other keys serve as their own labels.
KEYS: dict[str, Column] = {
    "length": Column("int64", "steps", "T, the number of steps of a sequence", "length T"),
    "scale": Column("float64", "", "factor of W_hh at initialisation", "init scale g"),
    "hidden": Column("int64", "", "H, the number of units of a layer", "hidden size H"),
    "init.forget_bias": Column("float64", "", "b_f, added to the bias of the forget gate", "forget bias b_f"),
    "batch": Column("int64", "", "B, the number of sequences of a batch", "batch size B"),
}

#: Columns of ``steps``: one row per layer, direction, quantity and t. Statistics are over the sequences.
STEPS: dict[str, Column] = {
    **_IDENTITY,
    "t": Column("int64", "steps", "time step; 0 is the initial state", "t"),
    "lag": Column("int64", "steps", "k = T − t (reverse direction: t − 1)", "lag k"),
    "quantity": Column("string", "", "the quantity measured (schema.QUANTITIES)", "quantity"),
    "mean_log": Column("float64", "nats", "mean of the natural logarithm over sequences that are not zero"),
    "q05": Column("float64", "nats", "5 % quantile of the logarithm over the same sequences"),
    "q50": Column("float64", "nats", "median of the logarithm over the same sequences"),
    "q95": Column("float64", "nats", "95 % quantile of the logarithm over the same sequences"),
    "zeros": Column(
        "int64", "sequences", "number of sequences that are exactly zero, left out of the averages", "zeros"
    ),
}

#: Further columns of the tables behind figures, besides those of ``runs`` and ``steps``.
DERIVED: dict[str, Column] = {
    "memory": Column(
        "float64",
        "steps",
        "1/(1 − e^rate), the sum over all lags of a gradient that decays at the rate",
        "memory 1/(1 − e^rate)",
    ),
    "square": Column("float64", "", "mean square of the states, or of their derivative by a weight", "mean square"),
    "change": Column("float64", "nats", "mean of ln‖δ‖ minus its value at lag 1", "ln‖δₖ‖ − ln‖δ₁‖"),
    "crossing": Column(
        "float64", "", "value of the control at which the rate turns positive, interpolated", "rate turns positive at"
    ),
    "jac_norm2_geometric": Column(
        "float64", "", "geometric mean of jac_norm2_median over the seeds", "geometric mean of median ‖J_t‖₂"
    ),
    "jac_cond_geometric": Column(
        "float64", "", "geometric mean of jac_cond_median over the seeds", "geometric mean of median cond J_t"
    ),
    "crossed": Column("int64", "", "number of seeds in which the rate turns positive", "seeds that cross"),
    "horizon_e_mean": Column("float64", "steps", "mean steps until ‖δ‖ is below 1/e, within the first `limit` steps"),
    "horizon_1pct_mean": Column(
        "float64", "steps", "mean steps until ‖δ‖ is below 1 %, within the first `limit` steps"
    ),
    "limit": Column("float64", "steps", "longest observation of a run", "limit"),
    "censored_runs": Column("float64", "", "share of the runs that are censored", "runs censored"),
    "index_share": Column("float64", "", "rank of an exponent divided by H, the units of a layer", "index i / H"),
    "travelled": Column("float64", "nats", "mean of ln‖path‖ minus ln of the norm on all paths at lag 0", "ln‖path‖"),
    "activity": Column("float64", "", "mean of |gate| over units, sequences and seeds", "mean |gate|"),
    "jac_sigma": Column("float64", "nats", "ln of the singular values of J_t", "ln σ(Jₜ)"),
    "temporal": Column("float64", "nats", "mean of ln‖∂L_t/∂s_s‖ over the sequences that are not zero", "ln‖∂Lₜ/∂sₛ‖"),
    "part": Column(
        "float64", "nats", "ln of the norm of step t's contribution to a parameter's gradient", "ln‖part of step t‖"
    ),
    "log_gradient": Column("float64", "nats", "ln of the norm of a state's or a gate's total gradient", "ln‖gradient‖"),
    "parameter": Column("string", "", "the parameter whose gradient the step contributes to", "parameter"),
    "gate": Column("string", "", "the gate, or the gradient shown with the gates", ""),
    "needed": Column("float64", "steps", "lag that the task needs: T − 1, the span to the first input", "lag needed"),
    "loss_t": Column("int64", "steps", "step at which the loss is read", "loss step t"),
    "s": Column("int64", "steps", "step of the state by which the loss is differentiated", "state step s"),
    "setup": Column("string", "", "the runs and the number compared with the published one", "set-up"),
    "published": Column("float64", "", "the number as published", "published"),
    "measured": Column("float64", "", "the number measured by the study, as its set-up describes", "measured"),
    "size": Column("string", "", "units per layer and steps per sequence of the networks measured", "size"),
    "runs": Column("int64", "", "number of runs, or pairs of runs, behind a number", "runs"),
    "word": Column("string", "", "result of the comparison (gradlab.tables.published.RULES)", "verdict"),
    "a": Column("string", "", "first of the two levels compared", "a"),
    "b": Column("string", "", "second of the two levels compared", "b"),
    "difference": Column(
        "float64", "nats/step", "mean over the seeds of the rate of b minus that of a", "rate of b − rate of a"
    ),
    "pairs": Column("int64", "", "number of seeds for which both runs have a rate", "pairs"),
    "p_adjusted": Column("float64", "", "p of the paired t-test times the number of tests, at most 1", "p (adjusted)"),
    "sentence": Column("string", "", "the finding of the row as a sentence", "in words"),
    "seeds": Column("int64", "", "number of runs in the mean"),
    "diverged": Column("int64", "", "number of runs that diverged, left out of the mean"),
    "failed": Column("int64", "", "number of runs that failed, left out of the mean"),
}

#: Columns of ``spectra``: one row per layer, direction and exponent. ``runs`` has the exponents as lyapunov_1 … k.
SPECTRA: dict[str, Column] = {
    **_IDENTITY,
    "index": Column("int64", "", "rank of the exponent; 1 is the largest", "index i"),
    "exponent": Column("float64", "nats/step", "Lyapunov exponent, mean over the sequences", "exponent λᵢ"),
    "stderr": Column("float64", "nats/step", "standard error of the exponent, from blocks in time"),
}

#: Further columns of the tables of a watched training: ``WATCHED`` in every table, ``WATCHED_RUNS`` in ``runs``.
WATCHED: dict[str, Column] = {
    "module": Column("string", "", "name of the recurrent module in its model", "module"),
    "step": Column("int64", "", "number of earlier backward passes that reached the watched modules", "training step"),
    "call": Column("int64", "", "number of earlier sequences of the module in the same backward pass", "call"),
}
WATCHED_RUNS: dict[str, Column] = {
    "precision": Column("string", "", "precision of the module's output; float16 and bfloat16 are computed in float32"),
    "loss_scale": Column("float64", "", "loss scale that was divided out; 1 if none was given", "loss scale"),
    "kept": Column(
        "float64",
        "",
        "norm of a gradient at the optimiser divided by its norm in the pass (in PyTorch: of the first weight)",
        "kept",
    ),
    "lost_float32": Column(
        "float64", "steps", "first lag at which the gradients of most sequences are subnormal in float32"
    ),
    "lost_float16": Column("float64", "steps", "the same in float16, with the loss scale included"),
}

#: Further columns of ``runs`` in a study that trains, besides ``step``. There is one row per layer, direction and
#: measured step, and ``loss`` and ``score`` are over test sequences.
TRAINING: dict[str, Column] = {
    "score": Column(
        "float64", "", "share of right answers on test sequences; missing for a task without a score", "score"
    ),
    "constant_loss": Column("float64", "", "test loss of the best answer that ignores the input", "loss of a constant"),
    "solved": Column("float64", "", "1 if training met its criterion, 0 if it did not", "share solved"),
    "steps_to_criterion": Column(
        "float64", "training steps", "steps until the criterion was met; inf if it was not", "steps to criterion"
    ),
    "trained": Column(
        "float64", "training steps", "steps done; fewer than step if training had ended by then", "steps trained"
    ),
}
#: Columns ``<baseline>_loss`` and ``<baseline>_score`` of ``runs`` in a study that trains, by their last part.
BASELINE = {"loss": "mean loss", "score": "share of right answers"}
#: The column ``step`` of every table of a study that trains; it stands after ``direction``.
STEP = Column("int64", "training steps", "number of training steps before the measurement of a row", "training step")

_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")

TABLES = {"runs": RUNS, "steps": STEPS, "spectra": SPECTRA}


def check_table(name: object, *others: str) -> None:
    """Refuse a name that is neither one of :data:`TABLES` nor one of ``others``.

    Raises
    ------
    InputError
        With the nearest name.
    """
    if not isinstance(name, str) or name not in (*TABLES, *others):
        raise InputError(unknown("table", name, (*TABLES, *others)))


def tables(*, trained: bool = False) -> dict[str, dict[str, Column]]:
    """Return the columns of each table of a study.

    Parameters
    ----------
    trained : bool
        Whether the study trains; its tables then have a column ``step``, and ``runs`` also those of `TRAINING`.

    Returns
    -------
    dict
        Columns by name, for ``runs``, ``steps`` and ``spectra``.
    """
    if not trained:
        return TABLES
    return {name: _with_step(columns) | (TRAINING if name == "runs" else {}) for name, columns in TABLES.items()}


def _with_step(columns: dict[str, Column]) -> dict[str, Column]:
    """Return the columns with ``step`` inserted after ``direction``."""
    names = list(columns)
    first = names[: names.index("direction") + 1]
    return {name: columns[name] for name in first} | {"step": STEP} | columns


#: Meanings of the values in the column ``quantity`` of ``steps``. A figure takes the text before the first colon or
#: comma as the label.
QUANTITIES: dict[str, str] = {
    name: meaning for recorded in RECORDED.values() for name, meaning in recorded.quantities.items()
}


def described(column: str) -> Column | None:
    """Return the description of a column of any table.

    Parameters
    ----------
    column : str
        Name of the column; ``lyapunov_<i>`` and the columns of baselines are described too.

    Returns
    -------
    Column or None
        None for a column that is not in the schema, such as most keys of a study.
    """
    prefix, _, rank = column.partition("_")
    if prefix == "lyapunov" and rank.isdecimal():
        return Column("float64", "nats/step", f"Lyapunov exponent {rank}", "λ" + rank.translate(_SUBSCRIPTS))
    kind, less, baseline = column.partition("_less_")
    if less and kind in BASELINE:
        name = baseline.replace("_", " ")
        return Column("float64", "", f"{BASELINE[kind]} minus that of {name}, paired by seed", f"{kind} less {name}'s")
    baseline, _, kind = column.rpartition("_")
    if baseline and kind in BASELINE and column not in TRAINING:
        name = baseline.replace("_", " ")
        return Column("float64", "", f"{BASELINE[kind]} of {name}, over the same test sequences", f"{kind} of {name}")
    return {**KEYS, **DERIVED, **WATCHED, **WATCHED_RUNS, **TRAINING, **SPECTRA, **STEPS, **RUNS}.get(column)


def axis_label(column: str) -> str:
    """Return ``label (unit)`` for an axis.

    Parameters
    ----------
    column : str
        Name of the column. If it is not in the schema, its name is the label.
    """
    found = described(column)
    if found is None:
        return column if "." in column else column.replace("_", " ")  # dotted keys keep the spelling of the study
    name = found.label or column.replace("_", " ")
    return f"{name} ({found.unit})" if found.unit else name
