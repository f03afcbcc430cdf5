"""Encrypt what goes between this process, the scheduler and the workers, say so where nothing does, keep web servers on loopback.

In: ``ClusterConfig``, addresses.  Out: Dask's ``Security``; a warning.  Knows no tasks, and starts nothing.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import ipaddress
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicomflow.config import ClusterConfig, TlsConfig
from dicomflow.errors import ComputeError, describe
from dicomflow.log import get_logger

if TYPE_CHECKING:
    from distributed import Security

_log = get_logger("compute")

ROLES = ("client", "scheduler", "worker")

CERTIFICATES = ("tls_ca_file", "tls_worker_cert", "tls_worker_key")
"""Attributes of ``Security`` that a worker needs."""

LOOPBACK = "127.0.0.1:0"


def web_server(address: str) -> dict[str, Any]:
    """Where a scheduler's or worker's web server listens; empty for no dashboard.

    Without a dashboard it is still there, for health and metrics, and would listen to the world.
    """
    return {"dashboard": bool(address), "dashboard_address": address or LOOPBACK}


def security_of_address(cluster: ClusterConfig, address: str) -> Security:
    """For a scheduler that runs already: certificates of the configuration, else of Dask's own configuration.

    Raises:
        ComputeError: a certificate cannot be read, or there is none for ``tls://``.
    """
    from distributed import Security

    security = Security() if cluster.tls is None else _from_files(cluster.tls)
    if address.startswith("tls://") and client_arguments(security)["ssl_context"] is None:
        raise ComputeError(f"{address}: tls:// needs certificates: name ca_file, cert and key in cluster.tls")
    return security


def security_of_cluster(cluster: ClusterConfig) -> Security | None:
    """For a cluster of our own on a network: certificates of the configuration, else some for this run; None for no encryption.

    Raises:
        ComputeError: a certificate cannot be read, or made.
    """
    from distributed import Security

    if cluster.encrypt is False:
        return None
    if cluster.tls is not None:
        return _from_files(cluster.tls)
    try:
        return Security.temporary()
    except ImportError:
        raise ComputeError(
            "certificates for the cluster cannot be made without the package cryptography; install it, name certificates in "
            "cluster.tls, or set cluster.encrypt: false"
        ) from None


def security_of_processes(cluster: ClusterConfig) -> Security | None:
    """For worker processes of this machine: others who are logged in could connect, but only if it is asked for.

    Raises:
        ComputeError: see ``security_of_cluster``.
    """
    return security_of_cluster(cluster) if cluster.encrypt or cluster.tls is not None else None


def client_arguments(security: Security) -> dict[str, Any]:
    """What Dask's ``connect`` takes.

    Raises:
        ComputeError: what stands in the files is no certificate or key.
    """
    try:
        arguments: dict[str, Any] = security.get_connection_args("client")
    except OSError as error:  # ssl.SSLError, too
        raise ComputeError(f"cluster.tls: the certificates cannot be used: {describe(error)}") from None
    return arguments


def as_dask_config(security: Security | None) -> dict[str, Any]:
    """The same as Dask's configuration: for processes that get no ``Security`` but inherit that."""
    if security is None:
        return {}
    settings: dict[str, Any] = {
        "distributed.comm.require-encryption": True,
        "distributed.comm.tls.ca-file": security.tls_ca_file,
    }
    for role in ROLES:
        own = security.get_tls_config_for_role(role)
        settings |= {f"distributed.comm.tls.{role}.{name}": own[name] for name in ("cert", "key")}
    return settings


@contextlib.contextmanager
def shared_with_workers(security: Security | None, folder: str) -> Iterator[Security | None]:
    """For workers that read certificates from files: those that exist in memory only lie in the folder, for the owner's eyes.

    Args:
        security: what the cluster has.
        folder: that all machines see; ``~`` and environment variables are followed.

    Raises:
        OSError: nothing can be written there.
    """
    if security is None or not is_in_memory(security.tls_worker_key):
        yield security
        return
    with tempfile.TemporaryDirectory(
        prefix=".dicomflow-tls-", dir=os.path.expanduser(os.path.expandvars(folder))
    ) as own:
        shared = copy.copy(security)
        for name in CERTIFICATES:
            path = Path(own, f"{name}.pem")
            path.touch(mode=0o600)
            path.write_text(getattr(security, name))
            setattr(shared, name, str(path))
        yield shared


def is_in_memory(value: str | None) -> bool:
    """Whether this is the text of a certificate or key, not the name of a file."""
    return value is not None and "\n" in value


def _from_files(tls: TlsConfig) -> Security:
    from distributed import Security

    for name in ("ca_file", "cert", "key"):
        path: Path | None = getattr(tls, name)
        if path is not None:
            _check_readable(name, path)
    cert, key = str(tls.cert), None if tls.key is None else str(tls.key)
    certs = {f"tls_{role}_cert": cert for role in ROLES} | {f"tls_{role}_key": key for role in ROLES}
    security = Security(require_encryption=True, tls_ca_file=str(tls.ca_file), **certs)
    client_arguments(security)
    return security


def _check_readable(name: str, path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise ComputeError(f"cluster.tls.{name}: {path}: {describe(error)}") from None


@functools.cache  # a run may open its cluster several times
def warn_unencrypted(address: str) -> None:
    """Say once in this process that others can listen, and send work."""
    if is_exposed(address):
        _log.warning(
            "unencrypted_cluster",
            address=address,
            meaning="anybody on that network can read the traffic and run code on the workers",
            instead="a tls:// address, or certificates in cluster.tls",
        )


def is_exposed(address: str) -> bool:
    """Whether this is an unencrypted address beyond this machine's loopback.

    >>> is_exposed("tcp://10.0.0.5:8786"), is_exposed("tls://10.0.0.5:8786"), is_exposed("tcp://127.0.0.1:8786")
    (True, False, False)
    """
    scheme, _, rest = address.partition("://")
    if scheme in ("tls", "inproc", "wss"):
        return False
    host = rest.rpartition(":")[0].strip("[]")
    return not all(map(is_loopback, _resolve(host)))


def is_loopback(host: str) -> bool:
    """Whether this is an address of the loopback interface.

    >>> is_loopback("127.0.1.1"), is_loopback("::1"), is_loopback("10.0.0.5")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


def _resolve(host: str) -> list[str]:
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except OSError:
        return [host]
