"""Start a Dask cluster elsewhere: by SSH, as jobs of a batch system, on Kubernetes, or by any class that Dask has one of.

In: ``ComputeConfig``, ``ClusterConfig``.  Out: an object that a Dask ``Client`` takes, and that ends what it started.
Knows no tasks.  What listens on a network speaks TLS by default; dashboards and metrics stay on the loopback of their machine.
"""

from __future__ import annotations

import importlib
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from types import ModuleType
from typing import Any, Protocol, TypeVar, cast

import dask

from dicomflow.compute.scheduler import ALLOCATION, SAMPLING
from dicomflow.compute.security import as_dask_config, security_of_cluster, shared_with_workers, web_server
from dicomflow.compute.ssh import shared_by_ssh
from dicomflow.config import AdaptConfig, ClusterConfig, ComputeConfig, JobsConfig
from dicomflow.errors import ComputeError, ConfigError, first_line
from dicomflow.log import get_logger
from dicomflow.yamlfile import read_yaml_mapping

T = TypeVar("T")

_log = get_logger("compute")

KILLS_ALLOWED = 1
"""Workers that a task may kill: the second time it is handed back, to be split."""


ADAPT_SECONDS = "1 s"
"""Where workers come by need: there are to be so many that the tasks in flight take this long."""


class Started(Protocol):
    """A cluster that runs: what all of Dask's cluster classes have."""

    @property
    def scheduler_address(self) -> str:
        """Where its scheduler listens."""

    def scale(self, n: int) -> object:
        """Have this many workers."""

    def adapt(self, *, minimum: int, maximum: int) -> object:
        """Have as many workers as there is work for."""

    def close(self) -> object:
        """End it, and its workers."""


def scheduler_settings(config: ComputeConfig) -> dict[str, Any]:
    """Dask's own settings for schedulers and workers that a run starts (``configs/dask.yaml`` has them for others).

    With a saturation of 1 a worker holds just the tasks that run on it: if it dies, no other is blamed.
    """
    return {
        "distributed.scheduler.allowed-failures": KILLS_ALLOWED,
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.scheduler.worker-ttl": f"{config.worker_ttl:g} s",
        "distributed.adaptive.target-duration": ADAPT_SECONDS,
        **SAMPLING,
        **ALLOCATION,
    }


def start_remote(config: ComputeConfig, scheduler: str, cluster: ClusterConfig, stack: ExitStack) -> Started:
    """Start the kind of cluster that ``scheduler`` names, with its workers on the way.

    Args:
        config: the section ``compute:``.
        scheduler: ssh, slurm, pbs, kubernetes or custom.
        cluster: the section ``cluster:``, with a part of that name.
        stack: gets what has to be done at the end, the cluster's own ``close`` included.

    Raises:
        ComputeError: it cannot be started; one line says why, or what to install.
    """
    try:
        started = _STARTERS[scheduler](config, cluster, stack)
        stack.callback(close_cluster, started)
        workers = _count_to_start(config, scheduler, cluster)
        if workers is not None:
            started.scale(workers)
        return started
    except (ComputeError, ConfigError):
        raise
    except Exception as error:  # strangers' classes raise what they like
        raise ComputeError(f"the {scheduler} cluster cannot be started: {first_line(error)}") from error


def adapt_workers(started: Started, adapt: AdaptConfig) -> None:
    """Have workers come and go.

    Raises:
        ComputeError: this cluster cannot.
    """
    try:
        started.adapt(minimum=adapt.minimum, maximum=adapt.maximum)
    except (AttributeError, NotImplementedError, TypeError):
        raise ComputeError(f"cluster.adapt (--adapt): {type(started).__name__} cannot adapt") from None


def close_cluster(started: Started) -> None:
    """What was read is read: a cluster that cannot be ended as it should is worth a warning, no more."""
    try:
        started.close()
    except Exception as error:  # noqa: BLE001  strangers' classes raise what they like
        _log.warning("cluster_not_closed", kind=type(started).__name__, reason=first_line(error))


def _count_to_start(config: ComputeConfig, scheduler: str, cluster: ClusterConfig) -> int | None:
    """How many workers to ask for; None where the cluster has them already, or will adapt."""
    jobs = cluster.slurm if scheduler == "slurm" else cluster.pbs if scheduler == "pbs" else None
    if cluster.adapt is not None:
        return None
    return config.workers if jobs is None else jobs.workers


def _start_ssh(config: ComputeConfig, cluster: ClusterConfig, stack: ExitStack) -> Started:
    """Scheduler and workers inherit Dask's configuration of this process, and with it where their certificates lie."""
    asyncssh = _import_extra("asyncssh", "ssh")
    from distributed import SSHCluster

    ssh, security = _described(cluster.ssh), security_of_cluster(cluster)
    options = {"connect_timeout": config.connect_timeout, **ssh.connect_options}
    theirs = stack.enter_context(shared_by_ssh(security, ssh.hosts, options, asyncssh))
    protocol = {} if security is None else {"protocol": "tls://"}
    worker_options = {"nthreads": 1, "memory_limit": config.memory_limit, **protocol}
    with dask.config.set(as_dask_config(theirs)):
        started: Started = SSHCluster(
            list(ssh.hosts),
            connect_options=options,
            scheduler_options={**protocol, **web_server(config.dashboard_address), **ssh.scheduler_options},
            worker_options={**worker_options, **web_server(config.worker_dashboard_address), **ssh.worker_options},
            remote_python=ssh.remote_python or sys.executable,
            security=security,
        )
    return started


