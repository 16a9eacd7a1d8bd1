"""Records of a watched training, one per sequence of a module and backward pass, and the tables made from them."""

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

#: Columns of ``runs`` that describe the run; they follow the columns of :data:`gradlab.schema.WATCHED`.
FACTS = ("cell", "length", "hidden", "batch", "precision")
#: Smallest normal number per training precision. Smaller numbers lose digits and then become 0.
SMALLEST = {"float32": 2.0**-126, "float16": 2.0**-14}

#: Most passes drawn as lines in one figure of a report; the number is odd, so that the middle pass is included.
LINES = 5
#: Smallest relative loss of the gradient's norm that counts as clipping; rounding is far below it.
LEAST_CUT = 1e-3
#: A gradient divided by exactly 2 to this power or a higher one was unscaled, not clipped.
LEAST_SCALE = 3


@dataclass
class Record:
    """The measurements of one sequence of a module in one backward pass.

    Attributes
    ----------
    module : str
        Name of the module in the model.
    step : int
        Number of the backward pass, from 0.
    call : int
        Number of the module's sequence within the pass, from 0.
    tables : dict of DataFrame
        The tables that the hooks filled, by name.
    facts : dict
        Columns of ``runs`` that are the same for every layer.
    """

    module: str
    step: int
    call: int
    tables: dict[str, pd.DataFrame]
    facts: dict[str, Any] = field(default_factory=dict)

    def rows(self, name: str) -> pd.DataFrame:
        """Return the table ``name`` with the columns that identify this record."""
        import pandas as pd

        table = self.tables[name]
        if not len(table):
            return table
        place = {"id": f"{self.module}/{self.step}/{self.call}", "module": self.module}
        more = self.facts if name == "runs" else {}
        return pd.DataFrame({**place, "step": self.step, "call": self.call, **more, **table})

    def numbers(self) -> dict[str, float]:
        """Return every finite number of ``runs`` by a name such as ``module/layer0/rate``."""
        found = {}
        for row in self.tables["runs"].to_dict("records"):
            direction = "" if row["direction"] == "forward" else f".{row['direction']}"
            call = f".{self.call}" if self.call else ""
            for name, value in row.items():
                if name not in ("layer", *FACTS) and isinstance(value, int | float | np.number) and np.isfinite(value):
                    found[f"{self.module}{call}/layer{row['layer']}{direction}/{name}"] = float(value)
        return found


def layer_row(one: LayerPass, loss_scale: float) -> dict[str, Any]:
    """Return the columns of ``runs`` that are known without a hook, for one layer and direction.

    Parameters
    ----------
    one : LayerPass
        The pass of one layer and direction.
    loss_scale : float
        Scale of the loss in the training; ``lost_float32`` and ``lost_float16`` are for the scaled gradient.
    """
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
    """Return the first lag at which most sequences have a gradient below ``smallest`` but not 0; nan if none."""
    logs = one.by_lag()
    with np.errstate(invalid="ignore"):
        below = (logs < np.log(smallest)) & np.isfinite(logs)
    mostly = 2 * below.sum(axis=1) > (~np.isnan(logs)).sum(axis=1)
    return float(mostly.argmax()) if mostly.any() else float("nan")


def table_of(records: Sequence[Record], name: str) -> pd.DataFrame:
    """Return the table ``name`` of all records.

    Raises
    ------
    InputError
        If there is no such table.
    """
    import pandas as pd

    if name not in schema.TABLES:
        raise InputError(unknown("table", name, schema.TABLES))
    parts = [rows for record in records if len(rows := record.rows(name))]
    return complete(pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(), name)


def complete(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return a table of a watch with all columns of the schema.

    The columns that identify a record and the facts about it come before ``layer``.
    """
    from gradlab.tables.complete import completed

    return completed(table, name, own=(*schema.WATCHED, *(FACTS if name == "runs" else ())))


def as_study(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return the tables in the form of a study that trains and varies the module, for figures and reports.

    ``steps`` and ``spectra`` keep the first pass, the last pass and a few in between, because a figure cannot show
    more lines. The column ``layers`` of ``runs`` names the module, layer and direction of a row.
    """
    found = tables["runs"]
    runs = found.assign(study="watch", cell=found["module"]).rename(columns={"call": "seed"})
    runs["hooks"] = "gradients" if (found["verdict"] != "").any() else ""  # figures of rates need it
    runs["layers"] = [place_name(row) for row in found[["module", "layer", "direction"]].to_dict("records")]
    keys = ["id", "study", "cell", "length", "seed"]
    rest = ["layer", *(name for name in runs if name not in (*keys, "layer", "module"))]  # no keys: after the layer
    shown = {name: tables[name][tables[name]["step"].isin(_few(tables[name]["step"]))] for name in ("steps", "spectra")}
    others = {name: table.drop(columns=["module", "call"]) for name, table in shown.items()}
    return {"runs": runs[[*keys, *rest]], **others}


def _few(steps: pd.Series) -> NDArray[np.int64]:
    """Return at most LINES evenly spaced training steps, including the first, the middle and the last."""
    every = np.unique(steps.to_numpy(np.int64))
    return np.asarray(every[np.unique(np.linspace(0, len(every) - 1, min(LINES, len(every))).astype(int))])


def place_name(row: Mapping[Any, Any]) -> str:
    """Return the name of a row's layer and direction, such as ``encoder.lstm layer 1 reverse``."""
    direction = "" if row["direction"] == "forward" else f" {row['direction']}"
    return f"{row['module']} layer {row['layer']}{direction}"


def noticed(kept: pd.Series, loss_scale: pd.Series) -> dict[str, str]:
    """Return signs of clipping and of an unknown loss scale, as text by topic.

    A gradient that was divided by exactly a power of two is a sign of a scaled loss whose scaler was not given.

    Parameters
    ----------
    kept : Series
        Norm of the gradient that the optimiser got, relative to the norm of the whole gradient.
    loss_scale : Series
        The known loss scale; 1 if none was given.

    Returns
    -------
    dict of str
        A note under "loss scale" or "clipping"; empty if neither was found.
    """
    known = kept.notna() & (kept > 0)
    shares, scales = kept[known].to_numpy(np.float64), loss_scale[known].to_numpy(np.float64)
    halved = (np.frexp(shares)[0] == 0.5) & (shares <= 2.0**-LEAST_SCALE) & (scales == 1.0)
    if halved.any():
        scale = 1.0 / shares[halved][-1]
        divided = f"the optimiser got gradients divided by {scale:.0f}"
        return {"loss scale": f"{divided}; if a GradScaler did this, pass it as scaler="}
    cut = shares < 1.0 - LEAST_CUT
    if not cut.any():
        return {}
    least = f"as little as {shares.min():.2g} of the norm"
    return {"clipping": f"the optimiser got less than the whole gradient in {cut.sum()} of {cut.size} rows, {least}"}
