"""No value of a data element is in anything that a run emits: logs, progress, metrics, dashboards, reports, errors, records.

Markers are planted in the attributes that tell who a patient is, in files whole and damaged, as values that cannot be typed, and in
several character sets.  Then everything that can be emitted is, and is searched for them, in whatever form.
"""

from __future__ import annotations

import base64
import contextlib
import html
import io
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pydicom.config
import pytest
import structlog
from bokeh.client import pull_session
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from rich.console import Console

from dicomflow.cli import extract as command
from dicomflow.cli import main
from dicomflow.model import ScanResult
from dicomflow.query import open_dataset
from dicomflow.report.progress import Lines
from dicomflow.summary import Totals
from dicomflow.synth import make_series

MARK = "ZQXMRKPTNTX"
UID_MARK = "2.25.97531864209753186420"
FOREIGN = {
    "ISO_IR 192": "質問印",
    "GB18030": "记号汉",
    "ISO_IR 13": "ﾏｰｶｰ",
    "ISO_IR 144": "Маркерщ",
    "ISO_IR 100": "Märkß",
}
"""Names that only these character sets have, by the term that declares them."""

TEXTS = [
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "OtherPatientIDs",
    "OtherPatientNames",
    "PatientBirthName",
    "PatientMotherBirthName",
    "PatientAddress",
    "PatientTelephoneNumbers",
    "PatientComments",
    "EthnicGroup",
    "Occupation",
    "AdditionalPatientHistory",
    "MedicalRecordLocator",
    "CountryOfResidence",
    "RegionOfResidence",
    "PatientReligiousPreference",
    "ResponsiblePerson",
    "MilitaryRank",
    "BranchOfService",
    "MedicalAlerts",
    "Allergies",
    "PatientInsurancePlanCodeSequence",
    "ReferringPhysicianName",
    "ReferringPhysicianAddress",
    "PerformingPhysicianName",
    "OperatorsName",
    "NameOfPhysiciansReadingStudy",
    "PhysiciansOfRecord",
    "RequestingPhysician",
    "InstitutionName",
    "InstitutionAddress",
    "InstitutionalDepartmentName",
    "StationName",
    "AccessionNumber",
    "StudyID",
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "AdmissionID",
    "CurrentPatientLocation",
    "RequestedProcedureDescription",
    "ImageComments",
    "DeviceSerialNumber",
    "ClinicalTrialSubjectID",
    "PatientSpeciesDescription",
    "ReasonForTheRequestedProcedure",
    "PerformedProcedureStepDescription",
    "DerivationDescription",
]

MISFITS = {
    "PatientBirthDate": MARK,
    "PatientBirthTime": MARK,
    "StudyDate": f"1970{MARK}",
    "PatientAge": MARK,
    "PatientWeight": f"7{MARK}",
    "PatientSize": MARK,
    "InstanceNumber": MARK,
    "SeriesNumber": f"1{MARK}",
    "AcquisitionDateTime": MARK,
    "PatientSex": MARK,
    "FrameOfReferenceUID": MARK,
    "PixelSpacing": f"1{MARK}\\{MARK}",
}
"""Values that their VR does not allow, so that each is an issue."""


