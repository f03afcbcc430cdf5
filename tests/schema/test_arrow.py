"""Arrow schemas: the contract with whoever reads the dataset."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dicomflow.dictionary import PYDICOM_VERSION
from dicomflow.errors import ConfigError
from dicomflow.schema.arrow import files_schema, instances_schema, profile_of, schema_fingerprint
from dicomflow.schema.column import ISSUES_TYPE
from dicomflow.schema.profile import load_profile
from dicomflow.schema.version import FORMAT_VERSION

STANDARD = load_profile("standard")
SOURCE = [
    "source_uri",
    "source_member",
    "source_size",
    "source_mtime",
    "header_bytes",
    "header_digest",
    "status",
    "issues",
]


def test_instances_are_key_then_columns_then_source():
    """The key is first and never null."""
    schema = instances_schema(STANDARD)
    assert schema.names == [column.name for column in STANDARD.columns] + SOURCE
    assert not schema.field("SOPInstanceUID").nullable and schema.field("PatientID").nullable
    assert schema.field("issues").type == ISSUES_TYPE


def test_every_column_says_where_it_comes_from():
    """Tag, VR and paths as field metadata; private elements by their creator."""
    schema = instances_schema(STANDARD)
    field = schema.field("PixelSpacing")
    assert field.metadata[b"dicom.tag"] == b"(0028,0030)" and field.metadata[b"dicom.vr"] == b"DS"
    assert field.metadata[b"dicom.paths"].count(b"\n") == 2
    for column in STANDARD.columns:
        assert schema.field(column.name).metadata[b"dicom.paths"].decode() == "\n".join(column.path_texts)


def test_the_schema_says_what_made_it():
    """Format, profile and dictionary versions; the ledger depends on the format alone."""
    metadata = instances_schema(STANDARD).metadata
    assert files_schema().metadata == {b"dicomflow.format": FORMAT_VERSION.encode()}
    assert metadata[b"dicomflow.format"] == FORMAT_VERSION.encode()
    assert metadata[b"dicomflow.profile"] == b"standard"
    assert metadata[b"dicomflow.pydicom"] == PYDICOM_VERSION.encode()


def test_the_ledger_has_the_columns_that_are_promised():
    """The design's list, in its order."""
    assert files_schema().names == [
        "uri",
        "member",
        "size",
        "mtime",
        "etag",
        "status",
        "code",
        "message",
        "offset",
        "SOPInstanceUID",
        "header_digest",
        "reader",
        "attempts",
        "run_id",
        "first_seen",
        "last_seen",
    ]


def test_the_fingerprint_depends_on_names_types_and_paths_only():
    """Another path is another dataset; another pydicom is not."""
    schema = instances_schema(STANDARD)
    assert schema_fingerprint(schema) == schema_fingerprint(schema.with_metadata({"x": "y"}))
    field = schema.field("PatientID")
    others = [field.with_name("Other"), field.with_type(pa.int64()), field.with_metadata({"dicom.paths": "StudyID"})]
    prints = {schema_fingerprint(schema.set(schema.get_field_index("PatientID"), other)) for other in others}
    assert len(prints | {schema_fingerprint(schema)}) == 4


OWN = str(Path(__file__).parents[2] / "configs" / "columns-own.yaml")


@pytest.mark.parametrize("name", ["minimal", "standard", OWN])
def test_the_way_back(name: str) -> None:
    """A schema holds its whole profile, also after Parquet, which calls the items of lists otherwise."""
    profile = load_profile(name)
    sink = io.BytesIO()
    pq.write_table(instances_schema(profile).empty_table(), sink)
    assert profile_of(instances_schema(profile)) == profile
    assert profile_of(pq.read_schema(sink)) == profile


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"dicom.vr": "LO"},
        {"dicom.vr": "LO", "dicom.paths": b"\xff"},
        {"dicom.vr": "LO", "dicom.paths": "Nothing"},
        {"dicom.vr": "OB", "dicom.paths": "PatientID"},
    ],
    ids=str,
)
def test_no_way_back(metadata: dict[str, str] | None) -> None:
    """Of a column that does not say what it is, whoever wrote it."""
    with pytest.raises(ConfigError):
        profile_of(pa.schema([pa.field("X", pa.string(), metadata=metadata)]))
