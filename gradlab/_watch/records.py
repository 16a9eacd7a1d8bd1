"""What a watched training leaves: a record a sequence of a module in a backward pass, and the tables of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradlab import schema
from gradlab.errors import InputError, unknown
from gradlab.layer import LayerPass

if TYPE_CHECKING:
    import pandas as pd

#: Columns of ``runs`` that say what ran, between those and the study's.
FACTS = ("cell", "length", "hidden", "batch", "precision")
#: The smallest normal numbers of the precisions in which networks are trained: below them digits are lost, then all.
SMALLEST = {"float32": 2.0**-126, "float16": 2.0**-14}

#: Passes that a report draws as lines beside each other; an odd number, so that the middle one is among them.
LINES = 5
#: An optimiser that gets this much less than the whole gradient got a clipped one; rounding is far below.
LEAST_CUT = 1e-3
#: A gradient divided by exactly 2 to this power or more was not clipped but unscaled.
LEAST_SCALE = 3


@dataclass
class Record:
    """What was measured of one sequence of a module in one backward pass.

    Attributes
    ----------
    call : how many of the module's sequences were looked at before, in that pass.
    tables : by name, as hooks filled them.
    facts : columns of ``runs`` that are the same for every layer.
    """

    module: str
    step: int
    call: int
    tables: dict[str, pd.DataFrame]
    facts: dict[str, Any] = field(default_factory=dict)

    def rows(self, name: str) -> pd.DataFrame:
        """Return a table with the columns that say which record it is."""
        import pandas as pd

        table = self.tables[name]
        if not len(table):
            return table
        place = {"id": f"{self.module}/{self.step}/{self.call}", "module": self.module}
        more = self.facts if name == "runs" else {}
        return pd.DataFrame({**place, "step": self.step, "call": self.call, **more, **table})

    def numbers(self) -> dict[str, float]:
        """Return every number of ``runs`` under ``module/layer0/rate``, what is not known left out."""
        found = {}
        for row in self.tables["runs"].to_dict("records"):
            direction = "" if row["direction"] == "forward" else f".{row['direction']}"
            call = f".{self.call}" if self.call else ""
            for name, value in row.items():
                if name not in ("layer", *FACTS) and isinstance(value, int | float | np.number) and np.isfinite(value):
                    found[f"{self.module}{call}/layer{row['layer']}{direction}/{name}"] = float(value)
        return found


def layer_row(one: LayerPass, loss_scale: float) -> dict[str, Any]:
    """Return what is known of a layer and direction without any hook, as columns of ``runs``."""
    broken = one.overflow_step[one.overflow_step > 0]
    return {
        "cell": one.cell.name,
        "length": int(one.tape.ends.max()),
        "hidden": one.cell.hidden_size,
        "batch": one.tape.x.shape[-1],
        "layer": one.layer,
        "direction": one.direction,
        "status": "diverged" if broken.size else "done",
        "error": f"the state is not finite from t = {int(broken.min())} on" if broken.size else "",
        "overflow_step": int(broken.min()) if broken.size else 0,
        **{f"lost_{name}": _lost_at(one, smallest / loss_scale) for name, smallest in SMALLEST.items()},
    }


def _lost_at(one: LayerPass, smallest: float) -> float:
    """Return the first lag at which most sequences' true gradient is below ``smallest``, but not 0; nan if none is."""
    logs = one.by_lag()
    with np.errstate(invalid="ignore"):
        below = (logs < np.log(smallest)) & np.isfinite(logs)
    mostly = 2 * below.sum(axis=1) > (~np.isnan(logs)).sum(axis=1)
    return float(mostly.argmax()) if mostly.any() else float("nan")


def table_of(records: Sequence[Record], name: str) -> pd.DataFrame:
    """Return one table of all records.

    Raises
    ------
    InputError
        for a table that there is not.
    """
    import pandas as pd

    if name not in schema.TABLES:
        raise InputError(unknown("table", name, schema.TABLES))
    parts = [rows for record in records if len(rows := record.rows(name))]
    return complete(pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(), name)


def complete(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return a table of a watch with all columns of the schema; its place and facts stand before the layer."""
    from gradlab.tables.complete import completed

    return completed(table, name, own=(*schema.WATCHED, *(FACTS if name == "runs" else ())))


def as_study(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return the tables as those of a study that trains, in which the module is varied, for its figures and report.

    ``steps`` and ``spectra`` hold the first pass, the last, and some between: no figure can show more lines. The
    column ``layers`` of ``runs`` names the module, layer and direction of a row.
    """
    found = tables["runs"]
    runs = found.assign(study="watch", cell=found["module"]).rename(columns={"call": "seed"})
    runs["hooks"] = "gradients" if (found["verdict"] != "").any() else ""  # without which no figure of rates is drawn
    runs["layers"] = [place_name(row) for row in found[["module", "layer", "direction"]].to_dict("records")]
    keys = ["id", "study", "cell", "length", "seed"]
    rest = ["layer", *(name for name in runs if name not in (*keys, "layer", "module"))]  # no keys, behind the layer
    shown = {name: tables[name][tables[name]["step"].isin(_few(tables[name]["step"]))] for name in ("steps", "spectra")}
    others = {name: table.drop(columns=["module", "call"]) for name, table in shown.items()}
    return {"runs": runs[[*keys, *rest]], **others}


def _few(steps: pd.Series) -> NDArray[np.int64]:
    """Return at most LINES steps of training, evenly spaced, the first, the middle and the last among them."""
    every = np.unique(steps.to_numpy(np.int64))
    return np.asarray(every[np.unique(np.linspace(0, len(every) - 1, min(LINES, len(every))).astype(int))])


def place_name(row: Mapping[Any, Any]) -> str:
    """Return how the layer and direction of a row is called: ``encoder.lstm layer 1 reverse``."""
    direction = "" if row["direction"] == "forward" else f" {row['direction']}"
    return f"{row['module']} layer {row['layer']}{direction}"


def noticed(kept: pd.Series, loss_scale: pd.Series) -> dict[str, str]:
    """Return what the share of a gradient that the optimiser was given says of clipping and of a loss scale.

    A loss scale that nobody told is a power of two by which every gradient was divided, exactly.
    """
    known = kept.notna() & (kept > 0)
    shares, told = kept[known].to_numpy(np.float64), loss_scale[known].to_numpy(np.float64)
    halved = (np.frexp(shares)[0] == 0.5) & (shares <= 2.0**-LEAST_SCALE) & (told == 1.0)
    if halved.any():
        scale = 1.0 / shares[halved][-1]
        return {
            "loss scale": f"the optimiser got gradients divided by {scale:.0f}; if a GradScaler did that, give scaler="
        }
    cut = shares < 1.0 - LEAST_CUT
    if not cut.any():
        return {}
    least = f"as little as {shares.min():.2g} of a gradient's norm"
    return {"clipping": f"the optimiser got less than the whole gradient in {cut.sum()} of {cut.size} rows, {least}"}
