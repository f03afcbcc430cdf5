"""Clusters that are started elsewhere, as the configuration says."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import dask
import pytest
import yaml
from distributed import LocalCluster

from dicomflow.compute import choose_scheduler, count_workers, open_cluster
from dicomflow.compute.connect import Connection
from dicomflow.compute.remote import scheduler_settings, start_remote
from dicomflow.errors import ComputeError, ConfigError
from tests.compute.running import make_settings, run_doubles

DOUBLES = [2 * number for number in range(12)]


@pytest.fixture(autouse=True)
def _keep_ctrl_c() -> Iterator[None]:
    """dask_jobqueue takes Ctrl-C for itself where a test is the first to import it."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


# ---- a class of one's own ----


class OwnCluster(LocalCluster):
    """What a user may name by its import path."""

    made: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, **kwargs: Any) -> None:
        self.made.append(kwargs)
        quiet = {"dashboard_address": None, "worker_dashboard_address": None, "silence_logs": 50}
        super().__init__(**quiet | {"processes": False, "n_workers": 1, "threads_per_worker": 1} | kwargs)


class Broken:
    """No cluster at all."""

    def __init__(self, **_kwargs: Any) -> None:
        raise LookupError("no machine is free\nand more")


def test_class_by_import_path() -> None:
    """A class is called with its keyword arguments and used as the cluster; ``auto`` takes it without being told."""
    OwnCluster.made.clear()
    config = make_settings(
        cluster__custom={"class_path": f"{__name__}.OwnCluster", "kwargs": {"threads_per_worker": 2}}
    )
    assert choose_scheduler(config.compute, 1, config.cluster) == "custom"
    values, processes = run_doubles(config)
    assert values == DOUBLES and processes == {os.getpid()}
    assert OwnCluster.made == [{"threads_per_worker": 2}]


def test_class_is_scaled_to_workers() -> None:
    """``workers`` is how many workers the class is asked for."""
    config = make_settings(cluster__custom={"class_path": f"{__name__}.OwnCluster"}, compute__workers=3)
    with Connection(config.compute, "custom", config.cluster) as connection:
        connection.client.wait_for_workers(3, timeout=30)
    assert count_workers(config.compute, "custom", config.cluster) == 3


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "no_such_package_here.Cluster",
            r"no_such_package_here cannot be imported .*; is no-such-package-here installed here\?",
        ),
        ("os.NoSuchClass", "os has no class NoSuchClass"),
        ("os.sep", "os has no class sep"),
        ("builtins.dict", "builtins.dict is no cluster that a Dask client can connect to"),
        (f"{__name__}.Broken", "the custom cluster cannot be started: no machine is free$"),
    ],
)
def test_class_that_is_none(path: str, message: str) -> None:
    """One line says what is wrong with the import path, or what the class said."""
    config = make_settings(cluster__custom={"class_path": path})
    with pytest.raises(ComputeError, match=message), open_cluster(config.compute, "custom", config.cluster):
        pass


# ---- jobs of a batch system ----


JOBS: dict[str, Any] = {
    "queue": "short",
    "account": "imaging",
    "cores": 4,
    "memory": "16 GiB",
    "walltime": "02:00:00",
    "jobs": 3,
    "job_extra_directives": ["--exclusive"],
    "job_script_prologue": ["module load python"],
    "worker_extra_args": ["--lifetime", "110m"],
    "options": {"job_name": "headers", "scheduler_options": {"host": "127.0.0.1", "dashboard": False}},
}

SUBMIT = """#!/bin/sh
# a batch system that starts each job at once, on this machine
cp "$1" "{folder}/job-$$.sh"
if [ -n "$STAY_QUEUED" ]; then echo "Submitted batch job $$"; exit; fi
setsid sh "{folder}/job-$$.sh" >"{folder}/out-$$" 2>&1 &
echo $! >> "{folder}/started"
echo "Submitted batch job $!"
"""

CANCEL = """#!/bin/sh
echo "$1" >> "{folder}/cancelled"
[ -z "$STAY_QUEUED" ] || exit 0
kill -TERM -- "-$1" 2>/dev/null || true
"""


