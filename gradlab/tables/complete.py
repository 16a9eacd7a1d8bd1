"""Completion of tables: every column of the schema, with missing values where no hook measured it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from gradlab import schema

#: Missing values by dtype in the schema.
MISSING: dict[str, Any] = {"string": "", "int64": 0, "float64": np.nan}


def completed(table: pd.DataFrame, name: str, *, own: Sequence[str] = ()) -> pd.DataFrame:
    """Return a table with all columns of the schema, in its order and with its dtypes.

    Parameters
    ----------
    table : DataFrame
        Rows of the table ``name``, with some of its columns and any others.
    name : "runs", "steps" or "spectra"
        Name of the table in the schema.
    own : sequence of str
        Columns to place before ``layer``, like the keys of a study. Other columns outside the schema come last.

    Returns
    -------
    DataFrame
        Numbers that were not measured are nan, or 0 in an integer column. Texts are empty.
    """
    known = {column: _typed(table, column, found.dtype) for column, found in schema.TABLES[name].items()}
    others = {column: table[column] for column in table.columns if column not in known}
    place = list(known).index("layer")
    order = dict.fromkeys((*list(known)[:place], *own, *list(known)[place:], *others))
    every = {column: pd.Series(dtype="object", index=table.index) for column in own} | others | known
    return pd.DataFrame({column: every[column] for column in order})


def _typed(table: pd.DataFrame, column: str, dtype: str) -> pd.Series:
    """Return a column with this dtype, with missing values filled."""
    kind: Any = "str" if dtype == "string" else dtype
    values = table[column] if column in table else pd.Series([MISSING[dtype]] * len(table), index=table.index)
    if values.hasnans:
        values = values.astype("object").where(values.notna(), MISSING[dtype])
    typed: pd.Series = values.astype(kind)
    return typed
