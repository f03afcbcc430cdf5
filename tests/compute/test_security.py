"""Encryption between this process, the scheduler and the workers, and what is said where there is none."""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import distributed
import psutil
import pytest

import dicomflow
from dicomflow.compute.connect import Connection
from dicomflow.compute.local import start_local
from dicomflow.compute.security import (
    ROLES,
    as_dask_config,
    is_exposed,
    security_of_address,
    security_of_cluster,
    shared_with_workers,
    warn_unencrypted,
)
from dicomflow.errors import ComputeError
from dicomflow.synth import write_studies
from tests.cluster.daemons import Daemons
from tests.compute.certificates import make_certificate
from tests.compute.running import make_settings


@pytest.mark.parametrize(
    ("address", "exposed"),
    [
        ("tcp://127.0.0.1:8786", False),
        ("tcp://127.9.8.7:8786", False),
        ("tcp://localhost:8786", False),
        ("tcp://[::1]:8786", False),
        ("inproc://192.0.2.1/1/2", False),
        ("tls://192.0.2.1:8786", False),
        ("tcp://192.0.2.1:8786", True),
        ("tcp://0.0.0.0:8786", True),
        ("tcp://[2001:db8::1]:8786", True),
        ("ucx://192.0.2.1:8786", True),
        ("tcp://no-such-host.invalid:8786", True),
    ],
)
def test_exposed_addresses(address: str, exposed: bool) -> None:
    """Whatever is neither encrypted nor of this machine's loopback; a name that nobody knows, too."""
    assert is_exposed(address) is exposed


def test_warning_is_one_line_and_once(capsys: pytest.CaptureFixture[str]) -> None:
    """One line on stderr says what the danger is and what to do, the first time."""
    warn_unencrypted.cache_clear()
    for _ in range(3):
        warn_unencrypted("tcp://192.0.2.1:8786")
        warn_unencrypted("tcp://127.0.0.1:8786")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    for said in ("unencrypted_cluster", "tcp://192.0.2.1:8786", "run code on the workers", "tls://"):
        assert said in lines[0]


def test_warning_at_an_unencrypted_cluster_of_our_own(capsys: pytest.CaptureFixture[str]) -> None:
    """A cluster that listens beyond loopback without TLS is said, whatever started it."""
    warn_unencrypted.cache_clear()
    options = {"host": "0.0.0.0", "protocol": "tcp://", "n_workers": 0, "processes": False, "dashboard_address": "127.0.0.1:0", "silence_logs": 50}  # fmt: skip
    config = make_settings(cluster__custom={"class_path": "distributed.LocalCluster", "kwargs": options})
    with Connection(config.compute, "custom", config.cluster):
        pass
    assert capsys.readouterr().err.count("unencrypted_cluster") == 1


@pytest.mark.parametrize("missing", ["ca_file", "cert", "key"])
def test_certificate_that_is_not_there(missing: str, tmp_path: Path) -> None:
    """The line names the key of the configuration and the file."""
    cert, key = make_certificate(tmp_path)
    files = {"ca_file": str(cert), "cert": str(cert), "key": str(key)} | {missing: str(tmp_path / "none.pem")}
    config = make_settings(cluster__tls=files)
    with pytest.raises(ComputeError, match=rf"^cluster\.tls\.{missing}: .*none\.pem: No such file or directory$"):
        security_of_address(config.cluster, "tls://127.0.0.1:8786")


def test_certificate_that_is_none(tmp_path: Path) -> None:
    """A file of something else is said before anything is connected."""
    (tmp_path / "text.pem").write_text("no certificate")
    files = {name: str(tmp_path / "text.pem") for name in ("ca_file", "cert", "key")}
    with pytest.raises(ComputeError, match=r"^cluster\.tls: the certificates cannot be used: "):
        security_of_address(make_settings(cluster__tls=files).cluster, "tls://127.0.0.1:8786")


def test_tls_without_certificates() -> None:
    """Without certificates of the configuration, or of Dask's own, ``tls://`` cannot be spoken."""
    with pytest.raises(ComputeError, match=r"tls:// needs certificates: name ca_file, cert and key in cluster\.tls"):
        security_of_address(make_settings().cluster, "tls://127.0.0.1:8786")


def test_no_encryption_if_it_is_not_wanted() -> None:
    """``encrypt: false`` is no ``Security`` at all."""
    assert security_of_cluster(make_settings(cluster__encrypt=False).cluster) is None
    assert as_dask_config(None) == {}


