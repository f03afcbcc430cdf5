"""Hand a dataset over as a Dask DataFrame.

In: pieces, and how one is read.  Out: a DataFrame that reads each piece where it is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import dask

if TYPE_CHECKING:
    import dask.dataframe
    import pandas as pd

DaskFrame: TypeAlias = "dask.dataframe.DataFrame"


def make_frame(read: Callable[[Any], pd.DataFrame], pieces: Sequence[Any], empty: pd.DataFrame) -> DaskFrame:
    """A Dask DataFrame with one partition for each of ``pieces``, read where it is computed.

    Args:
        read: a piece -> its rows; can be pickled.
        pieces: at least one.
        empty: no rows, with the columns and types of all partitions.
    """
    import dask.dataframe  # nothing else needs it

    with dask.config.set({"dataframe.convert-string": False}):  # values are what pandas alone would have
        return dask.dataframe.from_map(read, pieces, meta=empty, enforce_metadata=False, label="instances")
