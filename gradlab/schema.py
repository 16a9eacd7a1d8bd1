"""Every column of every table: its dtype, its unit, its meaning. What a figure prints, it reads here."""

from __future__ import annotations

from typing import NamedTuple


class Column(NamedTuple):
    """One column: pandas ``dtype``, ``unit`` ("" for a pure number), ``meaning``, short ``label`` for an axis."""

    dtype: str
    unit: str
    meaning: str
    label: str = ""


STATUSES = ("planned", "done", "diverged", "failed")
DIRECTIONS = ("forward", "reverse")

_IDENTITY = {
    "id": Column("string", "", "hash of everything that defines the configuration's rows"),
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
            "window": Column("int64", "steps", "increments that the rate is the mean of", "window"),
            "horizon_e": Column("float64", "steps", "steps until ‖δ‖ is below 1/e of lag 1's, median", "horizon (1/e)"),
            "horizon_1pct": Column(
                "float64", "steps", "steps until ‖δ‖ is below 1 % of lag 1's, median", "horizon (1 %)"
            ),
            "censored": Column(
                "float64", "", "share of sequences that never fell below 1 %: T ended first", "censored"
            ),
            "shape": Column(
                "string", "", "exponential, power law, flat, non-monotone or undecided", "shape of the decay"
            ),
            "verdict": Column(
                "string", "", "the word for the run, from its gradient alone (gradlab.verdicts.labels)", "verdict"
            ),
        },
        quantities={
            "adjoint": "ln‖δ_t‖, the joint adjoint of the whole loss",
            "last_adjoint": "ln‖δ_t‖, the joint adjoint of the last loss step's loss alone, from which the rate "
            "is taken",
            "dL/dh": "ln‖dL/dh_t‖, total",
            "dL/dc": "ln‖dL/dc_t‖, total",
            "direct": "ln‖direct partial‖: what arrives at the layer's output sequence, its own recurrence cut",
            "dL/dx": "ln‖dL/dx_t‖",
            "dL/*": "ln of the norm of the total gradient of any other state or pre-activation",
        },
    ),
    "lyapunov:8": Recorded(
        columns={
            "lyapunov_*": Column("float64", "nats/step", "Lyapunov exponents, the largest first"),
            "kaplan_yorke": Column(
                "float64", "", "Kaplan–Yorke dimension, where the exponents reach down to it", "D_KY"
            ),
            "entropy": Column(
                "float64", "nats/step", "sum of the positive exponents, where all are known", "entropy rate"
            ),
            "positive_exponents": Column(
                "float64", "", "number of positive exponents, where all are known", "exponents > 0"
            ),
            "mean_exponent": Column(
                "float64", "nats/step", "mean of all S exponents, where it is known", "mean exponent"
            ),
        },
    ),
    "paths": Recorded(
        columns={
            "path_share": Column(
                "float64",
                "",
                "share of the gradient at t = 0 that travelled on the additive path alone",
                "additive share",
            ),
        },
        quantities={
            "path_additive": "ln of the gradient's norm on the additive path alone",
            "path_gates": "ln of the norm of what travelled through a gate at least once",
            "path_all": "ln of the gradient's norm on all paths, of the same state",
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
                "mean of h² over units, sequences and the steps after the first tenth",
                "mean square of h",
            ),
            "weight_sensitivity": Column(
                "float64",
                "",
                "mean over sequences of ‖∂ℓ/∂W_hh‖² / (H ‖∂ℓ/∂h‖²), ℓ the last loss step's loss: "
                "of W_hh = λI that of (∂h/∂λ)²",
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
                "mean over units, steps and sequences of what a step keeps of the state: f of an LSTM, 1 − z (or z) "
                "of a GRU",
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
            "temporal": "ln‖∂L_t/∂s_s‖ of one loss step t: the column t is s, and lag counts from the loss step",
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
    "error": Column("string", "", "why a configuration failed or diverged, in one line"),
    "traceback": Column("string", "", "where a failed configuration failed"),
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

#: Columns by the name under which older files hold them.
RENAMED = {"carried": "keep_gate_mean"}

#: Keys of a study whose name alone does not say what they are; all others label themselves.
KEYS: dict[str, Column] = {
    "length": Column("int64", "steps", "T, the steps of a sequence", "length T"),
    "scale": Column("float64", "", "factor of W_hh as it is drawn", "init scale g"),
    "hidden": Column("int64", "", "H, the units of a layer", "hidden size H"),
    "init.forget_bias": Column("float64", "", "b_f, what is added to the forget gate's bias", "forget bias b_f"),
    "batch": Column("int64", "", "B, the sequences of a batch", "batch size B"),
}

#: Columns of ``steps``: one row a layer, direction, quantity and t; statistics are over the sequences.
STEPS: dict[str, Column] = {
    **_IDENTITY,
    "t": Column("int64", "steps", "time step; 0 is the initial state", "t"),
    "lag": Column("int64", "steps", "k = T − t (reverse direction: t − 1)", "lag k"),
    "quantity": Column("string", "", "what was measured (schema.QUANTITIES)", "quantity"),
    "mean_log": Column("float64", "nats", "mean of the natural logarithm over sequences that are not zero"),
    "q05": Column("float64", "nats", "5 % quantile of the logarithm over the same sequences"),
    "q50": Column("float64", "nats", "median of the logarithm over the same sequences"),
    "q95": Column("float64", "nats", "95 % quantile of the logarithm over the same sequences"),
    "zeros": Column("int64", "sequences", "sequences that are exactly zero, left out of the averages", "zeros"),
}

#: Columns of the tables that figures are drawn from, beside those of ``runs`` and ``steps``.
DERIVED: dict[str, Column] = {
    "memory": Column(
        "float64",
        "steps",
        "1/(1 − e^rate), the sum over all lags of a gradient that decays at the rate",
        "memory 1/(1 − e^rate)",
    ),
    "square": Column("float64", "", "a mean square: of the states, or of what a weight does to them", "mean square"),
    "change": Column("float64", "nats", "mean of ln‖δ‖ less its value at lag 1", "ln‖δₖ‖ − ln‖δ₁‖"),
    "crossing": Column(
        "float64", "", "value of the control at which the rate turns positive, interpolated", "rate turns positive at"
    ),
    "jac_norm2_geometric": Column(
        "float64", "", "geometric mean of jac_norm2_median over the seeds", "geometric mean of median ‖J_t‖₂"
    ),
    "jac_cond_geometric": Column(
        "float64", "", "geometric mean of jac_cond_median over the seeds", "geometric mean of median cond J_t"
    ),
    "crossed": Column("int64", "", "seeds in which the rate turns positive", "seeds that cross"),
    "horizon_e_mean": Column("float64", "steps", "mean steps until ‖δ‖ is below 1/e, of the first `limit` ones"),
    "horizon_1pct_mean": Column("float64", "steps", "mean steps until ‖δ‖ is below 1 %, of the first `limit` ones"),
    "limit": Column("float64", "steps", "the longest that a run was watched", "limit"),
    "censored_runs": Column("float64", "", "share of the runs that ended too soon to tell", "runs censored"),
    "index_share": Column("float64", "", "rank of an exponent over H, the units of a layer", "index i / H"),
    "travelled": Column("float64", "nats", "mean of a path's ln norm less that of all paths at lag 0", "ln‖path‖"),
    "activity": Column("float64", "", "mean of |gate| over units, sequences and seeds", "mean |gate|"),
    "jac_sigma": Column("float64", "nats", "ln of the singular values of J_t", "ln σ(Jₜ)"),
    "temporal": Column("float64", "nats", "mean of ln‖∂L_t/∂s_s‖ over the sequences that are not zero", "ln‖∂Lₜ/∂sₛ‖"),
    "part": Column(
        "float64", "nats", "ln of the norm of step t's part of a parameter's gradient", "ln‖part of step t‖"
    ),
    "log_gradient": Column("float64", "nats", "ln of the norm of a state's or a gate's total gradient", "ln‖gradient‖"),
    "parameter": Column("string", "", "the parameter whose gradient it is a part of", "parameter"),
    "gate": Column("string", "", "the gate, or the gradient beside it", ""),
    "needed": Column("float64", "steps", "lag that the task needs: T − 1, the span to the first input", "lag needed"),
    "loss_t": Column("int64", "steps", "step at which the loss is read", "loss step t"),
    "s": Column("int64", "steps", "step of the state that it teaches", "state step s"),
    "setup": Column("string", "", "the runs that a published number is set beside", "set-up"),
    "published": Column("float64", "", "the number as published", "published"),
    "measured": Column("float64", "", "what the study measured, as its set-up says", "measured"),
    "size": Column("string", "", "units of a layer and steps of a sequence of the networks measured", "size"),
    "runs": Column("int64", "", "runs, or pairs of them, that a number is made of", "runs"),
    "word": Column("string", "", "the word for measured beside published (gradlab.tables.published.RULES)", "verdict"),
    "a": Column("string", "", "what is compared", "a"),
    "b": Column("string", "", "with what it is compared", "b"),
    "difference": Column("float64", "nats/step", "mean over the seeds of b's rate less a's", "rate of b − rate of a"),
    "pairs": Column("int64", "", "seeds of which both runs have a rate", "pairs"),
    "p_adjusted": Column("float64", "", "p of the paired t-test times the differences of the table", "p (adjusted)"),
    "sentence": Column("string", "", "what a row says", "in words"),
    "seeds": Column("int64", "", "runs that the mean is over"),
    "diverged": Column("int64", "", "runs that diverged, left out of the mean"),
    "failed": Column("int64", "", "runs that failed, left out of the mean"),
}

#: Columns of ``spectra``: one row a layer, direction and exponent. ``runs`` has them too, as lyapunov_1 … k.
SPECTRA: dict[str, Column] = {
    **_IDENTITY,
    "index": Column("int64", "", "rank of the exponent, 1 the largest", "index i"),
    "exponent": Column("float64", "nats/step", "Lyapunov exponent, mean over the sequences", "exponent λᵢ"),
    "stderr": Column("float64", "nats/step", "its standard error, from blocks in time"),
}

#: What a watched training's tables have beside a study's columns: ``WATCHED`` in each of them, the others in ``runs``.
WATCHED: dict[str, Column] = {
    "module": Column("string", "", "name of the recurrent module in its model", "module"),
    "step": Column("int64", "", "backward passes that reached the watched modules before this one", "training step"),
    "call": Column("int64", "", "sequences of the module looked at before, in the same backward pass", "call"),
}
WATCHED_RUNS: dict[str, Column] = {
    "precision": Column("string", "", "precision of the module's output; float16 and bfloat16 are computed in float32"),
    "loss_scale": Column("float64", "", "scale of the loss that was divided out; 1 if none was told", "loss scale"),
    "kept": Column(
        "float64",
        "",
        "norm of a gradient as the optimiser got it, over that of the pass: in PyTorch the first weight's",
        "kept",
    ),
    "lost_float32": Column("float64", "steps", "lag at which the gradient is below float32's normal numbers"),
    "lost_float16": Column("float64", "steps", "the same for float16, the loss scale counted in"),
}

#: Columns of ``runs`` of a study that trains, beside ``step``: one row a layer, direction and step that was measured.
#: ``loss`` and ``score`` are then over test sequences.
TRAINING: dict[str, Column] = {
    "score": Column(
        "float64", "", "share of answers that are right, over test sequences; missing without any", "score"
    ),
    "constant_loss": Column(
        "float64", "", "loss on test data of the best answer that does not look at the input", "loss of a constant"
    ),
    "solved": Column("float64", "", "1 if training met its criterion, 0 if it ended before", "share solved"),
    "steps_to_criterion": Column(
        "float64", "training steps", "steps until the criterion was met; inf if it was not", "steps to criterion"
    ),
    "trained": Column(
        "float64", "training steps", "steps done by then, fewer than step where it had ended", "steps trained"
    ),
}
#: What ``runs`` then has of a task's baselines too, as ``<baseline>_loss`` and ``<baseline>_score``.
BASELINE = {"loss": "mean loss", "score": "share of right answers"}
#: What each table of a study that trains has after ``direction``.
STEP = Column("int64", "training steps", "step of training that a row is measured after", "training step")

_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")

TABLES = {"runs": RUNS, "steps": STEPS, "spectra": SPECTRA}


def tables(*, trained: bool = False) -> dict[str, dict[str, Column]]:
    """Return the columns of each table, as a study has them that trains or does not."""
    if not trained:
        return TABLES
    return {name: _with_step(columns) | (TRAINING if name == "runs" else {}) for name, columns in TABLES.items()}


def _with_step(columns: dict[str, Column]) -> dict[str, Column]:
    names = list(columns)
    first = names[: names.index("direction") + 1]
    return {name: columns[name] for name in first} | {"step": STEP} | columns


#: Meanings of the values in the ``quantity`` column of ``steps``, of all hooks.
QUANTITIES: dict[str, str] = {
    name: meaning for recorded in RECORDED.values() for name, meaning in recorded.quantities.items()
}


def described(column: str) -> Column | None:
    """Return what the schema says of a column of any table; None where it says nothing, as of most keys."""
    prefix, _, rank = column.partition("_")
    if prefix == "lyapunov" and rank.isdecimal():
        return Column("float64", "nats/step", f"Lyapunov exponent {rank}", "λ" + rank.translate(_SUBSCRIPTS))
    kind, less, baseline = column.partition("_less_")
    if less and kind in BASELINE:
        name = baseline.replace("_", " ")
        return Column("float64", "", f"{BASELINE[kind]} less that of {name}, paired by seed", f"{kind} less {name}'s")
    baseline, _, kind = column.rpartition("_")
    if baseline and kind in BASELINE and column not in TRAINING:
        name = baseline.replace("_", " ")
        return Column("float64", "", f"{BASELINE[kind]} of {name}, over the same test sequences", f"{kind} of {name}")
    return {**KEYS, **DERIVED, **WATCHED, **WATCHED_RUNS, **TRAINING, **SPECTRA, **STEPS, **RUNS}.get(column)


def axis_label(column: str) -> str:
    """Return ``label (unit)`` for an axis; columns that the schema does not know label themselves."""
    found = described(column)
    if found is None:
        return column if "." in column else column.replace("_", " ")  # a study's key is spelled as it is given
    name = found.label or column.replace("_", " ")
    return f"{name} ({found.unit})" if found.unit else name
