"""Whatever happens to the files, the process and the disk, in whatever order: the dataset is that of one undisturbed run."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import dicomflow
from dicomflow.dataset.layout import Layout
from dicomflow.dataset.lock import write_lock
from dicomflow.dataset.verification import CHECKS
from dicomflow.errors import DatasetError, DatasetLocked
from tests.dataset.tight import tight
from tests.durable.disk import Crash, Disk, dying
from tests.durable.model import Content, expect, expect_series, read_series, read_with_duckdb, read_with_pandas, write

NAMES = ["a", "b/c", "b/d", "e f", "g'[1]*"]
QUIET = {
    "columns": "minimal",
    "compute__scheduler": "threads",
    "compute__workers": 1,
    "plan__files_per_task": 2,
    "dataset__compact_above": 4,
}

MODES = ["increment", "increment", "full", "add_columns"]

DEAD = frozenset({"commit", "leftovers"})
"""Checks of ``verify`` that say what a dead run left, until the next run."""

COUNTED = frozenset(CHECKS) - {"lookup", "winners"}
"""Checks that always have something to look at."""

contents = st.builds(
    Content,
    uid=st.sampled_from(["1.2", "1.3", "1.4"]),
    text=st.sampled_from(["Doe^J", "Roe^R"]),
    written=st.integers(0, 3),
    fault=st.sampled_from(["", "", "", "", "partial", "garbage", "empty", "keyless"]),
)


class Durable(RuleBasedStateMachine):
    """Files come, change and go; runs of every mode end, die or lose the disk's cache; another writer knocks.

    ``files`` are those on the disk, ``read`` those that the published version was read from.
    """

    settings_of_run: Mapping[str, Any] = QUIET

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="durable"))
        self.source, self.dest = self.home / "source", self.home / "dest"
        self.source.mkdir()
        (self.home / "wide.yaml").write_text("profile: wide\nextends: minimal\ncolumns: [ConvolutionKernel]\n")
        self.profiles = {"minimal": "minimal", "wide": str(self.home / "wide.yaml")}
        self.profile = "minimal"
        write(self.source / "first", Content("1.1", "Poe^E", 0))
        self.files = {"first": Content("1.1", "Poe^E", 0)}
        self.read: dict[str, Content] = {}
        self.published: dict[str, Any] | None = None
        self.known: set[str] = set()
        self.versions: dict[tuple[str, int, int], bytes] = {}
        self.coming: dict[str, Any] | None = None
        self.coming_read: dict[str, Content] = {}
        self.excused: frozenset[str] = frozenset()
        self.is_seen = True

    def teardown(self) -> None:
        shutil.rmtree(self.home)

    # ---- files ----

    @rule(name=st.sampled_from(NAMES), content=contents)
    def put(self, name: str, content: Content) -> None:
        """A file is new, or changed; its size or its time tells it from all that were there under its name."""
        data = self.versions.setdefault((name, content.written, len(content.data())), content.data())
        if data == content.data():
            self.files[name] = content
            write(self.source / name, content)

    @rule(name=st.sampled_from(NAMES))
    def remove(self, name: str) -> None:
        """A file goes."""
        if self.files.pop(name, None):
            (self.source / name).unlink()

    @rule(name=st.sampled_from(NAMES), other=st.sampled_from(NAMES))
    def copy(self, name: str, other: str) -> None:
        """A file is copied, with its time or not."""
        if name in self.files and other not in self.files:
            self.put(other, self.files[name])

    # ---- runs ----

    @rule(mode=st.sampled_from(MODES), other=st.booleans())
    def run(self, mode: str, other: bool) -> None:
        """It ends; what it did not read it says."""
        self._expect_all()
        summary = self._extract(mode, other)
        assert summary.files == len(self.files) == summary.read + summary.unchanged + summary.resumed
        self._take_over()
        self._look()

    @rule(
        step=st.integers(1, 100),
        power=st.booleans(),
        mode=st.sampled_from([*MODES, "retry_failed"]),
        other=st.booleans(),
    )
    def die(self, step: int, power: bool, mode: str, other: bool) -> None:
        """The process dies at some change of the disk, and perhaps the power fails."""
        if mode == "retry_failed":
            self._make_current()
        self._expect_all()
        self.dest.mkdir(exist_ok=True)
        disk = Disk(self.dest, self.home / "shadow") if power else None
        with dying(step, disk):
            try:
                self._extract(mode, other)
            except Crash:
                pass
            else:
                self._take_over()
                self._look()
                return
        if disk:
            disk.cut_power()
        self._forget_lock()
        self._see_what_is_published()
        self._look(DEAD)

    @rule(name=st.sampled_from(NAMES), failed=contents, new=contents)
    def retry_failed(self, name: str, failed: Content, new: Content) -> None:
        """What failed is read again; a file that is new stays unknown."""
        self._make_current()
        failures = self._failures()
        if failures:
            self.put(failures[0], failed)
        if name not in self.files:
            self.put(name, new)
        self._expect({**self.read, **{each: self.files[each] for each in failures}})
        summary = self._extract("retry_failed", False)
        assert summary.read >= len(failures) and summary.files == summary.read + summary.unchanged + summary.resumed
        self._take_over()
        self._look()

    @precondition(lambda self: self.published is not None)
    @rule(step=st.integers(0, 50))
    def compact(self, step: int) -> None:
        """Rows do not change when parts are merged, or when that dies."""
        died = True
        with dying(step), contextlib.suppress(Crash):
            dicomflow.compact(self.dest)
            died = False
        self._forget_lock()
        self._look(DEAD if died else frozenset())

    @precondition(lambda self: self.dest.exists())
    @rule()
    def knock(self) -> None:
        """A second writer is told who is first, and changes nothing."""
        layout = Layout(self.dest)
        if not layout.private.is_dir():
            return
        with write_lock(layout):
            for write_again in (
                lambda: dicomflow.extract(self.source, self.dest, **self.settings_of_run),
                lambda: dicomflow.compact(self.dest),
            ):
                with pytest.raises(DatasetError) as caught:
                    write_again()
                assert isinstance(caught.value, DatasetLocked) or self.published is None
        self._look(self.excused)

    # ---- what must hold ----

    @invariant()
    def the_dataset_is_as_promised(self) -> None:
        """After every step: pandas, DuckDB and ``open_dataset`` see the last published version, whole, and ``verify`` finds no fault."""
        if self.published is None or self.is_seen:
            return
        self.is_seen = True
        self._check(read_with_pandas(self.dest), "pandas")
        self._check(read_with_duckdb(self.dest), "DuckDB")
        assert read_series(self.dest) == expect_series(self.published)
        dataset = dicomflow.open_dataset(self.dest)
        rows = dataset.to_arrow(["source_uri", "SOPInstanceUID"]).to_pydict()
        mine = dict(zip(rows["source_uri"], rows["SOPInstanceUID"], strict=True))
        assert mine == {uri: uid for uri, (uid, _) in self.published["instances"].items()}
        assert ("ConvolutionKernel" in dataset.instances.schema.names) == (self.profile == "wide")
        self._verify()

    def _verify(self) -> None:
        """Every promise; but what a dead run left is there until the next one."""
        verification = dicomflow.verify_dataset(self.dest)
        assert not [fault for fault in verification.faults if fault.check not in self.excused]
        assert all(check.not_made is None and check.looked_at for check in verification.checks if check.name in COUNTED)

    def _check(self, seen: dict[str, Any], reader: str) -> None:
        assert seen == self.published, reader

    # ---- the model ----

    def _extract(self, mode: str, other: bool) -> dicomflow.RunSummary:
        """A run; other columns only with a mode that may change them."""
        profile = self.profile
        if other and mode in ("full", "add_columns"):
            profile = "wide" if profile == "minimal" else "minimal"
        settings = {**self.settings_of_run, "columns": self.profiles[profile]}
        if mode == "add_columns" and self.published is not None:
            summary = dicomflow.add_columns(self.dest, **settings)
        else:
            mode = "increment" if mode == "add_columns" else mode
            summary = dicomflow.extract(self.source, self.dest, mode=mode, **settings)
        self.profile = profile
        return summary

    def _expect_all(self) -> None:
        self._expect(dict(self.files))

    def _expect(self, read: dict[str, Content]) -> None:
        """The next version is that of these files; of the others that were known the ledger says that they are gone."""
        files = {str(self.source / name): content for name, content in read.items()}
        self.coming, self.coming_read = expect(files, self.known - set(files)), read

    def _failures(self) -> list[str]:
        return sorted(name for name, content in self.read.items() if content.fault == "keyless")

    def _make_current(self) -> None:
        """The published version is that of the files that are there."""
        if self.published is None or self.read != self.files:
            self.run("increment", False)

    def _look(self, excused: frozenset[str] = frozenset()) -> None:
        """The dataset was touched: what must hold is looked at after this step, but for these checks."""
        self.is_seen, self.excused = False, excused

    def _take_over(self) -> None:
        self.published, self.read = self.coming, dict(self.coming_read)
        assert self.published is not None
        self.known = set(self.published["files"])

    def _forget_lock(self) -> None:
        """This process lives on, so the lock of the dead one would stand."""
        Layout(self.dest).lock.unlink(missing_ok=True)

    def _see_what_is_published(self) -> None:
        """The old version or the new one, by what ``open_dataset`` says; then readers must agree, table by table."""
        layout = Layout(self.dest)
        if not layout.is_dataset() and not layout.commit_record.exists():
            assert self.published is None
            return
        self._finish_commit(layout)
        self.profile = dicomflow.open_dataset(self.dest).snapshot.profile
        if read_with_pandas(self.dest) == self.coming:
            self._take_over()

    def _finish_commit(self, layout: Layout) -> None:
        """Before the commit is completed, each table is the old one or the new one; afterwards all are."""
        if layout.commit_record.exists():
            for table in ("instances", "conflicts", "files"):
                if layout.table(table).exists():
                    seen = _read_table(self.dest, table)
                    olds = [] if self.published is None else [self.published[table]]
                    assert seen in [*olds, self.coming[table]], table  # type: ignore[index]
            dicomflow.compact(self.dest)  # whoever writes next completes it


def _read_table(dest: Path, table: str) -> Any:
    """One table, as plain pandas sees it."""
    return _pandas_table(dest, table)


def _pandas_table(dest: Path, table: str) -> Any:
    import pandas as pd

    if table == "files":
        return dict(pd.read_parquet(dest / table, columns=["uri", "status"]).itertuples(index=False))
    frame = pd.read_parquet(dest / table, columns=["source_uri", "SOPInstanceUID", "PatientName"])
    return {uri: (uid, text) for uri, uid, text in frame.itertuples(index=False)}


TestDurable = Durable.TestCase
TestDurable.settings = settings(
    max_examples=int(os.environ.get("DURABLE_EXAMPLES", "10")),
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)


class DurablePartitions(Durable):
    """The same with a folder for each patient's name: partitions come and go, and rows move between them."""

    settings_of_run = MappingProxyType({**QUIET, "dataset__partition_by": ["PatientName"]})


TestDurablePartitions = DurablePartitions.TestCase
TestDurablePartitions.settings = settings(
    TestDurable.settings, max_examples=int(os.environ.get("DURABLE_EXAMPLES", "10")) // 3
)


class DurableTight(Durable):
    """The same in no memory: whatever may go to the disk does, and files are compared a bucket at a time."""

    def _extract(self, mode: str, other: bool) -> dicomflow.RunSummary:
        with tight():
            return super()._extract(mode, other)


TestDurableTight = DurableTight.TestCase
TestDurableTight.settings = settings(
    TestDurable.settings, max_examples=int(os.environ.get("DURABLE_EXAMPLES", "10")) // 5
)
