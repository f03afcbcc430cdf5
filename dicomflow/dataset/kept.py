"""What a dataset has already, for a run that was not told otherwise: its columns.

In: a published version.  Out: the profile that its rows were made with, wherever the file of it is now.  Reads only; knows no
headers and no options.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from dicomflow.dataset.layout import Layout
from dicomflow.dataset.parts import read_schema
from dicomflow.dataset.snapshot import Snapshot
from dicomflow.errors import ConfigError, DatasetError
from dicomflow.schema.arrow import instances_schema, profile_of, schema_fingerprint
from dicomflow.schema.column import Column
from dicomflow.schema.profile import BUILT_IN, Profile, load_profile

_ROW_TABLES = ("instances", "conflicts")
"""Tables whose parts have the columns of the profile."""


def read_profile(layout: Layout, snapshot: Snapshot) -> Profile:
    """The profile of a dataset: a built-in one where it is still the same, else as its parts say.

    Raises:
        DatasetError: no part says it; columns must be named.
    """
    for profile in _iter_profiles(layout, snapshot):
        if schema_fingerprint(instances_schema(profile)) == snapshot.schema:
            return profile
    raise DatasetError(
        f"{layout.root}: no part of it says what its columns are (profile {snapshot.profile!r}); name them, as --columns FILE"
    )


def _iter_profiles(layout: Layout, snapshot: Snapshot) -> Iterator[Profile]:
    if snapshot.profile in BUILT_IN:
        yield load_profile(snapshot.profile)
    parts = (layout.table(table) / name for table in _ROW_TABLES for name in sorted(snapshot.tables[table]))
    for part in parts:
        with contextlib.suppress(DatasetError, ConfigError):  # a damaged part is for others to judge
            yield Profile(snapshot.profile, _read_columns(part))


def _read_columns(part: Path) -> tuple[Column, ...]:
    return profile_of(read_schema(part)).columns
