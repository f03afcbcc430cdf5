"""Certificates on machines that are reached by SSH: readable for nobody else, in no command, and gone at the end."""

from __future__ import annotations

import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dicomflow.compute import ssh
from dicomflow.compute.security import CERTIFICATES, ROLES, security_of_cluster
from dicomflow.compute.ssh import shared_by_ssh
from tests.compute.certificates import make_certificate
from tests.compute.running import make_settings

asyncssh = pytest.importorskip("asyncssh")
pytest.importorskip("cryptography")

HOSTS = ["127.0.0.1", "localhost", "127.0.0.1"]
"""One machine by two names, one of them twice."""


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    return tmp_path / "commands"


@pytest.fixture
def options(commands: Path) -> Iterator[dict[str, Any]]:
    from tests.compute.sshd import ssh_server

    with ssh_server(commands) as port:
        yield {"port": port, "known_hosts": None, "username": "anybody", "config": None, "family": socket.AF_INET}


def test_certificates_of_a_run(options: dict[str, Any], commands: Path) -> None:
    """What was in memory lies in files, for all roles; those who use it here keep what they have."""
    made = security_of_cluster(make_settings().cluster)
    assert made is not None
    with shared_by_ssh(made, HOSTS, options, asyncssh) as shared:
        assert shared is not None
        paths = [Path(getattr(shared, name)) for name in CERTIFICATES]
        assert [path.read_text() for path in paths] == [getattr(made, name) for name in CERTIFICATES]
        assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}
        assert stat.S_IMODE(paths[0].parent.stat().st_mode) == 0o700
        for role in ROLES:
            theirs = shared.get_tls_config_for_role(role)
            assert (theirs["cert"], theirs["key"]) == (str(paths[1]), str(paths[2]))
            assert "BEGIN" in made.get_tls_config_for_role(role)["key"]
    assert not paths[0].parent.exists()
    said = commands.read_text()
    assert "BEGIN" not in said and said.count("mkdir") == said.count("rm -rf") == 2


def test_certificates_that_are_files_stay_where_they_are(tmp_path: Path) -> None:
    """Nobody is spoken to."""
    cert, key = make_certificate(tmp_path)
    own = security_of_cluster(
        make_settings(cluster__tls={"ca_file": str(cert), "cert": str(cert), "key": str(key)}).cluster
    )
    for security in (own, None):
        with shared_by_ssh(security, ["no-such-host.invalid"], {}, asyncssh) as shared:
            assert shared is security


def test_machine_that_takes_no_files(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Then nothing is started; nothing is left of what went before."""
    (tmp_path / "file").touch()
    monkeypatch.setattr(ssh, "FOLDER", f"{tmp_path}/file/{{}}")
    made = security_of_cluster(make_settings().cluster)
    with pytest.raises(asyncssh.ProcessError), shared_by_ssh(made, HOSTS, options, asyncssh):
        pytest.fail("there are no certificates")
