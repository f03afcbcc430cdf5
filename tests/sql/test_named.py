"""Each ready-made query says what pandas computes from the same rows, independently."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dicomflow
from dicomflow.errors import ConfigError
from dicomflow.sql.named import find_query, list_queries
from dicomflow.sql.sandbox import Sandbox
from dicomflow.synth import write_studies

Rows = list[dict[str, Any]]

SCANNER = ["Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "StationName", "InstitutionName"]
PROTOCOL = ["Modality", "Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "ProtocolName"]
SETTINGS = [
    "KVP",
    "ConvolutionKernel",
    "SliceThickness",
    "PixelSpacing",
    "SpiralPitchFactor",
    "MagneticFieldStrength",
    "RepetitionTime",
    "EchoTime",
    "InversionTime",
    "FlipAngle",
    "SoftwareVersions",
]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Synthetic studies, some with faults; slices taken away; and a table of series made by hand."""
    folder = tmp_path_factory.mktemp("named")
    write_studies(folder / "scans", files=400, seed=11, corrupt=0.05)
    for path in sorted((folder / "scans").rglob("*.dcm"))[7::23]:
        path.unlink()
    dicomflow.extract(folder / "scans", folder / "dest", scheduler="threads")
    dataset = dicomflow.open_dataset(folder / "dest")
    pq.write_table(_plant(dataset.to_arrow()), folder / "instances.parquet")
    pq.write_table(SERIES, folder / "series.parquet")
    pq.write_table(_make_ledger(pq.read_table(folder / "instances.parquet")), folder / "files.parquet")
    return {name: [folder / f"{name}.parquet"] for name in ("instances", "series", "files")}


def _plant(rows: pa.Table) -> pa.Table:
    """Every second series is of last year and was made with other settings; some headers broke off."""
    assert rows.num_rows > 250
    series = {uid: place for place, uid in enumerate(sorted(set(rows["SeriesInstanceUID"].to_pylist()) - {None}))}
    changed = rows.to_pylist()
    for place, row in enumerate(changed):
        row["ProtocolName"] = None if place % 50 == 0 else f"{row['Modality']} ROUTINE"
        row["DeviceSerialNumber"] = "1234" if row["Modality"] in ("CT", "MR") else row["DeviceSerialNumber"]
        if series.get(row["SeriesInstanceUID"], 1) % 2 == 0:
            row["SliceThickness"], row["PixelSpacing"] = 9.0, [0.5, 0.5]
            row["StudyDate"] = row["StudyDate"] and row["StudyDate"] - timedelta(days=365)
        row["status"] = "partial" if place % 70 == 3 else row["status"]
        row["BitsStored"] = None if place % 280 == 73 else row["BitsStored"]
    return pa.Table.from_pylist(changed, rows.schema)


def _make_ledger(rows: pa.Table) -> pa.Table:
    """Of these rows: every second header that is not whole was stripped on purpose, the others broke off."""
    codes = itertools.cycle(["truncated", "ends_early"])
    statuses = rows["status"].to_pylist()
    found = [next(codes) if status == "partial" else None for status in statuses]
    places = {"uri": rows["source_uri"], "member": rows["source_member"]}
    return pa.table({**places, "status": statuses, "code": pa.array(found, pa.string())})


SERIES = pa.table(
    {
        "PatientID": [f"P{number % 3}" for number in range(8)],
        "StudyInstanceUID": [f"1.{number % 4}" for number in range(8)],
        "SeriesInstanceUID": [f"2.{number}" for number in range(8)],
        "StudyDate": pa.array([19000 + number for number in range(8)], pa.date32()),
        "Modality": ["CT", "CT", "CT", "MR", "CT", "CT", "CT", None],
        **dict.fromkeys(["BodyPartExamined", "SeriesDescription", "Manufacturer", "ManufacturerModelName"], ["x"] * 8),
        "ConvolutionKernel": [["x"]] * 8,
        **dict.fromkeys(["ContrastBolusAgent", "source_prefix"], pa.array([None] * 8, pa.string())),
        **dict.fromkeys(["KVP", "SliceThickness", "series_size_MB"], [120.0] * 8),
        **dict.fromkeys(["Rows", "Columns"], [512] * 8),
        "PixelSpacing": [[0.7, 0.7]] * 8,
        "slice_count": [40, 40, 5, 40, 40, 40, 4, None],
        "slice_spacing": [1.0, 2.5, 1.0, 1.0, 5.0, 1.0, 2.0, None],
        "slice_positions": [
            *([float(place) for place in range(40)], [place * 2.5 for place in range(40)], [0.0, 1.0, 3.0, 4.0, 7.0]),
            *(
                [float(place) for place in range(40)],
                [place * 5.0 for place in range(40)],
                [float(place) for place in range(40)],
            ),
            *([-10.0, -8.0, -6.0, 0.0], None),
        ],
        "missing_slices": [0, 0, 3, 0, 0, 0, 2, None],
        "regularly_spaced_3d_volume": [True, True, False, True, True, True, False, False],
        "partial_count": [0, 0, 0, 0, 0, 1, 0, 0],
        "conflicts": [[], ["StudyDate"], [], [], [], [], [], []],
    }
)