@pytest.fixture
def batch_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``sbatch``, ``scancel``, ``qsub`` and ``qdel`` of a machine that is its own only node."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in {"sbatch": SUBMIT, "qsub": SUBMIT, "scancel": CANCEL, "qdel": CANCEL}.items():
        (commands / name).write_text(text.format(folder=tmp_path))
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")]))
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("slurm", ["#SBATCH -p short", "#SBATCH -A imaging", "#SBATCH --cpus-per-task=4", "#SBATCH --mem=16G",
                   "#SBATCH -t 02:00:00", "#SBATCH --exclusive", "#SBATCH -J headers"]),
        ("pbs", ["#PBS -q short", "#PBS -A imaging", "#PBS -l select=1:ncpus=4:mem=16GB", "#PBS -l walltime=02:00:00",
                 "#PBS --exclusive", "#PBS -N headers"]),
    ],
)  # fmt: skip
def test_job_script_comes_out_as_configured(
    kind: str, expected: list[str], batch_system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Directives, prologue, one worker per core, and a web server of the worker that stays on its node's loopback."""
    pytest.importorskip("dask_jobqueue")
    monkeypatch.setenv("STAY_QUEUED", "1")
    config = make_settings(
        **{f"cluster__{kind}": JOBS, "cluster__encrypt": False, "compute__worker_dashboard_address": "127.0.0.1:0"}
    )
    assert count_workers(config.compute, kind, config.cluster) == 12
    with contextlib.ExitStack() as stack:
        cluster: Any = start_remote(config.compute, kind, config.cluster, stack)
        script = cluster.job_script()
        assert len(cluster.worker_spec) == 3
    lines = script.splitlines()
    assert [line for line in expected if line not in lines] == []
    assert "module load python" in lines
    command = lines[-1] or lines[-2]
    for part in (
        "--nthreads 1",
        "--nworkers 4",
        "--memory-limit 4.00GiB",
        "--nanny",
        "--dashboard-address 127.0.0.1:0",
        "--lifetime 110m",
    ):
        assert part in command


def test_jobs_run_encrypted(batch_system: Path) -> None:
    """Workers that a batch system starts do the tasks, over TLS with certificates that are there only while the run is."""
    pytest.importorskip("dask_jobqueue")
    pytest.importorskip("cryptography")
    shared = batch_system / "shared"
    shared.mkdir()
    jobs = {**JOBS, "cores": 1, "jobs": 1, "memory": "1 GiB", "shared_temp_directory": str(shared), "worker_extra_args": ["--host", "127.0.0.1"],
            "job_script_prologue": []}  # fmt: skip
    config = make_settings(cluster__slurm=jobs)
    scheduler = choose_scheduler(config.compute, 1, config.cluster)
    with Connection(config.compute, scheduler, config.cluster) as connection:
        assert connection.client.scheduler.address.startswith("tls://127.0.0.1:")
        connection.client.wait_for_workers(1, timeout=60)
        folder, *kept = sorted(shared.rglob("*"))
        assert len(kept) == 3 and all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in kept)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert connection.client.submit(os.getpid).result(timeout=30) != os.getpid()
    assert not list(shared.iterdir())
    assert (batch_system / "cancelled").read_text().split() == (batch_system / "started").read_text().split()