def test_encryption_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package that makes certificates the line names the three ways out."""
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ComputeError, match=r"cryptography; install it, .*cluster\.tls, or set cluster\.encrypt: false"):
        security_of_cluster(make_settings().cluster)


def test_certificates_of_a_run_lie_for_its_owner_only(tmp_path: Path) -> None:
    """Those in memory become files that nobody else reads, and that go; those that are files stay where they are."""
    pytest.importorskip("cryptography")
    made = security_of_cluster(make_settings().cluster)
    assert made is not None
    with shared_with_workers(made, str(tmp_path)) as shared:
        assert shared is not None
        files = shared.get_tls_config_for_role("worker")
        for name in ("ca_file", "cert", "key"):
            assert stat.S_IMODE(Path(files[name]).stat().st_mode) == 0o600
            assert Path(files[name]).read_text() == made.get_tls_config_for_role("worker")[name]
    assert not list(tmp_path.iterdir())
    cert, key = make_certificate(tmp_path)
    own = security_of_cluster(
        make_settings(cluster__tls={"ca_file": str(cert), "cert": str(cert), "key": str(key)}).cluster
    )
    with shared_with_workers(own, str(tmp_path)) as shared:
        assert shared is own


def test_encryption_as_settings_of_dask(tmp_path: Path) -> None:
    """Processes that inherit the settings make the same ``Security`` of them."""
    from distributed import Security

    cert, key = make_certificate(tmp_path)
    security = security_of_cluster(
        make_settings(cluster__tls={"ca_file": str(cert), "cert": str(cert), "key": str(key)}).cluster
    )
    with dask.config.set(as_dask_config(security)):
        inherited = Security()
    assert inherited.require_encryption
    for role in ("client", "scheduler", "worker"):
        assert inherited.get_tls_config_for_role(role)["key"] == str(key)


@pytest.mark.parametrize(("scheduler", "protocol"), [("in-process", "inproc://"), ("processes", "tls://")])
def test_nothing_listens_beyond_loopback_without_a_dashboard(scheduler: str, protocol: str) -> None:
    """It leaves web servers for health and metrics, of the scheduler and of each worker; what else listens speaks TLS, if asked to."""
    config = make_settings(compute__workers=1, cluster__encrypt=True)
    before = {found.laddr for found in psutil.Process().net_connections(kind="inet")}
    with Connection(config.compute, scheduler, config.cluster) as connection:
        connection.client.wait_for_workers(1, timeout=30)
        assert str(connection.client.scheduler.address).startswith(protocol)
        ours = psutil.Process()
        listening = [
            found.laddr
            for process in (ours, *ours.children(recursive=True))
            for found in process.net_connections(kind="inet")
            if found.status == psutil.CONN_LISTEN and found.laddr not in before
        ]
    assert listening and {address.ip for address in listening} == {"127.0.0.1"}


@pytest.mark.parametrize(("scheduler", "is_used"), [("processes", True), ("in-process", False)])
def test_certificates_for_workers_of_this_machine(
    scheduler: str, is_used: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes get those of the configuration; without any, and unasked, they stay on the loopback as they are."""
    given: list[Any] = []
    monkeypatch.setattr(distributed, "LocalCluster", lambda **options: given.append(options["security"]))
    cert, key = make_certificate(tmp_path)
    tls = make_settings(cluster__tls={"ca_file": str(cert), "cert": str(cert), "key": str(key)})
    for config in (tls, make_settings()):
        start_local(config.compute, scheduler, config.cluster)
    assert given[1] is None and (given[0] is not None) is is_used
    if is_used:
        assert {given[0].get_tls_config_for_role(role)["key"] for role in ROLES} == {str(key)}


@pytest.fixture
def tls_cluster(tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A real ``dask scheduler`` and ``dask worker`` that speak TLS with certificates of openssl."""
    cert, key = make_certificate(tmp_path)
    tls = {"ca_file": str(cert), "cert": str(cert), "key": str(key)}
    with Daemons(tmp_path / "daemons", workers=1, options=("--no-nanny",), tls=tls) as daemons:
        yield daemons.address, tls


def test_dataset_over_tls_is_the_same(tls_cluster: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    """A run over TLS writes what a run in this process writes; with certificates of somebody else it does not begin."""
    address, tls = tls_cluster
    write_studies(tmp_path / "scans", files=60, seed=5)
    overrides: dict[str, Any] = {"cluster__tls": tls, "scheduler": address, "compute__connect_timeout": 60.0}
    summary = dicomflow.extract(tmp_path / "scans", tmp_path / "tls", **overrides)
    dicomflow.extract(tmp_path / "scans", tmp_path / "here", scheduler="threads")
    assert summary.scheduler == address
    query = "select * from instances order by SOPInstanceUID"
    here, there = (dicomflow.open_dataset(tmp_path / name).sql(query) for name in ("here", "tls"))
    assert here.num_rows > 0 and here.equals(there)
    cert, key = make_certificate(tmp_path, "stranger")
    strange = {"ca_file": str(cert), "cert": str(cert), "key": str(key)}
    with pytest.raises(ComputeError, match="no Dask scheduler can be reached there"):
        dicomflow.extract(
            tmp_path / "scans", tmp_path / "none", scheduler=address, cluster__tls=strange, compute__connect_timeout=2.0
        )