@pytest.fixture(scope="module")
def ask(parts: dict[str, list[Path]]) -> Iterator[Callable[[str], Rows]]:
    with Sandbox(parts) as sandbox:
        yield lambda name: sandbox.ask(find_query(name).sql).to_table().to_pylist()


@pytest.fixture(scope="module")
def frame(parts: dict[str, list[Path]]) -> pd.DataFrame:
    table = pa.concat_tables([pq.read_table(part) for part in parts["instances"]])
    found = table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int32Dtype()}.get)
    return found


def _to_text(value: Any) -> str:
    if isinstance(value, list | np.ndarray):
        return " / ".join(map(str, value))
    return "" if value is None or value is pd.NA or value != value else str(value)


def key(row: Any, names: list[str]) -> tuple[str, ...]:
    return tuple(_to_text(row[name]) for name in names)


def test_scanner_fleet(ask: Callable[[str], Rows], frame: pd.DataFrame) -> None:
    """One row per scanner, with all its modalities and software."""
    found = ask("scanner-fleet")
    groups = frame.fillna(dict.fromkeys(SCANNER, "")).groupby(SCANNER)
    assert len(found) == len(groups) > 5
    assert [row["instances"] for row in found] == sorted((row["instances"] for row in found), reverse=True)
    for row in found:
        rows = groups.get_group(key(row, SCANNER))
        assert (row["modalities"] or []) == sorted(rows["Modality"].dropna().unique())
        assert (row["software_versions"] or []) == sorted(
            {_to_text(value) for value in rows["SoftwareVersions"].dropna()}
        )
        counts = [rows[name].nunique() for name in ("StudyInstanceUID", "SeriesInstanceUID")]
        assert [row["studies"], row["series"], row["instances"]] == [*counts, len(rows)]
        dates = rows["StudyDate"].dropna()
        assert (row["first_study"], row["last_study"]) == ((dates.min(), dates.max()) if len(dates) else (None, None))


def test_studies_per_month(ask: Callable[[str], Rows], frame: pd.DataFrame) -> None:
    """Counts and bytes, by the month of StudyDate; studies without a date have a row, too."""
    found = {key(row, ["month", "Modality"]): row for row in ask("studies-per-month")}
    month = frame["StudyDate"].map(lambda day: str(day.replace(day=1)) if pd.notna(day) else "")
    groups = frame.groupby([month, frame["Modality"].fillna("")])
    assert sorted(found) == sorted(groups.groups)
    for name, rows in groups:
        row = found[name]
        assert (
            row["studies"] == rows["StudyInstanceUID"].nunique()
            and row["series"] == rows["SeriesInstanceUID"].nunique()
        )
        assert row["instances"] == len(rows) and row["bytes"] == rows["source_size"].sum()


def test_exposure_times(ask: Callable[[str], Rows], frame: pd.DataFrame) -> None:
    """Extremes and quantiles by scanner and protocol."""
    exposed = frame[frame["ExposureTime"].notna()]
    groups = exposed.fillna(dict.fromkeys(PROTOCOL, "")).groupby(PROTOCOL)
    found = ask("exposure-times")
    assert len(found) == len(groups) > 3
    for row in found:
        rows = groups.get_group(key(row, PROTOCOL))
        times = rows["ExposureTime"].astype(float)
        assert (row["instances"], row["series"]) == (len(rows), rows["SeriesInstanceUID"].nunique())
        assert (row["min_exposure_time"], row["max_exposure_time"]) == (times.min(), times.max())
        assert row["median_exposure_time"] == times.median()
        assert row["p95_exposure_time"] == pytest.approx(np.quantile(times, 0.95))
        for name, column in {
            "median_tube_current": "XRayTubeCurrent",
            "median_kvp": "KVP",
            "median_exposure": "Exposure",
            "median_ctdivol": "CTDIvol",
        }.items():
            values = rows[column].astype(float).dropna()
            assert row[name] == (pytest.approx(values.median()) if len(values) else None)


def test_protocol_drift(ask: Callable[[str], Rows], frame: pd.DataFrame, parts: dict[str, list[Path]]) -> None:
    """Each variant of each protocol that has several, numbered by first use; a header that breaks off is none."""
    ledger = pq.read_table(parts["files"][0]).to_pandas()
    broken = ledger.loc[ledger["code"] == "truncated", "uri"]
    assert 0 < len(broken) < (ledger["status"] == "partial").sum()
    short = (frame["status"] == "partial") & frame["BitsStored"].isna()
    assert (short & ~frame["source_uri"].isin(broken)).any() and (~short & (frame["status"] == "partial")).any()
    known = frame[frame["ProtocolName"].notna() & ~frame["source_uri"].isin(broken) & ~short]
    expected: dict[tuple[str, ...], dict[tuple[str, ...], tuple[Any, ...]]] = {}
    for protocol, rows in known.fillna(dict.fromkeys(PROTOCOL, "")).groupby(PROTOCOL):
        settings = rows.apply(lambda row: key(row, SETTINGS), axis=1)
        variants = {name: rows[settings == name] for name in settings.unique()}
        if len(variants) > 1:
            expected[protocol] = {
                name: (len(own), own["SeriesInstanceUID"].nunique(), own["StudyDate"].dropna().min())
                for name, own in variants.items()
            }
    found = ask("protocol-drift")
    assert {key(row, PROTOCOL) for row in found} == set(expected) and len(expected) > 1
    for row in found:
        setting = key(row, SETTINGS)
        instances, series, first = expected[key(row, PROTOCOL)][setting]
        assert (row["instances"], row["series"]) == (instances, series)
        assert row["first_study"] == (None if pd.isna(first) else first)
        assert row["variants"] == len(expected[key(row, PROTOCOL)])
    for protocol in expected:
        own = [row for row in found if key(row, PROTOCOL) == protocol]
        assert [row["variant"] for row in own] == list(range(1, len(own) + 1))
        dates = [row["first_study"] for row in own if row["first_study"]]
        assert dates == sorted(dates)