def _start_slurm(config: ComputeConfig, cluster: ClusterConfig, stack: ExitStack) -> Started:
    make: Callable[..., Started] = _import_extra("dask_jobqueue", "jobqueue").SLURMCluster
    _check_command("sbatch")
    return make(**_job_arguments(config, cluster, _described(cluster.slurm), stack))


def _start_pbs(config: ComputeConfig, cluster: ClusterConfig, stack: ExitStack) -> Started:
    make: Callable[..., Started] = _import_extra("dask_jobqueue", "jobqueue").PBSCluster
    _check_command("qsub")
    return make(**_job_arguments(config, cluster, _described(cluster.pbs), stack))


def _check_command(name: str) -> None:
    """Without it no worker would ever come, and the run would wait for a day."""
    if shutil.which(name) is None:
        raise ComputeError(
            f"{name} is not found here: run this where jobs are submitted, or choose another compute.scheduler"
        )


def _job_arguments(config: ComputeConfig, cluster: ClusterConfig, jobs: JobsConfig, stack: ExitStack) -> dict[str, Any]:
    """Of a cluster class of dask-jobqueue; its scheduler runs in this process."""
    security = stack.enter_context(shared_with_workers(security_of_cluster(cluster), jobs.shared_temp_directory))
    web = web_server(config.worker_dashboard_address)
    dashboard = [
        "--dashboard" if web["dashboard"] else "--no-dashboard",
        "--dashboard-address",
        web["dashboard_address"],
    ]
    return jobs.model_dump(exclude={"jobs", "options", "shared_temp_directory"}, exclude_none=True) | {
        "processes": jobs.workers_per_job,
        "worker_extra_args": [*dashboard, *jobs.worker_extra_args],
        "job_extra_directives": list(jobs.job_extra_directives),
        "job_script_prologue": list(jobs.job_script_prologue),
        "security": security,
        **jobs.options,
        "scheduler_options": web_server(config.dashboard_address) | jobs.options.get("scheduler_options", {}),
    }


def _start_kubernetes(_config: ComputeConfig, cluster: ClusterConfig, _stack: ExitStack) -> Started:
    kubernetes = _described(cluster.kubernetes)
    spec = read_yaml_mapping(kubernetes.spec)
    if spec.get("kind") != "DaskCluster" or not isinstance(spec.get("metadata"), dict):
        raise ConfigError(f"{kubernetes.spec}: expected a DaskCluster resource, with kind and metadata.name")
    make: Callable[..., Started] = _import_extra("dask_kubernetes.operator", "kubernetes").KubeCluster
    namespace = {} if kubernetes.namespace is None else {"namespace": kubernetes.namespace}
    return make(custom_cluster_spec=spec, quiet=True, **namespace | kubernetes.options)


def _start_custom(_config: ComputeConfig, cluster: ClusterConfig, _stack: ExitStack) -> Started:
    custom = _described(cluster.custom)
    security = {} if cluster.tls is None else {"security": security_of_cluster(cluster)}
    started = _import_class(custom.class_path)(**security | custom.kwargs)
    if not hasattr(started, "scheduler_address"):
        raise ComputeError(
            f"cluster.custom.class_path: {custom.class_path} is no cluster that a Dask client can connect to"
        )
    return cast("Started", started)


def _described(section: T | None) -> T:
    """The part of ``cluster:`` that a configuration has for its scheduler."""
    if section is None:
        raise ComputeError("the section cluster: does not describe the cluster that compute.scheduler names")
    return section


def _import_extra(module: str, extra: str) -> ModuleType:
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0].replace("_", "-")
        raise ComputeError(
            f"{package} cannot be imported ({first_line(error)}); to install it: pip install 'dicomflow[{extra}]'"
        ) from None
    finally:
        if signal.getsignal(signal.SIGINT) is not interrupt:  # dask_jobqueue takes Ctrl-C for itself
            signal.signal(signal.SIGINT, interrupt)


def _import_class(path: str) -> Callable[..., Any]:
    """A class by its import path, from the configuration of the user who runs this, and from nowhere else."""
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        package = module.partition(".")[0].replace("_", "-")
        raise ComputeError(
            f"cluster.custom.class_path: {module} cannot be imported ({first_line(error)}); is {package} installed here?"
        ) from None
    if not callable(found):
        raise ComputeError(f"cluster.custom.class_path: {module} has no class {name}")
    return found  # type: ignore[no-any-return]


_STARTERS: dict[str, Callable[[ComputeConfig, ClusterConfig, ExitStack], Started]] = {
    "ssh": _start_ssh,
    "slurm": _start_slurm,
    "pbs": _start_pbs,
    "kubernetes": _start_kubernetes,
    "custom": _start_custom,
}