def test_interrupt_stays_ours(batch_system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """dask_jobqueue takes Ctrl-C for itself when it is imported: whoever had it before gets it back."""
    pytest.importorskip("dask_jobqueue")
    monkeypatch.setenv("STAY_QUEUED", "1")
    code = """if True:
        import signal, contextlib
        from dicomflow.compute.remote import start_remote
        from dicomflow.config import load_config
        config = load_config(None, {"cluster.slurm": {"memory": 2**30}, "cluster.encrypt": False, "compute.dashboard_address": ""})
        with contextlib.ExitStack() as stack:
            start_remote(config.compute, "slurm", config.cluster, stack)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(("kind", "command"), [("slurm", "sbatch"), ("pbs", "qsub")])
def test_where_no_jobs_are_submitted(kind: str, command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One line at once, and not a day of waiting for workers."""
    pytest.importorskip("dask_jobqueue")
    monkeypatch.setenv("PATH", str(tmp_path))
    config = make_settings(**{f"cluster__{kind}": {"memory": "1 GiB"}})
    with (
        pytest.raises(ComputeError, match=f"^{command} is not found here"),
        open_cluster(config.compute, kind, config.cluster),
    ):
        pass


@pytest.mark.parametrize(
    ("kind", "section", "module", "extra"),
    [
        ("slurm", {"memory": "1 GiB"}, "dask_jobqueue", "jobqueue"),
        ("ssh", {"hosts": ["a", "b"]}, "asyncssh", "ssh"),
        ("kubernetes", {"spec": "cluster.yaml"}, "dask_kubernetes", "kubernetes"),
    ],
)
def test_package_that_is_missing(
    kind: str, section: dict[str, Any], module: str, extra: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The line says which extra to install."""
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, f"{module}.operator", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cluster.yaml").write_text("kind: DaskCluster\nmetadata: {name: a}\n")
    config = make_settings(**{f"cluster__{kind}": section})
    message = rf"{module.replace('_', '-')} cannot be imported .*pip install 'dicomflow\[{extra}\]'"
    with pytest.raises(ComputeError, match=message), open_cluster(config.compute, kind, config.cluster):
        pass


# ---- SSH ----


def test_ssh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A scheduler and a worker started by SSH do the tasks, over TLS; the key of the run is in no command, and gone at the end."""
    pytest.importorskip("asyncssh")
    pytest.importorskip("cryptography")
    from tests.compute.sshd import ssh_server

    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")]))
    with ssh_server(tmp_path / "commands") as port:
        config = make_settings(
            cluster__ssh={
                "hosts": ["127.0.0.1", "127.0.0.1"],
                "connect_options": {"port": port, "known_hosts": None, "username": "anybody", "config": None},
                "scheduler_options": {"host": "127.0.0.1"},
                "worker_options": {"host": "127.0.0.1", "n_workers": 1},
            },
            compute__connect_timeout=120,
        )
        values, processes = run_doubles(config)
    assert values == DOUBLES and os.getpid() not in processes
    started = [command for command in (tmp_path / "commands").read_text().splitlines() if "dask_spec" in command]
    assert len(started) == 2
    assert all("tls://" in command for command in started)
    inherited = [re.search(r'DASK_INTERNAL_INHERIT_CONFIG="([^"]+)"', command) for command in started]
    settings = dask.config.deserialize(inherited[0][1]) if inherited[0] else {}
    assert "PRIVATE KEY" not in str(settings)
    key = Path(settings["distributed"]["comm"]["tls"]["worker"]["key"])
    assert key.parent.name.startswith(".dicomflow-tls-") and not key.parent.exists()
    assert settings["distributed"]["scheduler"]["allowed-failures"] == 1
    assert settings["distributed"]["scheduler"]["worker-saturation"] == 1.0


def test_ssh_host_that_does_not_answer() -> None:
    """A host without an SSH server is one line."""
    pytest.importorskip("asyncssh")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        options = {"port": taken.getsockname()[1], "known_hosts": None, "config": None}
        config = make_settings(cluster__ssh={"hosts": ["127.0.0.1", "127.0.0.1"], "connect_options": options})
        with pytest.raises(ComputeError, match="^the ssh cluster cannot be started: .*") as caught:
            run_doubles(config)
    assert "\n" not in str(caught.value)


# ---- Kubernetes ----


def test_kubernetes_resource_is_handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator's class gets the resource of the file, and the namespace."""
    given: dict[str, Any] = {}

    class KubeCluster(OwnCluster):
        def __init__(self, **kwargs: Any) -> None:
            given.update(kwargs)
            super().__init__()

    package, operator = types.ModuleType("dask_kubernetes"), types.ModuleType("dask_kubernetes.operator")
    operator.KubeCluster = KubeCluster  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dask_kubernetes", package)
    monkeypatch.setitem(sys.modules, "dask_kubernetes.operator", operator)
    resource = {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": "headers"},
        "spec": {},
    }
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(resource))
    config = make_settings(
        cluster__kubernetes={
            "spec": str(tmp_path / "cluster.yaml"),
            "namespace": "imaging",
            "options": {"resource_timeout": 5},
        }
    )
    values, _ = run_doubles(config)
    assert values == DOUBLES
    assert given == {"custom_cluster_spec": resource, "quiet": True, "namespace": "imaging", "resource_timeout": 5}


@pytest.mark.parametrize("text", ["", "kind: Pod\nmetadata: {name: a}\n", "kind: DaskCluster\n"])
def test_file_that_is_no_dask_cluster(text: str, tmp_path: Path) -> None:
    """Anything else than a DaskCluster with a name is refused before Kubernetes is asked."""
    (tmp_path / "cluster.yaml").write_text(text)
    config = make_settings(cluster__kubernetes={"spec": str(tmp_path / "cluster.yaml")})
    with pytest.raises(ConfigError, match=r"cluster\.yaml: expected a DaskCluster resource"):
        start_remote(config.compute, "kubernetes", config.cluster, contextlib.ExitStack())


# ---- what all of them are told ----


def test_settings_of_schedulers_of_our_own() -> None:
    """The scheduler of a run is told what the run needs of it, and Dask's own settings are back afterwards."""
    before = dask.config.config.copy()
    config = make_settings(cluster__custom={"class_path": f"{__name__}.OwnCluster"}, compute__worker_ttl=45)
    with Connection(config.compute, "custom", config.cluster) as connection:
        scheduler = connection.client.cluster.scheduler
        assert scheduler.allowed_failures == 1
        assert scheduler.WORKER_SATURATION == 1.0
        assert scheduler.worker_ttl == 45
    assert dask.config.config == before


def test_settings_are_keys_of_dask() -> None:
    """Dask ignores a key that it does not know: each is one that it has a default of, or names a variable for workers."""
    for key in scheduler_settings(make_settings().compute):
        known = key.rpartition(".")[0] if ".pre-spawn-environ." in key else key
        assert dask.config.get(known, None) is not None


def test_class_that_cannot_adapt() -> None:
    """SSH's class has an adapt() that cannot: whichever class it is, the line says so."""
    path = f"{__name__}.FixedCluster"
    config = make_settings(cluster__custom={"class_path": path}, cluster__adapt={"minimum": 1, "maximum": 2})
    message = r"^cluster\.adapt \(--adapt\): FixedCluster cannot adapt$"
    with pytest.raises(ComputeError, match=message), Connection(config.compute, "custom", config.cluster):
        pass


class FixedCluster(LocalCluster):
    """A cluster of a fixed size."""

    def __init__(self) -> None:
        super().__init__(n_workers=1, processes=False, dashboard_address="127.0.0.1:0", silence_logs=50)

    def adapt(self, *_args: Any, **_kwargs: Any) -> None:
        raise NotImplementedError
