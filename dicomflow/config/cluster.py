"""The ``cluster:`` section: clusters that a run starts elsewhere, and what it says to all of them.

In: values as YAML gives them.  Out: ``ClusterConfig``.  Knows no Dask: names and options are handed on as they are.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from dicomflow.config.section import MIB, Section, Size

KINDS = ("ssh", "slurm", "pbs", "kubernetes", "custom")
"""Clusters that a run starts elsewhere: keys of this section, and values of ``compute.scheduler``."""

ADAPTIVE = ("processes", "slurm", "pbs", "kubernetes", "custom")
"""Schedulers whose workers can come and go by need."""

_CLASS_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)+")


def _check_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("expected one line of text")
    return value


def _check_class_path(value: str) -> str:
    if not _CLASS_PATH.fullmatch(value):
        raise ValueError("expected where a class is imported from, such as dask_cloudprovider.aws.FargateCluster")
    return value


Line = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_check_line)]
"""Text that becomes part of a line of a job script, or of a command."""

Lines = Annotated[tuple[Line, ...], Field(max_length=1000, strict=False)]

FilePath = Annotated[Path, Field(strict=False)]

Options = Annotated[dict[str, Any], Field(default_factory=dict)]
"""Keyword arguments of a class of somebody else's; it says itself what is wrong with them."""


class TlsConfig(Section):
    """Certificates of a cluster, PEM files; the same paths on every machine that a run starts something on.

    Attributes:
        ca_file: the authority that all certificates of the cluster are signed by.
        cert: of this run; for a cluster that the run starts, of its scheduler and workers, too.
        key: of ``cert``; None where it is in the same file.
    """

    ca_file: FilePath
    cert: FilePath
    key: FilePath | None = None


class AdaptConfig(Section):
    """How many workers there are at least and at most; as many as there is work for between the two."""

    minimum: Annotated[int, Field(ge=0, le=100_000)] = 0
    maximum: Annotated[int, Field(ge=1, le=100_000)]

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.minimum > self.maximum:
            raise ValueError("minimum is greater than maximum")
        return self


class SshConfig(Section):
    """``distributed.SSHCluster``.

    Attributes:
        hosts: the first runs the scheduler, each other one workers; a host may be named twice.
        connect_options: of ``asyncssh.connect``, such as ``username``, ``port``, ``client_keys``.
        scheduler_options: of ``distributed.Scheduler``, such as ``port``.
        worker_options: of ``distributed.Nanny``, such as ``nthreads``, ``memory_limit``; ``n_workers`` is how many on each host.
        remote_python: the Python over there; None for the same path as here.
    """

    hosts: Annotated[tuple[Line, ...], Field(min_length=2, max_length=10_000, strict=False)]
    connect_options: Options
    scheduler_options: Options
    worker_options: Options
    remote_python: Line | None = None

    @property
    def workers(self) -> int:
        """How many workers that makes."""
        each = self.worker_options.get("n_workers", 1)
        return (len(self.hosts) - 1) * (each if isinstance(each, int) else 1)


class JobsConfig(Section):
    """Workers as jobs of a batch system, by dask-jobqueue.

    Attributes:
        jobs: how many jobs are submitted; with ``cluster.adapt`` as many as it asks for.
        cores: of each job.
        memory: of each job.
        processes: workers in each job; None for one per core.
        queue: queue or partition.
        account: that the jobs are charged to.
        walltime: how long a job may run, as the batch system writes it.
        interface: network interface of the scheduler and the workers, such as ``ib0``.
        python: that runs the workers; None for the same path as here.
        job_extra_directives: more directives of the job script, without ``#SBATCH`` or ``#PBS``.
        job_script_prologue: commands of the job script before the worker starts, such as ``module load python``.
        worker_extra_args: more arguments of ``dask worker``, such as ``--lifetime``.
        local_directory: fast storage of the node that a worker may write to.
        log_directory: for what the jobs print; None for where the batch system puts it.
        shared_temp_directory: that all nodes see, where the certificates of a run lie while it runs.
        options: any other argument of ``SLURMCluster`` or ``PBSCluster``.
    """

    jobs: Annotated[int, Field(ge=1, le=100_000)] = 1
    cores: Annotated[int, Field(ge=1, le=4096)] = 1
    memory: Annotated[Size, Field(ge=64 * MIB)]
    processes: Annotated[int, Field(ge=1, le=4096)] | None = None
    queue: Line | None = None
    account: Line | None = None
    walltime: Line | None = None
    interface: Line | None = None
    python: Line | None = None
    job_extra_directives: Lines = ()
    job_script_prologue: Lines = ()
    worker_extra_args: Lines = ()
    local_directory: Line | None = None
    log_directory: Line | None = None
    shared_temp_directory: Line = "~"
    options: Options

    @property
    def workers(self) -> int:
        """How many workers that makes."""
        return self.jobs * self.workers_per_job

    @property
    def workers_per_job(self) -> int:
        """Worker processes of one job."""
        return self.processes or self.cores


