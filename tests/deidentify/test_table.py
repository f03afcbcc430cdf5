"""Rows without what identifies people."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomflow.deidentify import deidentify_table, make_rules
from dicomflow.deidentify.secret import Pseudonyms
from dicomflow.deidentify.table import Deidentifier, describe_method
from dicomflow.schema.arrow import instances_schema
from dicomflow.schema.column import make_column
from dicomflow.schema.profile import Profile

KEY = b"a key of sixteen bytes"
DATES = ["PatientID", "StudyInstanceUID", "StudyDate", "AcquisitionDateTime", "StudyTime"]


def table(columns: list[str], rows: list[dict[str, Any]], **extra: Any) -> pa.Table:
    made = [make_column(name) for name in columns] + list(extra.values())
    schema = instances_schema(Profile("p", tuple(made)))
    schema = pa.schema([field for field in schema if field.name in {column.name for column in made}])
    return pa.Table.from_pylist(rows, schema=schema)


def moved(rows: list[dict[str, Any]], key: bytes = KEY, columns: list[str] = DATES) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = deidentify_table(
        table(columns, rows), make_rules(["modified_dates"]), key
    ).to_pylist()
    return found


def test_intervals_within_a_patient_stay_and_all_dates_move() -> None:
    """Over studies, over DA and DT, over runs; another patient moves by other days, another key by others again."""
    days = [dt.date(2024, 2, 27), dt.date(2024, 3, 1), dt.date(2019, 1, 1)]
    rows = [
        {"PatientID": who, "StudyInstanceUID": f"1.2.{number}", "StudyDate": day,
         "AcquisitionDateTime": dt.datetime(day.year, day.month, day.day, 23, 59, 59, 123456)}
        for who in ("A", "B", "C") for number, day in enumerate(days)
    ]  # fmt: skip
    first, again, other = moved(rows), moved(rows[::-1])[::-1], moved(rows, KEY + b"!")
    assert [row["StudyDate"] for row in first] == [row["StudyDate"] for row in again]
    offsets = [done["StudyDate"] - row["StudyDate"] for done, row in zip(first, rows, strict=True)]
    assert offsets == [
        done["AcquisitionDateTime"] - row["AcquisitionDateTime"] for done, row in zip(first, rows, strict=True)
    ]
    assert [len(set(offsets[at : at + 3])) for at in (0, 3, 6)] == [1, 1, 1] and len(set(offsets)) == 3
    assert max(offsets) < dt.timedelta(0) and first != other


def test_a_patient_without_an_id_moves_by_study() -> None:
    """And dates of a row without both are left out: they could not be moved together with anything."""
    day = dt.date(2024, 5, 5)
    rows = [{"PatientID": None, "StudyInstanceUID": uid, "StudyDate": day} for uid in ("1.2", "1.2", "1.3", None)]
    found = [row["StudyDate"] for row in moved(rows)]
    assert found[0] == found[1] != found[2] and found[3] is None and day not in found
    assert "StudyDate" not in moved([{"StudyDate": day}], columns=["StudyDate", "Modality"])[0]


def test_the_same_days_whether_the_study_is_a_column_or_not() -> None:
    """The days of a patient do not depend on the profile of the dataset."""
    row = {"PatientID": "A", "StudyInstanceUID": "1.2", "StudyDate": dt.date(2024, 5, 5)}
    assert moved([row])[0]["StudyDate"] == moved([row], columns=["PatientID", "StudyDate"])[0]["StudyDate"]


def test_dates_at_the_ends_of_the_calendar() -> None:
    """What would leave it is null, not another date."""
    row = {"PatientID": "A", "StudyDate": dt.date(1, 1, 1), "AcquisitionDateTime": dt.datetime(1, 1, 1)}
    assert moved([row])[0]["StudyDate"] is None and moved([row])[0]["AcquisitionDateTime"] is None


@given(
    st.lists(
        st.tuples(st.sampled_from([None, "A", "B"]), st.lists(st.dates(dt.date(1900, 1, 1)), max_size=3) | st.none()),
        max_size=8,
    )
)
def test_lists_of_dates_keep_their_shape(rows: list[tuple[str | None, list[dt.date] | None]]) -> None:
    """Item by item, by the days of the row."""
    column = make_column("DateOfLastCalibration")
    assert column.many
    whole = table(["PatientID"], [{"PatientID": who, column.name: days} for who, days in rows], extra=column)
    done = deidentify_table(whole, make_rules(["modified_dates"]), KEY)[column.name].to_pylist()
    for (who, before), after in zip(rows, done, strict=True):
        assert (before is None) == (after is None) and len(before or []) == len(after or [])
        if who is not None:
            assert len({new - old for old, new in zip(before or [], after or [], strict=True)}) <= 1
        else:
            assert set(after or []) <= {None}


def test_pseudonyms_in_lists_and_dictionaries() -> None:
    """The same for a value however Arrow holds it, null where there is none."""
    rows = [{"PatientID": text, "ReferencedSOPClassUID": "1.2.840.10008.1.1"} for text in ("A", None, "B", "A")]
    plain = table(["PatientID", "ReferencedSOPClassUID"], rows)
    coded = plain.set_column(
        0, plain.schema.field(0).with_type(pa.dictionary(pa.int32(), pa.string())), plain[0].dictionary_encode()
    )
    one, other = (deidentify_table(each, make_rules(), KEY).to_pylist() for each in (plain, pa.table(coded)))
    names = [row["PatientID"] for row in one]
    assert one == other and names[0] == names[3] != names[2] and names[1] is None
    assert {row["ReferencedSOPClassUID"] for row in one} == {"1.2.840.10008.1.1"}


def test_columns_say_what_was_done() -> None:
    """PatientIdentityRemoved and the like are ours, whatever the file said; with rules that keep more they go."""
    rows = [{"PatientIdentityRemoved": "NO", "DeidentificationMethod": ["Dr. Doe did it"], "Modality": "CT"}] * 2
    whole = table(["PatientIdentityRemoved", "DeidentificationMethod", "Modality"], rows)
    done = deidentify_table(whole, make_rules(["patient"]), KEY).to_pylist()
    assert done[0]["PatientIdentityRemoved"] == "YES"
    assert done[1]["DeidentificationMethod"] == ["dicomflow: PS3.15 E.1 basic; retain patient"]
    loose = deidentify_table(whole, make_rules(own={"StudyDescription": "keep"}), KEY).to_pylist()
    assert loose[0] == {"PatientIdentityRemoved": "NO", "Modality": "CT"}


def test_the_method_fits_an_lo() -> None:
    """64 characters, whatever is retained."""
    options = ["device", "institution", "patient", "uids", "modified_dates"]
    for count in range(len(options) + 1):
        for chosen in itertools.combinations(options, count):
            assert len(describe_method(make_rules(chosen))) <= 64


def test_what_is_needed_is_read_and_no_more() -> None:
    """PatientID is read for the days of dates, though it does not come out."""
    whole = table(DATES, [])
    done = Deidentifier(whole.schema, make_rules(["modified_dates"]), Pseudonyms(KEY)).select(["StudyDate"])
    assert done.schema.names == ["StudyDate"] and set(done.needed) == {"StudyDate", "PatientID", "StudyInstanceUID"}
    assert Deidentifier(whole.schema, make_rules(), Pseudonyms(KEY)).select(["StudyTime"]).needed == ["StudyTime"]


@pytest.mark.parametrize(("name", "value", "dummy"), [
    ("StudyDate", dt.date(2024, 1, 1), dt.date(1900, 1, 1)),
    ("StudyTime", dt.time(1), dt.time(0)),
    ("PatientName", "Doe", "ANONYMIZED"),
    ("PatientWeight", 80.5, 0.0),
    ("OtherPatientIDs", ["a", None, "b"], ["ANONYMIZED", None, "ANONYMIZED"]),
])  # fmt: skip
def test_dummies(name: str, value: object, dummy: object) -> None:
    """Where there was a value, of its type."""
    done = deidentify_table(table([name], [{name: value}, {name: None}]), make_rules(own={name: "dummy"}), KEY)
    assert done[name].to_pylist() == [dummy, None]


CODES = ["PatientID", "Modality", "ImageType", "PatientSex"]
FREE = ["CT", "Doe^John", "ct", "A" * 17, "SMITH,ANNA", "CT\n", None, "1_2 3"]


def test_codes_that_could_be_free_text_are_emptied_and_counted() -> None:
    """In a column, in each place of a list, and in sequences; a rule of one's own leaves them."""
    whole = make_column("whole", ("SharedFunctionalGroupsSequence",))
    items = '[{"00080060":{"vr":"CS","Value":["CT","Doe^John"]}}]'
    rows = [
        {
            "PatientID": "A",
            "Modality": text,
            "ImageType": ["ORIGINAL", text, "PRIMARY"],
            "whole": items,
            "PatientSex": "man",
        }
        for text in FREE
    ]
    for retain, sexes in ((["patient"], [None]), ([], [None])):
        maker = Deidentifier(table(CODES, rows, whole=whole).schema, make_rules(retain), Pseudonyms(KEY))
        encoded = pa.Table.from_arrays(
            [
                c.dictionary_encode() if pa.types.is_string(c.type) else c
                for c in table(CODES, rows, whole=whole).columns
            ],
            names=[*table(CODES, rows, whole=whole).schema.names],
        )
        for asked in (table(CODES, rows, whole=whole), encoded):
            maker.unfit.clear()
            (batch,) = asked.combine_chunks().to_batches()
            done = maker.apply(batch.select(maker.needed))
            found = pa.Table.from_batches([done]).to_pylist()
            kept = [text if text in ("CT", "1_2 3") else None for text in FREE]
            assert [row["Modality"] for row in found] == kept
            assert [row["ImageType"] for row in found] == [["ORIGINAL", text, "PRIMARY"] for text in kept]
            assert all("Doe" not in row["whole"] and '"CT"' in row["whole"] for row in found)
            assert {row.get("PatientSex") for row in found} == set(sexes)
            expected = {"Modality": 5, "ImageType": 5, "whole": len(FREE)} | (
                {"PatientSex": len(FREE)} if retain else {}
            )
            assert dict(+maker.unfit) == expected
    loose = deidentify_table(table(CODES, rows), make_rules((), {"Modality": "keep"}), KEY)
    assert loose["Modality"].to_pylist() == FREE


def test_a_code_found_under_two_attributes_is_kept_unseen_only_if_both_are() -> None:
    """A rule for the first of its paths says nothing of the others; a private one is meant by its creator."""
    both = make_column("x", ("Modality", "BodyPartExamined"))
    private = make_column("p", ('(0009,"ACME",01)',), vr="CS")
    rows = [{"PatientID": "A", "x": "Doe", "p": "Doe"}]
    made = table(["PatientID"], rows, x=both, p=private)
    own = {"Modality": "keep", '(0009,"ACME",01)': "keep"}
    assert deidentify_table(made, make_rules((), own), KEY).select(["x", "p"]).to_pylist() == [{"x": None, "p": "Doe"}]
    own["BodyPartExamined"] = "keep"
    assert deidentify_table(made, make_rules((), own), KEY)["x"].to_pylist() == ["Doe"]