def forms(marker: str) -> Iterator[bytes]:
    """The marker as it might hide: encoded, escaped, in base64 at each of three places, in hex."""
    for encoding in ("utf-8", "utf-16-le", "utf-16-be", "gb18030", "shift_jis", "iso8859-5", "latin-1"):
        with contextlib.suppress(UnicodeEncodeError):
            raw = marker.encode(encoding)
            yield raw
            yield raw.hex().encode()
            for shift in range(3):
                whole = base64.b64encode(b"\0" * shift + raw)
                yield whole[(0, 2, 3)[shift] : (shift + len(raw)) * 4 // 3]  # without what depends on the neighbours
    yield marker.encode("unicode_escape")
    yield json.dumps(marker)[1:-1].encode()
    yield urllib.parse.quote(marker).encode()
    yield html.escape(marker).encode()
    yield marker.encode("ascii", "xmlcharrefreplace")
    yield repr(marker.encode())[2:-1].encode()


FORMS = sorted(
    {form.lower() for marker in (MARK, UID_MARK, *FOREIGN.values()) for form in forms(marker) if len(form) >= 5}
)


def found(emitted: bytes) -> list[bytes]:
    """The forms that occur, whatever their case."""
    emitted = emitted.lower()
    return [form for form in FORMS if form in emitted]


@pytest.mark.parametrize("marker", [MARK, UID_MARK, *FOREIGN.values()])
def test_search_finds(marker: str) -> None:
    """A marker is found however it is written, with neighbours on both sides: else the tests below would prove nothing."""
    text = f"Doe^{marker}^Jane"
    for leak in (
        text.encode(),
        text.encode("utf-16"),
        json.dumps({"name": text}).encode(),
        repr(ValueError(text)).encode(),
        repr(text.encode()).encode(),
        urllib.parse.quote(text).encode(),
        text.encode().hex().upper().encode(),
        base64.b64encode(text.encode()),
        base64.b64encode(b"x" + text.encode()),
        base64.b64encode(b"xy" + text.encode()),
    ):
        assert found(leak), leak
    assert not found(b"the quick brown fox 1.2.840.10008.1.2")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files full of markers: whole, with values that fit nothing, in other character sets, cut, and twice."""
    folder = tmp_path_factory.mktemp("privacy") / "archive"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pydicom.config.settings, "writing_validation_mode", pydicom.config.IGNORE)
        patch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.IGNORE)
        whole = [plant(number, None) for number in range(8)]
        whole += [plant(20 + number, charset) for number, charset in enumerate(FOREIGN)]
        whole += [plant(40 + number, None, misfits=True) for number in range(8)]
    for number, data in enumerate(whole):
        (folder / f"{number:03}.dcm").write_bytes(data)
    for percent in range(5, 100, 5):
        (folder / f"cut-{percent}.dcm").write_bytes(whole[percent % 8][: len(whole[0]) * percent // 100])
    at = whole[1].index(MARK.encode())
    (folder / "length.dcm").write_bytes(
        whole[1][: at - 2] + b"\xff\xff" + whole[1][at:]
    )  # a value that swallows its neighbours
    (folder / "vr.dcm").write_bytes(whole[2][: at - 4] + b"ZZ" + whole[2][at - 2 :])
    (folder / "no-header.dcm").write_bytes(whole[3][at:])
    (folder / "copy.dcm").write_bytes(whole[0])
    (folder / "conflict.dcm").write_bytes(whole[0].replace(f"{MARK}00".encode(), f"{MARK}99".encode()))
    (folder / "no-uid.dcm").write_bytes(whole[4].replace(UID_MARK.encode(), b" " * len(UID_MARK)))
    return folder


def plant(number: int, charset: str | None, *, misfits: bool = False) -> bytes:
    """A CT image with a marker in each text; its UIDs are markers, too."""
    dataset = pydicom.dcmread(io.BytesIO(next(make_series("ct")).data))
    for keyword in TEXTS:
        if dictionary_VR(keyword) == "SQ":
            item = Dataset()
            item.CodeMeaning = MARK
            setattr(dataset, keyword, [item])
        else:
            setattr(dataset, keyword, f"{MARK}{number:02}")
    if charset is not None:
        dataset.SpecificCharacterSet = charset
        dataset.PatientName = f"{MARK}^{FOREIGN[charset]}"
        dataset.PatientComments = FOREIGN[charset]
    for keyword, value in MISFITS.items() if misfits else ():
        tag, vr, raw = Tag(keyword), dictionary_VR(keyword), f"{value:<{len(value) + len(value) % 2}}".encode()
        dataset[tag] = RawDataElement(tag, vr, len(raw), raw, 0, False, True)
    private = dataset.private_block(0x0011, MARK, create=True)
    private.add_new(0x01, "LO", MARK)
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        setattr(dataset, keyword, f"{UID_MARK}{number:03}")
    dataset.file_meta.MediaStorageSOPInstanceUID = f"{UID_MARK}{number:03}"
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


PAGES = [
    "status",
    "metrics",
    "json/counts.json",
    *(f"info/main/{page}.html" for page in ("workers", "logs", "exceptions")),
]
DOCUMENTS = ["individual-task-stream", "individual-progress", "individual-workers"]
"""Pages whose contents come through Bokeh's own protocol, which is asked, too."""


class Spy(Lines):
    """Prints a line whenever there is time, and looks at everything that can be had by HTTP."""

    def __init__(self) -> None:
        super().__init__(Console(stderr=True), every=0.01)
        self.totals = Totals()
        self.pages: dict[str, bytes] = {}

    def __call__(self, stage: str, totals: Totals) -> None:
        super().__call__(stage, totals)
        self.totals = totals

    def on_result(self, result: ScanResult) -> None:
        super().on_result(result)
        self.draw(self.pace.standing())
        if self.pages or self.totals.dashboard is None or self.totals.tasks_done < 4:
            return
        base = self.totals.dashboard.removesuffix("/status")
        self.look(f"{self.totals.metrics}")
        for page in PAGES:
            self.look(f"{base}/{page}")
        workers = self.pages[f"{base}/info/main/workers.html"].decode()
        for address in sorted(set(re.findall(r'"\.\./((?:worker|logs)/[^"]+)"', workers))):
            self.look(f"{base}/info/{address}")
        for port in sorted(set(re.findall(r"/proxy/([0-9]+)/", workers))):
            for page in ("metrics", "info/main/logs.html"):
                self.look(f"http://127.0.0.1:{port}/{page}")
        for page in DOCUMENTS:
            self.pages[f"document {page}"] = pull(f"{base}/{page}")

    def look(self, address: str) -> None:
        """Fetch a page; one that fails is one, too."""
        try:
            with urllib.request.urlopen(address, timeout=20) as page:
                self.pages[address] = page.read()
        except urllib.error.HTTPError as error:
            self.pages[address] = error.read()


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spy]:
    """Watches the commands of a test."""
    spy = Spy()
    monkeypatch.setattr(command, "make_watcher", lambda **_: spy)
    yield spy
    structlog.reset_defaults()


