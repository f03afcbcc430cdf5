"""Settings of a run: one frozen model per stage.

In: values, however they came.  Out: ``Config``; its sections bear the names of the stages.
Knows no Dask, no Arrow, no DICOM; whether a path or an address exists is for the stage that uses it.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from dicomflow.config.cluster import KINDS, ClusterConfig
from dicomflow.config.section import GIB, KIB, MAX_PORT, MIB, ListenAddress, Section, Size, is_address, parse_size

SCHEDULERS = ("auto", "threads", "in-process", "processes", *KINDS)

_INTERFACE = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.%]{2,64}")


def _check_file_name(value: Path) -> Path:
    if not value.name:
        raise ValueError("expected the name of a file")
    return value


def _check_interface(value: str) -> str:
    if not _INTERFACE.fullmatch(value):
        raise ValueError("expected the address of an interface, such as 127.0.0.1, ::1 or 0.0.0.0 for all")
    return value


def _check_metrics_file(value: Path) -> Path:
    if value.suffix != ".prom" or not value.stem:
        raise ValueError("expected a file name that ends in .prom: node_exporter reads no others")
    return value


def _parse_memory_limit(value: object) -> object:
    """Normalised to plain bytes, because Dask and pydantic do not read the same units."""
    size = value if value == "auto" else parse_size(value)
    if not isinstance(size, int) or isinstance(size, bool):
        return size
    if not 64 * MIB <= size <= 1024 * GIB:
        raise ValueError("must be 'auto' or a size from 64 MiB to 1024 GiB")
    return str(size)


def _check_scheduler(value: str) -> str:
    scheme, separator, rest = value.partition("://")
    if value in SCHEDULERS or (separator and scheme in ("tcp", "tls") and is_address(rest, 1)):
        return value
    near = get_close_matches(value[:64].lower(), SCHEDULERS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"expected {', '.join(SCHEDULERS)}, tcp://HOST:PORT or tls://HOST:PORT{hint}")


def _check_distinct(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(value)) < len(value):
        raise ValueError("a name is there twice")
    return value


PartitionKey = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}(\.year)?$")]
"""A column, or the year of one."""


class SourcesConfig(Section):
    """How SOURCEs are listed.

    Attributes:
        follow_symlinks: else links are listed as ``skipped``.
        archives: list the members of files whose names end in .zip, in place of what such a file is by itself.
        max_archive_members: an archive with more is not listed: its row says ``bad_archive``.
    """

    follow_symlinks: bool = True
    archives: bool = True
    max_archive_members: Annotated[int, Field(ge=1, le=5_000_000)] = 1_000_000


class PlanConfig(Section):
    """How files are grouped into tasks; ``files_per_task`` None means by the number of files and workers."""

    files_per_task: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    max_files_per_task: Annotated[int, Field(ge=1, le=1_000_000)] = 16_384
    min_files_per_task: Annotated[int, Field(ge=1, le=1_000_000)] = 2048
    tasks_per_worker: Annotated[int, Field(ge=1, le=1024)] = 4

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.min_files_per_task > self.max_files_per_task:
            raise ValueError("min_files_per_task is greater than max_files_per_task")
        return self


class ComputeConfig(Section):
    """Where tasks run.

    Attributes:
        scheduler: ``auto``; ``threads`` (Dask's own, in this process, no dashboard); ``in-process`` or ``processes``
            (a ``distributed`` cluster with a dashboard); the address of a running scheduler; or a kind of cluster that the
            section ``cluster:`` describes, which is also what ``auto`` takes where there is one.
        workers: worker processes to start; None for one per core.
        memory_limit: per worker process: ``auto`` or a number of bytes.
        dashboard_address: where the Dask dashboard (and the metrics) of a scheduler that the run starts listens; empty for none.
        worker_dashboard_address: the same of its workers, each of which has a web server, too.
        performance_report: an HTML file to write; relative to the current directory.
        connect_timeout: seconds to wait for the scheduler at an address.
        small_job_seconds: ``auto`` takes threads where one process would read all files in less, by a look at some of them.
        no_worker_seconds: so long a cluster may be without any worker before the run gives up; None for two minutes, an hour on
            kubernetes and custom clusters, a day where jobs wait in a queue (slurm, pbs). So long, too, all workers may be paused
            for want of memory with nothing being done; None for two minutes.
        worker_ttl: a worker of a scheduler that the run starts is given up after so many seconds without a sign of life.
    """

    scheduler: Annotated[str, AfterValidator(_check_scheduler)] = "auto"
    workers: Annotated[int, Field(ge=1, le=10_000)] | None = None
    memory_limit: Annotated[str, BeforeValidator(_parse_memory_limit)] = "auto"
    dashboard_address: ListenAddress = "127.0.0.1:8787"
    worker_dashboard_address: ListenAddress = "127.0.0.1:0"
    performance_report: Annotated[Path, Field(strict=False), AfterValidator(_check_file_name)] | None = None
    connect_timeout: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] = 10.0
    small_job_seconds: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] = 5.0
    no_worker_seconds: Annotated[float, Field(gt=0, le=604_800, allow_inf_nan=False)] | None = None
    worker_ttl: Annotated[float, Field(ge=1, le=86_400, allow_inf_nan=False)] = 60.0


class HeaderConfig(Section):
    """How headers are read, and the limits that no file may cross.

    Attributes:
        prefix_bytes: bytes of the first file in the first read; for the others it follows the headers of late.
        read_ahead: threads of a task that open files before their turn, where storage lets each one wait; 0 for none.
        batch_rows: headers that are typed together; bounds a worker's memory.
        max_header_bytes: a longer header ends as ``limit_header_bytes``.
        max_elements: data elements of one header, those of sequence items included.
        max_depth: sequences inside sequences.
        max_inflated_bytes: what a deflated data set may inflate to, up to the stop tag.
        max_seconds: how long a header may take to be read. Looked at whenever more of it is needed (from the disk, or inflated):
            what was read by then is a partial row. A file whose reading does not come back at all is left behind as failed.
        headers_only: the files were stripped of their pixels on purpose: an image is whole without them.
    """

    prefix_bytes: Annotated[Size, Field(ge=KIB, le=16 * MIB)] = 32 * KIB
    read_ahead: Annotated[int, Field(ge=0, le=64)] = 16
    batch_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 16384
    max_header_bytes: Annotated[Size, Field(ge=64 * KIB, le=GIB)] = 256 * MIB
    max_elements: Annotated[int, Field(ge=100, le=1_000_000_000)] = 2_000_000
    max_depth: Annotated[int, Field(ge=1, le=256)] = 64
    max_inflated_bytes: Annotated[Size, Field(ge=64 * KIB, le=GIB)] = 256 * MIB
    max_seconds: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)] = 60.0
    headers_only: bool = False

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.prefix_bytes > self.max_header_bytes:
            raise ValueError("prefix_bytes is greater than max_header_bytes")
        return self


class RetryConfig(Section):
    """How often files are read whose storage failed in a way that may pass, and how long is waited before.

    All files of a task that failed so are tried again together, after the others.

    Attributes:
        attempts: the first one included; 1 for never again.
        base_seconds: before the second attempt; twice as long before each further one. Half of it is up to chance.
        max_seconds: it never gets longer than this.
    """

    attempts: Annotated[int, Field(ge=1, le=100)] = 3
    base_seconds: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 1.0
    max_seconds: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] = 30.0

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.base_seconds > self.max_seconds:
            raise ValueError("base_seconds is greater than max_seconds")
        return self


class DatasetConfig(Section):
    """How Parquet is written and kept.

    Attributes:
        compression_level: of zstd.
        row_group_rows: rows in a row group.
        bloom_filter: whether there is one on SOPInstanceUID.
        part_bytes: size that compacted parts grow to.
        compact_above: a run that leaves more parts than this smaller than a quarter of ``part_bytes`` compacts them.
        partition_by: up to three columns by which the parts of ``instances`` are split into folders: ``Modality``, or the year of
            a date, ``StudyDate.year``; not given: as the dataset that is there.
        max_partitions: a run that would leave more folders than this is refused; each holds a part at least, and is opened by
            whoever reads the whole.
        memory_bytes: memory for holding a listing against the ledger, for finding repeated keys, and for compacting; what does
            not fit is spilled to the disk.
    """

    compression_level: Annotated[int, Field(ge=1, le=22)] = 1
    row_group_rows: Annotated[int, Field(ge=1024, le=16_777_216)] = 49_152
    bloom_filter: bool = True
    part_bytes: Annotated[Size, Field(ge=MIB, le=4 * GIB)] = 128 * MIB
    compact_above: Annotated[int, Field(ge=2, le=1_000_000)] = 256
    partition_by: Annotated[
        tuple[PartitionKey, ...], Field(max_length=3, strict=False), AfterValidator(_check_distinct)
    ] = ()
    max_partitions: Annotated[int, Field(ge=1, le=65_536)] = 1000
    memory_bytes: Annotated[Size, Field(ge=128 * MIB, le=1024 * GIB)] = GIB


class MetricsConfig(Section):
    """Metrics for Prometheus.

    Attributes:
        port: of this machine, where ``/metrics`` is served while the run goes on; 0 for any that is free, None for none.
        address: of the interface to listen on; the metrics name no file and no patient, but whoever reaches the port reads them.
        linger_seconds: how long the port stays open after the run, so that Prometheus comes by once more.
        file: written when the run is over, for node_exporter's textfile collector; relative to the current directory.
    """

    port: Annotated[int, Field(ge=0, le=MAX_PORT)] | None = None
    address: Annotated[str, AfterValidator(_check_interface)] = "127.0.0.1"
    linger_seconds: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 0.0
    file: Annotated[Path, Field(strict=False), AfterValidator(_check_metrics_file)] | None = None


class ExportConfig(Section):
    """What an export holds, and what is done so that it identifies nobody.

    Attributes:
        where: only rows for which this condition of SQL holds, such as ``Modality = 'CT'``; all if None.
        require: attributes that each row must have; a row without one of them is incomplete.
        incomplete: whether incomplete rows are exported all the same, left out, or reason to export nothing.
        retain: options of PS3.15 E.3: ``uids``, ``device``, ``institution``, ``patient``, ``full_dates``, ``modified_dates``.
        rules: what comes before the profile: attribute -> ``keep``, ``drop``, ``empty``, ``dummy``, ``hash`` or ``shift``.
        key_file: holds the key of the pseudonyms; None for the environment, or for a new key.
        shift_days: ``modified_dates`` moves dates back by at most so many days, the same number for all of a patient.
        times: whether times of day stay where dates do.
        formulas: whether CSV may hold text that a spreadsheet takes for a formula.
    """

    where: Annotated[str, Field(min_length=1, max_length=65_536)] | None = None
    require: Annotated[tuple[str, ...], Field(max_length=256, strict=False), AfterValidator(_check_distinct)] = ()
    incomplete: Literal["keep", "drop", "refuse"] = "refuse"
    retain: Annotated[tuple[str, ...], Field(max_length=16, strict=False), AfterValidator(_check_distinct)] = ()
    rules: dict[str, str] = Field(default_factory=dict, max_length=4096)
    key_file: Annotated[Path, Field(strict=False), AfterValidator(_check_file_name)] | None = None
    shift_days: Annotated[int, Field(ge=30, le=36_500)] = 1825
    times: Literal["keep", "drop"] = "keep"
    formulas: bool = False


class Config(Section):
    """All settings of a run.

    Attributes:
        columns: ``minimal``, ``standard``, or a YAML file with a profile of one's own; not given: those of the dataset that is
            there, ``standard`` for a new one.
        max_failed: share of failed files (0 to 1) above which the command's exit code says so; None for never.
    """

    columns: Annotated[str, Field(min_length=1, max_length=4096)] = "standard"
    sources: SourcesConfig = SourcesConfig()
    plan: PlanConfig = PlanConfig()
    compute: ComputeConfig = ComputeConfig()
    cluster: ClusterConfig = ClusterConfig()
    header: HeaderConfig = HeaderConfig()
    retry: RetryConfig = RetryConfig()
    dataset: DatasetConfig = DatasetConfig()
    metrics: MetricsConfig = MetricsConfig()
    export: ExportConfig = ExportConfig()
    max_failed: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _check_cluster(self) -> Self:
        self.cluster.check(self.compute.scheduler, self.compute.workers)
        return self
