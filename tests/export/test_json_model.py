"""DICOM JSON of rows: pydicom reads it back, and what it reads is what the dataset holds."""

from __future__ import annotations

import datetime as dt
import io
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pydicom
import pytest

import dicomflow
from dicomflow.export.json_model import JsonModel, write_json, write_ndjson
from dicomflow.header.dicom_json import to_dicom_json
from dicomflow.header.tree import read_tree
from dicomflow.schema.arrow import instances_schema
from dicomflow.schema.column import Column, make_column
from dicomflow.schema.profile import Profile, load_profile
from dicomflow.synth import iter_files, make_series

SHARED, FRAMES = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"


def model(columns: list[Column], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The objects of rows of these columns."""
    names = {column.name for column in columns}
    schema = pa.schema([field for field in instances_schema(Profile("p", tuple(columns))) if field.name in names])
    batch = pa.RecordBatch.from_pylist(rows, schema=schema)
    return [json.loads(text) for text in JsonModel(schema).rows(batch).to_pylist()]


def one(name: str, value: object, *paths: str, vr: str | None = None) -> dict[str, Any]:
    column = make_column(name, paths, vr=vr)
    return model([column], [{name: value}])[0]


@pytest.mark.parametrize(
    ("keyword", "value", "expected"),
    [
        ("PatientName", "Doe^Jo=山^太郎", {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jo", "Ideographic": "山^太郎"}]}),
        ("PatientName", "==Ph", {"vr": "PN", "Value": [{"Phonetic": "Ph"}]}),
        ("PatientName", "==", None),
        ("StudyDate", dt.date(24, 3, 1), {"vr": "DA", "Value": ["00240301"]}),
        ("StudyTime", dt.time(9, 5), {"vr": "TM", "Value": ["090500"]}),
        ("StudyTime", dt.time(9, 5, 0, 70), {"vr": "TM", "Value": ["090500.000070"]}),
        ("AcquisitionDateTime", dt.datetime(2024, 3, 1, 9, 5), {"vr": "DT", "Value": ["20240301090500"]}),
        ("SliceThickness", 0.1, {"vr": "DS", "Value": [0.1]}),
        ("SliceThickness", 1e300, {"vr": "DS", "Value": [1e300]}),
        ("SliceThickness", -0.0, {"vr": "DS", "Value": [-0.0]}),
        ("EventElapsedTimes", [1.5, None], {"vr": "DS", "Value": [1.5, None]}),
        ("DiffusionBValue", math.nan, {"vr": "FD", "Value": ["NaN"]}),
        ("DiffusionBValue", -math.inf, {"vr": "FD", "Value": ["-Infinity"]}),
        ("InstanceNumber", -(2**31), {"vr": "IS", "Value": [-(2**31)]}),
        ("ImageType", ["ORIGINAL", None, "A\"B\\\n"], {"vr": "CS", "Value": ["ORIGINAL", None, "A\"B\\\n"]}),
        ("ImageType", [None, None], None),
        ("ImageType", [], None),
        ("ImageType", None, None),
        ("FrameIncrementPointer", ["00181063", "00181065"], {"vr": "AT", "Value": ["00181063", "00181065"]}),
        ("SpecificCharacterSet", ["", "ISO 2022 IR 87"], {"vr": "CS", "Value": ["ISO_IR 192"]}),
        ("PatientComments", "\u202e\x00\ud7ff", {"vr": "LT", "Value": ["\u202e\x00\ud7ff"]}),
        ("RecommendedDisplayFrameRateInFloat", 0.1, {"vr": "FL", "Value": [0.10000000149011612]}),
    ],
)  # fmt: skip
def test_values(keyword: str, value: object, expected: object) -> None:
    """As PS3.18 F.2 has them.  Null, and a list without values, are left out."""
    assert list(model([make_column(keyword)], [{keyword: value}])[0].values()) == (
        [] if expected is None else [expected]
    )


def test_sequences_hold_their_columns() -> None:
    """A path into items gives items; one without columns is empty; one behind all values is not there."""
    columns = [
        make_column("a", (f"{SHARED}[0].PixelMeasuresSequence[0].PixelSpacing",)),
        make_column("b", (f"{SHARED}[0].PixelMeasuresSequence[0].SliceThickness",)),
        make_column("c", ("ReferencedStudySequence[2].ReferencedSOPInstanceUID",)),
        make_column("d", ("ReferencedStudySequence[0].ReferencedSOPInstanceUID",)),
        make_column("Rows"),
    ]
    rows: list[dict[str, Any]] = [{"a": [1.0, 2.0], "b": 3.0, "c": "1.2", "Rows": 5}, {"b": 3.0, "d": "1.3"}, {}]
    first, second, third = model(columns, rows)
    spacing = {"00180050": {"vr": "DS", "Value": [3]}, "00280030": {"vr": "DS", "Value": [1, 2]}}
    measures = {"00289110": {"vr": "SQ", "Value": [spacing]}}
    assert first["52009229"] == {"vr": "SQ", "Value": [measures]} and first["00280010"] == {"vr": "US", "Value": [5]}
    assert first["00081110"]["Value"] == [{}, {}, {"00081155": {"vr": "UI", "Value": ["1.2"]}}]
    assert second["00081110"]["Value"] == [{"00081155": {"vr": "UI", "Value": ["1.3"]}}]
    assert "00280030" not in second["52009229"]["Value"][0]["00289110"]["Value"][0]
    assert third == {} and list(first) == sorted(first)


def test_a_list_with_a_place_for_each_item() -> None:
    """``[*]`` gives so many items; what is null in one is not in that item; other columns of the sequence join in."""
    columns = [
        make_column("position", (f"{FRAMES}[*].PlanePositionSequence[0].ImagePositionPatient",)),
        make_column("time", (f"{FRAMES}[*].FrameContentSequence[0].FrameAcquisitionDateTime",)),
        make_column("first", (f"{FRAMES}[1].FrameContentSequence[0].FrameAcquisitionNumber",)),
    ]
    rows = [
        {"position": [[0.0, 0.0, 1.5], None, [0.0, 0.0, 3.5]], "time": [None, dt.datetime(2024, 1, 1)], "first": 7},
        {},
    ]
    made, nothing = model(columns, rows)
    items = made["52009230"]["Value"]
    assert [item.get("00209113", {"Value": [None]})["Value"][0] for item in items] == [
        {"00200032": {"vr": "DS", "Value": [0, 0, 1.5]}}, None, {"00200032": {"vr": "DS", "Value": [0, 0, 3.5]}},
    ]  # fmt: skip
    assert "00189074" in str(items[1]) or "00209156" in str(items[1])
    assert nothing == {}


def test_whole_sequences() -> None:
    """Their text is JSON already; hostile text is left out, and columns that reach into one stand in where it is null."""
    columns = [make_column("ViewCodeSequence"), make_column("code", ("ViewCodeSequence[0].CodeValue",))]
    item = {"00080104": {"vr": "LO", "Value": ["cranio"]}}
    rows = [{"ViewCodeSequence": json.dumps([item]), "code": "x"}, {"code": "R-1"}, {"ViewCodeSequence": '[{"a":1}],"b":[2'},
            {"ViewCodeSequence": "[" * 100_000}, {"ViewCodeSequence": "[]"}]  # fmt: skip
    made = model(columns, rows)
    assert made[0]["00540220"] == {"vr": "SQ", "Value": [item]}
    assert made[1]["00540220"]["Value"] == [{"00080100": {"vr": "SH", "Value": ["R-1"]}}]
    assert made[2:] == [{}, {}, {}]


def test_what_has_no_place_in_json() -> None:
    """Private elements, file meta information, a second column of one path, items far behind."""
    columns = [
        make_column("TransferSyntaxUID"), make_column("ImplementationVersionName"), make_column("Modality"),
        make_column("again", ("Modality",)), make_column("private", ('(0019,"X",0C)',), vr="DS"),
        make_column("far", ("ReferencedStudySequence[5000].ReferencedSOPInstanceUID",)),
    ]  # fmt: skip
    row = {"TransferSyntaxUID": "1.2.840.10008.1.2", "ImplementationVersionName": "X", "Modality": "CT", "again": "MR",
           "private": 1.0, "far": "1.2"}  # fmt: skip
    assert model(columns, [row]) == [
        {"00080060": {"vr": "CS", "Value": ["CT"]}, "00083002": {"vr": "UI", "Value": ["1.2.840.10008.1.2"]}}
    ]


def test_files_of_no_rows_and_of_many() -> None:
    """An array is an array; a batch larger than what is joined at once is whole."""
    column = make_column("InstanceNumber")
    schema = pa.schema([instances_schema(Profile("p", (column,))).field(0)])
    batch = pa.record_batch([pa.array(range(10_000), pa.int64())], schema=schema)
    for batches, numbers in (([], []), ([batch, batch.slice(0, 0), batch.slice(0, 1)], [*range(10_000), 0])):
        whole, lines = io.BytesIO(), io.BytesIO()
        assert (
            write_json(batches, JsonModel(schema), whole)
            == write_ndjson(batches, JsonModel(schema), lines)
            == len(numbers)
        )
        loaded = json.loads(whole.getvalue())
        assert loaded == [json.loads(line) for line in lines.getvalue().splitlines()]
        assert [each["00200013"]["Value"][0] for each in loaded] == numbers


# ---- real and synthetic headers --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own_columns(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The standard profile, sequences as a whole, and lists over frames."""
    path = tmp_path_factory.mktemp("json") / "own.yaml"
    path.write_text(
        "profile: own\nextends: standard\ncolumns:\n"
        "  - ViewCodeSequence\n  - RadiopharmaceuticalInformationSequence\n  - ContentSequence\n  - IconImageSequence\n"
        f"  - {{name: positions, path: '{FRAMES}[*].PlanePositionSequence[0].ImagePositionPatient'}}\n"
        f"  - {{name: labels, path: 'SegmentSequence[*].SegmentLabel'}}\n"
    )
    return str(path)


def _round_trip(table: pa.Table) -> int:
    """Every object is read by pydicom, and written by it as it was (but that it writes null among values as '')."""
    count = 0
    for batch in table.to_batches(max_chunksize=256):
        for text in JsonModel(table.schema).rows(batch).to_pylist():
            found = json.loads(text)
            with pydicom.config.disable_value_validation():
                back = pydicom.Dataset.from_json(found).to_json_dict()
            assert _without_nulls(back) == _without_nulls(found)
            count += 1
    return count


def _without_nulls(value: Any) -> Any:
    """What is empty, whichever way it is written; bytes that were only measured come back empty, too."""
    if isinstance(value, dict):
        kept = {name: _without_nulls(inner) for name, inner in value.items() if name != "length"}
        return {name: inner for name, inner in kept.items() if not (name in ("Value", "InlineBinary") and not inner)}
    return [_without_nulls(inner) or None for inner in value] if isinstance(value, list) else value


def test_pydicom_reads_synthetic_rows_back(own_columns: str) -> None:
    """Of all kinds of objects that there are."""
    table = dicomflow.read_headers(
        (file.data for file in iter_files(files=120, seed=4)), columns=own_columns, errors="skip"
    )
    assert _round_trip(table) > 90


def test_pydicom_reads_real_rows_back(corpus_files: list[Path], own_columns: str) -> None:
    """Every fourth file of the corpus."""
    table = dicomflow.read_headers(corpus_files[::4], columns=own_columns, errors="skip")
    assert _round_trip(table) > 300


def test_as_show_has_it() -> None:
    """An attribute of one path is what ``show --json`` says of it, for each attribute of a header."""
    data = next(make_series("mr")).data
    elements = to_dicom_json(read_tree(data).elements)
    columns = tuple(column for column in load_profile("standard").columns if len(column.paths) == 1)
    table = dicomflow.read_headers([data], columns="standard").select([column.name for column in columns])
    (text,) = JsonModel(table.schema).rows(table.combine_chunks().to_batches()[0]).to_pylist()
    same = {tag: element for tag, element in json.loads(text).items() if tag in elements and element["vr"] != "SQ"}
    assert len(same) > 40
    for tag, element in same.items():
        if element["vr"] in ("TM", "DT"):  # a fraction of zeros is not kept
            assert [str(value).split(".")[0] for value in element["Value"]] == [
                v.split(".")[0] for v in elements[tag]["Value"]
            ]
        elif tag != "00080005":
            assert element == elements[tag], tag


@pytest.mark.parametrize("each", [False, True])
def test_one_number_that_json_has_not_costs_nothing_else(each: bool) -> None:
    """NaN in a sequence is a string there (as in a column), also where items of other columns join it; the rest stays."""
    text = '[{"00189087":{"vr":"FD","Value":[NaN, 1.5,-Infinity]},"00080070":{"vr":"LO","Value":["a, NaN"]}},{}]'
    columns = [make_column("whole", (FRAMES,))]
    rows: dict[str, Any] = {"whole": text}
    if each:
        columns = [
            make_column("whole", (f"{FRAMES}[*].MRDiffusionSequence",)),
            make_column("n", (f"{FRAMES}[*].Rows",)),
        ]
        rows = {"whole": [text, None], "n": [7, 8]}
    found = json.dumps(model(columns, [rows])[0])
    values = json.loads(found, parse_constant=pytest.fail)["52009230"]["Value"]
    items = values[0]["00189117"]["Value"] if each else values
    assert items == [
        {
            "00189087": {"vr": "FD", "Value": ["NaN", 1.5, "-Infinity"]},
            "00080070": {"vr": "LO", "Value": ["a, NaN"]},
        },
        {},
    ]
    assert not each or values[1] == {"00280010": {"vr": "US", "Value": [8]}}