class PbsConfig(JobsConfig):
    """The same for PBS, where ``resource_spec`` replaces what cores and memory would ask for, after ``-l``."""

    resource_spec: Line | None = None


class KubernetesConfig(Section):
    """``dask_kubernetes.operator.KubeCluster``.

    Attributes:
        spec: a YAML file with a ``DaskCluster`` resource.
        namespace: None for that of the current context.
        options: any other argument of ``KubeCluster``.
    """

    spec: FilePath
    namespace: Line | None = None
    options: Options


class CustomConfig(Section):
    """Any class that Dask has a cluster of.

    Attributes:
        class_path: where it is imported from, ``dask_cloudprovider.aws.FargateCluster``.
        kwargs: its keyword arguments.
    """

    class_path: Annotated[str, Field(max_length=512), AfterValidator(_check_class_path)]
    kwargs: Options


class ClusterConfig(Section):
    """Clusters that a run starts elsewhere, one key each, and what is said to all of them.

    Attributes:
        adapt: workers come and go as there is work for them.
        encrypt: whether scheduler and workers of ssh, slurm, pbs and processes speak TLS: with certificates of ``tls``, or with
            some that are made for the run. None for all but processes without ``tls``, which speak on the loopback only.
            Threads and in-process speak to nobody.
        tls: certificates, also for the address ``tls://HOST:PORT`` and for custom.
    """

    adapt: AdaptConfig | None = None
    encrypt: bool | None = None
    tls: TlsConfig | None = None
    ssh: SshConfig | None = None
    slurm: JobsConfig | None = None
    pbs: PbsConfig | None = None
    kubernetes: KubernetesConfig | None = None
    custom: CustomConfig | None = None

    @model_validator(mode="after")
    def _check_encryption(self) -> Self:
        if self.tls is not None and self.encrypt is False:
            raise ValueError("tls names certificates, and encrypt is false; take one of them out")
        return self

    @property
    def kinds(self) -> list[str]:
        """Those that are described here."""
        return [kind for kind in KINDS if getattr(self, kind) is not None]

    def choose(self, scheduler: str) -> str:
        """What ``auto`` means where a cluster is described here; other names, and ``auto`` elsewhere, as they are."""
        return self.kinds[0] if scheduler == "auto" and self.kinds else scheduler

    def check(self, scheduler: str, workers: int | None) -> None:
        """Whether this section and the ``compute`` section go together.

        Raises:
            ValueError: they do not.
        """
        if scheduler == "auto" and len(self.kinds) > 1:
            raise ValueError(
                f"cluster has {' and '.join(self.kinds)}; say which one in compute.scheduler (--scheduler)"
            )
        if scheduler in KINDS and scheduler not in self.kinds:
            raise ValueError(f"compute.scheduler is {scheduler}, but there is no cluster.{scheduler} to say how")
        chosen = self.choose(scheduler)
        self._check_can_encrypt(chosen)
        if self.adapt is not None and chosen not in (*ADAPTIVE, "auto"):
            name = "a cluster at an address" if "://" in chosen else chosen
            raise ValueError(f"cluster.adapt (--adapt): {name} cannot adapt; {', '.join(ADAPTIVE)} can")
        if workers is not None:
            self._check_workers(chosen)

    def _check_can_encrypt(self, chosen: str) -> None:
        """Encryption that is asked for, and would not be there, is not passed over."""
        if self.tls is None and not self.encrypt:
            return
        asked = "cluster.encrypt is true" if self.tls is None else "cluster.tls has certificates"
        if chosen.startswith("tcp://"):
            raise ValueError(f"{asked}, but tcp:// is not encrypted; write tls:// in compute.scheduler")
        if chosen == "kubernetes" or (chosen == "custom" and self.tls is None):
            raise ValueError(
                f"{asked}, but for {chosen} it is what starts the cluster that says whether it is encrypted; take it out"
            )

    def _check_workers(self, chosen: str) -> None:
        if self.adapt is not None:
            raise ValueError(
                "compute.workers (--workers) and cluster.adapt (--adapt) both say how many; take one of them out"
            )
        if chosen in _COUNTED_BY:
            raise ValueError(f"compute.workers (--workers): for {chosen} the number comes from {_COUNTED_BY[chosen]}")


_COUNTED_BY = {
    "ssh": "cluster.ssh.hosts and its worker_options.n_workers",
    "slurm": "cluster.slurm.jobs and its processes",
    "pbs": "cluster.pbs.jobs and its processes",
}
