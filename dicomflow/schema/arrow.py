"""Arrow schemas of the dataset's tables, decided before the scan and never from the data.

In: a Profile.  Out: ``pyarrow.Schema`` for ``instances``, ``files`` and ``conflicts``; and the way back.  Knows no files.
"""

from __future__ import annotations

import hashlib

import pyarrow as pa

from dicomflow.dictionary import PYDICOM_VERSION, format_tag
from dicomflow.errors import ConfigError
from dicomflow.schema.column import SOURCE_FIELDS, Column, make_column
from dicomflow.schema.profile import Profile
from dicomflow.schema.version import FORMAT_VERSION

_FILES_FIELDS = [
    pa.field("uri", pa.string(), nullable=False),
    pa.field("member", pa.string()),
    pa.field("size", pa.int64()),
    pa.field("mtime", pa.timestamp("us")),
    pa.field("etag", pa.string()),
    pa.field("status", pa.string(), nullable=False),
    pa.field("code", pa.string()),
    pa.field("message", pa.string()),
    pa.field("offset", pa.int64()),
    pa.field("SOPInstanceUID", pa.string()),
    pa.field("header_digest", pa.string()),
    pa.field("reader", pa.string()),
    pa.field("attempts", pa.int32()),
    pa.field("run_id", pa.string()),
    pa.field("first_seen", pa.timestamp("us")),
    pa.field("last_seen", pa.timestamp("us")),
]


def instances_schema(profile: Profile) -> pa.Schema:
    """Schema of ``instances`` (and of ``conflicts``): the key, the profile's columns, then where the row came from."""
    fields = [_field(column) for column in profile.columns]
    return pa.schema(fields + SOURCE_FIELDS, metadata=_metadata(profile))


def profile_of(schema: pa.Schema) -> Profile:
    """The profile that a schema of ``instances`` was made from: the way back from ``instances_schema``.

    Args:
        schema: as a part has it, with ``dicom.vr`` and ``dicom.paths`` on each attribute column.

    Raises:
        ConfigError: a column does not say where its values come from, or says what cannot be.

    >>> from dicomflow.schema.profile import load_profile
    >>> profile_of(instances_schema(load_profile("minimal"))) == load_profile("minimal")
    True
    """
    own = {field.name for field in SOURCE_FIELDS}
    name = (schema.metadata or {}).get(b"dicomflow.profile", b"").decode(errors="replace")
    return Profile(name, tuple(_column(field) for field in schema if field.name not in own))


def _column(field: pa.Field) -> Column:
    metadata = field.metadata or {}
    try:
        vr, paths = metadata[b"dicom.vr"].decode(), tuple(metadata[b"dicom.paths"].decode().split("\n"))
    except (KeyError, UnicodeDecodeError):
        raise ConfigError(f"column {field.name[:64]!r}: does not say where its values come from") from None
    one = make_column(field.name, paths, vr, "1")
    return one if _depth(one.arrow_type) == _depth(field.type) else make_column(field.name, paths, vr, "1-n")


def _depth(kind: pa.DataType) -> int:
    """How many lists lie in each other; their items have other names in Parquet than in Arrow."""
    return 1 + _depth(kind.value_type) if pa.types.is_list(kind) else 0


def files_schema() -> pa.Schema:
    """Schema of the ledger: the same whatever columns ``instances`` has."""
    return pa.schema(_FILES_FIELDS, metadata={"dicomflow.format": FORMAT_VERSION})


def schema_fingerprint(schema: pa.Schema) -> str:
    """A short hash of names, types and column definitions: what must be equal for two parts to be of one dataset."""
    hashed = hashlib.sha256()
    for field in schema:
        paths = (field.metadata or {}).get(b"dicom.paths", b"")
        # Parquet calls the items of a list ``element``, Arrow ``item``
        kind = str(field.type).replace("list<element: ", "list<item: ")
        hashed.update(f"{field.name}|{kind}|{paths.decode()}\n".encode())
    return hashed.hexdigest()[:32]


def _field(column: Column) -> pa.Field:
    steps = column.paths[0]
    creator = steps[-1].creator
    tag = format_tag(steps[-1].tag) if creator is None else column.path_texts[0].rpartition(".")[2]
    metadata = {"dicom.tag": tag, "dicom.vr": column.vr, "dicom.paths": "\n".join(column.path_texts)}
    return pa.field(column.name, column.arrow_type, nullable=column.name != "SOPInstanceUID", metadata=metadata)


def _metadata(profile: Profile) -> dict[str, str]:
    return {
        "dicomflow.format": FORMAT_VERSION,
        "dicomflow.profile": profile.name,
        "dicomflow.pydicom": PYDICOM_VERSION,
    }