def test_incomplete_series(ask: Callable[[str], Rows], frame: pd.DataFrame) -> None:
    """Those whose numbers have gaps, or that hold a partial instance; and no others."""
    expected = {}
    for uid, rows in frame[frame["SeriesInstanceUID"].notna()].groupby("SeriesInstanceUID"):
        numbers = set(rows["InstanceNumber"].dropna())
        missing = len(set(range(min(numbers), max(numbers) + 1)) - numbers) if numbers else 0
        partial = int((rows["status"] == "partial").sum())
        if missing or partial:
            expected[uid] = (len(rows), missing, partial)
    found = ask("incomplete-series")
    assert {
        row["SeriesInstanceUID"]: (row["instances"], row["missing_numbers"], row["partial"]) for row in found
    } == expected
    assert len(found) == len(expected) and any(missing for _, missing, _ in expected.values())
    assert any(partial for _, _, partial in expected.values())


def test_missing_slices(ask: Callable[[str], Rows]) -> None:
    """Where the gaps are, in mm."""
    found = {row["SeriesInstanceUID"]: (row["missing_slices"], row["gaps"]) for row in ask("missing-slices")}
    assert found == {
        "2.2": (3, [{"after": 1.0, "before": 3.0}, {"after": 4.0, "before": 7.0}]),
        "2.6": (2, [{"after": -6.0, "before": 0.0}]),
    }


def test_ct_volume_cohort(ask: Callable[[str], Rows]) -> None:
    """CT, regular, thin, whole and without conflicts: of these series, one."""
    series = SERIES.to_pandas()
    wanted = series[
        (series["Modality"] == "CT")
        & series["regularly_spaced_3d_volume"]
        & (series["slice_count"] >= 20)
        & (series["slice_spacing"] <= 3)
        & (series["partial_count"] == 0)
        & (series["conflicts"].map(len) == 0)
    ]
    assert [row["SeriesInstanceUID"] for row in ask("ct-volume-cohort")] == list(wanted["SeriesInstanceUID"]) == ["2.0"]


def test_the_table_made_by_hand_is_like_the_real_one() -> None:
    """Its columns are those of the rollup ``series``, and of kinds that compare alike."""
    rollup = pytest.importorskip("dicomflow.schema.rollup")
    schema = rollup.rollup_schema("series")
    for field in SERIES.schema:
        kind, real = field.type, schema.field(field.name).type
        numbers = pa.types.is_integer(kind) and pa.types.is_integer(real)
        assert kind == real or numbers or (pa.types.is_list(kind) and pa.types.is_list(real)), field.name


def test_all_are_described_and_tested() -> None:
    """A name, a line that says what it answers, SQL that ends with a newline; and a test above."""
    queries = list_queries()
    assert len(queries) >= 7 and [query.name for query in queries] == sorted(query.name for query in queries)
    for query in queries:
        assert query.sql.startswith(f"-- {query.description}\n") and 20 < len(query.description) < 130
        assert query.sql.endswith("\n") and f"test_{query.name.replace('-', '_')}" in globals()


def test_needs_are_named(parts: dict[str, list[Path]], tmp_path: Path) -> None:
    """With the columns that it names, and those that each dataset has, a query of ``instances`` runs."""
    rows = pq.read_table(parts["instances"][0])
    of_each = ["source_uri", "source_member", "source_size", "status"]
    for query in list_queries():
        assert set(query.needs) <= set(rows.column_names) and len(set(query.needs)) == len(query.needs)
        pq.write_table(rows.select([*query.needs, *of_each]), tmp_path / "instances.parquet")
        with Sandbox({**parts, "instances": [tmp_path / "instances.parquet"]}) as sandbox:
            sandbox.ask(query.sql).to_table()


def test_unknown_name() -> None:
    """The nearest is named; nothing but a name is looked up."""
    with pytest.raises(ConfigError, match="did you mean scanner-fleet"):
        find_query("scanner-flet")
    for name in ("", "../../etc/passwd", "scanner-fleet.sql", "x" * 1000):
        with pytest.raises(ConfigError):
            find_query(name)