def pull(address: str) -> bytes:
    """What a browser draws of a page: Bokeh's document, arrays in base64."""
    session = pull_session(url=address)
    document = session.document.to_json(deferred=False)
    session.close()
    return json.dumps(document).encode()


def write_config(folder: Path) -> Path:
    """Small tasks, a dashboard, metrics by both ways."""
    path = folder / "run.yaml"
    settings: dict[str, Any] = {
        "plan": {"files_per_task": 5},
        "compute": {
            "dashboard_address": "127.0.0.1:0",
            "workers": 2,
            "performance_report": str(folder / "report.html"),
        },
        "metrics": {"port": 0, "file": str(folder / "run.prom")},
    }
    path.write_text(json.dumps(settings))
    return path


def emitted_by(dest: Path) -> dict[str, bytes]:
    """Private records of a dataset, and what its ledger says of each file."""
    records = {path.name: path.read_bytes() for path in (dest / "_dicomflow").rglob("*.json")}
    said = open_dataset(dest).sql("select status, code, message, uri from files").to_pylist()
    return records | {"ledger": json.dumps(said).encode()}


@pytest.mark.parametrize(("scheduler", "form"), [("processes", "--log-json"), ("in-process", "--quiet")])
def test_nothing_is_told(
    archive: Path, tmp_path: Path, spy: Spy, capfd: pytest.CaptureFixture[str], scheduler: str, form: str
) -> None:
    """A run with every emission on, over workers of both kinds: nowhere is a value of a header."""
    dest, config = tmp_path / "out", write_config(tmp_path)
    arguments = ["extract", str(archive), "-o", str(dest), "--config", str(config), "--scheduler", scheduler]
    assert main([*arguments, "--log-level", "debug", form]) == 0
    assert main(["status", str(dest)]) == 0 and main(["verify", str(dest)]) == 0
    out, err = capfd.readouterr()
    emitted = {"stdout": out.encode(), "stderr": err.encode(), **spy.pages, **emitted_by(dest)}
    emitted |= {name: (tmp_path / name).read_bytes() for name in ("report.html", "run.prom")}
    assert {name: found(data) for name, data in emitted.items() if found(data)} == {}

    # all of it was really there to be searched
    rows = open_dataset(dest).to_arrow()
    names = str(rows["PatientName"].to_pylist())
    assert MARK in names and all(name in names for name in FOREIGN.values())
    issues = [issue["raw"] for row in rows["issues"].to_pylist() for issue in row or ()]
    assert sum(MARK in raw for raw in issues) >= 8 * len(MISFITS) // 2
    assert len([page for page in spy.pages if page.startswith("document")]) == len(DOCUMENTS)
    assert len(spy.pages) >= len(PAGES) + len(DOCUMENTS) + 3
    assert "task_done" in err and "run_done" in err and "dicomflow: reading: " in err
    assert (
        b"scan_task" in spy.pages["document individual-task-stream"] and b"dicomflow_files_total" in emitted["run.prom"]
    )
    assert len([name for name in emitted if name.endswith(".json")]) >= 2


def leak(*_: object, **__: object) -> None:
    """What a fault of ours might do, deep inside a task."""
    try:
        int(f"{MARK}^{FOREIGN['ISO_IR 192']}")
    except ValueError as error:
        raise KeyError(UID_MARK) from error


@pytest.mark.parametrize("scheduler", ["threads", "in-process"])
def test_fault_of_ours_tells_nothing(
    archive: Path,
    tmp_path: Path,
    spy: Spy,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    scheduler: str,
) -> None:
    """An exception inside a task quotes values: what is shown of it, by us and by Dask, does not."""
    monkeypatch.setattr("dicomflow.pipeline.reading.scan_task", leak)
    arguments = ["extract", str(archive), "-o", str(tmp_path / "out"), "--scheduler", scheduler, "--metrics-port", "0"]
    for level in ("debug", "warning"):
        structlog.reset_defaults()
        assert main([*arguments, "--log-level", level]) == 1
        out, err = capfd.readouterr()
        assert "error: a task failed: unexpected KeyError" in err and "this is a fault of dicomflow" in err
        assert ("because of ValueError" in err) == (level == "debug")
        assert found((out + err).encode()) == []
