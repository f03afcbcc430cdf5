"""The files in configs/: each is loaded, and what it names is really there."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import dask
import pytest
import yaml
from distributed.cli import dask_scheduler, dask_worker

from dicomflow.cli import extract, synth
from dicomflow.compute import choose_scheduler, count_workers
from dicomflow.compute.remote import scheduler_settings
from dicomflow.config import KINDS, ComputeConfig, load_config

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "configs"
COMPOSE: dict[str, Any] = yaml.safe_load((CONFIGS / "docker" / "compose.yaml").read_text())
RESOURCE: dict[str, Any] = yaml.safe_load((CONFIGS / "kubernetes" / "daskcluster.yaml").read_text())
DOCKERFILE = (CONFIGS / "docker" / "Dockerfile").read_text()

ENTRY_POINTS: dict[tuple[str, str], click.Command] = {
    ("dask", "scheduler"): dask_scheduler.main,
    ("dask", "worker"): dask_worker.main,
    ("dicomflow", "extract"): extract.command,
    ("dicomflow", "synth"): synth.command,
}


@pytest.mark.parametrize(
    ("name", "scheduler", "workers"),
    [
        ("cluster-address.yaml", "tls://10.0.0.5:8786", None),
        ("cluster-ssh.yaml", "ssh", 24),
        ("cluster-slurm.yaml", "slurm", 32),
        ("cluster-pbs.yaml", "pbs", 32),
        ("cluster-kubernetes.yaml", "kubernetes", 4),
        ("cluster-class.yaml", "custom", 8),
        ("big-machine.yaml", "processes", count_workers(ComputeConfig(), "processes")),
    ],
)
def test_settings_give_the_cluster_of_their_name(name: str, scheduler: str, workers: int | None) -> None:
    """Without a word on the command line the cluster is the one that the file describes."""
    config = load_config(CONFIGS / name, {})
    assert choose_scheduler(config.compute, 1_000_000, config.cluster) == scheduler
    if workers is not None:
        assert count_workers(config.compute, scheduler, config.cluster) == workers


@pytest.mark.parametrize("name", ["laptop.yaml", "big-machine.yaml", "cluster-address.yaml"])
def test_settings_write_nothing_but_the_dataset(name: str) -> None:
    """No report and no metrics: those are for whoever asks for them."""
    config = load_config(CONFIGS / name, {})
    assert (config.compute.performance_report, config.metrics.file, config.metrics.port) == (None, None, None)


def test_there_is_a_file_for_each_kind() -> None:
    """One per kind of cluster, with the name of the kind but for custom, whose word is class."""
    names = {path.stem.removeprefix("cluster-") for path in CONFIGS.glob("cluster-*.yaml")}
    assert names == {"address", "class", *KINDS} - {"custom"}


@pytest.mark.parametrize("kind", ["slurm", "pbs", "kubernetes", "class"])
def test_shipped_settings_can_adapt(kind: str) -> None:
    """--adapt on the command line replaces the fixed number of the file."""
    config = load_config(CONFIGS / f"cluster-{kind}.yaml", {"cluster.adapt": {"minimum": 2, "maximum": 40}})
    assert count_workers(config.compute, config.cluster.choose("auto"), config.cluster) == 40


# ---- what the files name ----


def find_environment(data: object) -> Iterator[tuple[str, object]]:
    """All variables of Dask in a structure, as mappings or as lists of name and value."""
    if isinstance(data, dict):
        if str(data.get("name", "")).startswith("DASK_"):
            yield data["name"], data.get("value")
        for key, value in data.items():
            if str(key).startswith("DASK_"):
                yield key, value
            yield from find_environment(value)
    elif isinstance(data, list):
        for part in data:
            yield from find_environment(part)


@pytest.mark.parametrize("path", ["docker/compose.yaml", "cluster-class.yaml"])
def test_variables_are_settings_of_dask(path: str) -> None:
    """Dask ignores a variable that it does not know; each of ours sets something that has a default, and is text."""
    found = dict(find_environment(yaml.safe_load((CONFIGS / path).read_text())))
    assert found
    known = dask.config.merge(*dask.config.defaults)
    for name, value in found.items():
        assert isinstance(value, str), name
        set_by_it: Any = dask.config.collect_env({name: value})
        defaults: Any = known
        while isinstance(set_by_it, dict) and isinstance(defaults, dict):
            ((key, set_by_it),) = set_by_it.items()
            defaults = defaults[dask.config.canonical_name(key, defaults)]


def test_variables_of_a_class_are_some_of_the_settings() -> None:
    """A cluster whose image is not ours is told what a failure means."""
    found = dict(find_environment(yaml.safe_load((CONFIGS / "cluster-class.yaml").read_text())))
    settings = dask.config.merge(dask.config.collect_env(found))
    ours = yaml.safe_load((CONFIGS / "dask.yaml").read_text())
    scheduler = {key.replace("_", "-"): value for key, value in settings["distributed"]["scheduler"].items()}
    assert scheduler == ours["distributed"]["scheduler"]


def test_settings_of_dask_are_those_that_a_run_sets() -> None:
    """Who starts scheduler and workers by hand gets what dicomflow gives its own."""
    mine = dask.config.merge(yaml.safe_load((CONFIGS / "dask.yaml").read_text()))
    with dask.config.set(scheduler_settings(load_config(None, {}).compute)):
        ours = {key: dask.config.get(key) for key in scheduler_settings(load_config(None, {}).compute)}
    assert {key: dask.config.get(key, config=mine) for key in ours} == ours
    assert sum(1 for _ in leaves(mine)) == len(ours)


def leaves(data: Any) -> Iterator[object]:
    """All values of a structure."""
    if isinstance(data, dict):
        for part in data.values():
            yield from leaves(part)
    else:
        yield data


def test_the_image_brings_the_settings() -> None:
    """Dask reads /etc/dask."""
    assert "COPY configs/dask.yaml /etc/dask/" in DOCKERFILE
    assert "!configs/dask.yaml" in (CONFIGS / "docker" / "Dockerfile.dockerignore").read_text().split()


# ---- Docker ----


def services() -> list[tuple[str, dict[str, Any]]]:
    return sorted(COMPOSE["services"].items())


def test_compose_has_a_cluster_and_a_job() -> None:
    """A scheduler, two workers and a job, and volumes that are declared."""
    assert {"scheduler", "worker-1", "worker-2", "job"} <= set(COMPOSE["services"])
    mounted = {volume.partition(":")[0] for _, service in services() for volume in service.get("volumes", [])}
    assert mounted == set(COMPOSE["volumes"])


@pytest.mark.parametrize(("name", "service"), services(), ids=[name for name, _ in services()])
def test_service(name: str, service: dict[str, Any]) -> None:
    """It is built from a file that is here, waits for services that are there, can do little, and is published on loopback only."""
    context = (CONFIGS / "docker" / service["build"]["context"]).resolve()
    assert context == ROOT and (context / service["build"]["dockerfile"]).is_file()
    assert service["read_only"] and service["cap_drop"] == ["ALL"] and "privileged" not in service
    for other, how in service.get("depends_on", {}).items():
        assert other in COMPOSE["services"]
        healthy = how["condition"] == "service_healthy"
        assert healthy or how["condition"] == "service_completed_successfully"
        assert not healthy or "healthcheck" in COMPOSE["services"][other]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name


def commands() -> list[list[str]]:
    found = [service["command"] for _, service in services()]
    for part in ("scheduler", "worker"):
        found += [container["args"] for container in RESOURCE["spec"][part]["spec"]["containers"]]
    return [shell[2].partition("|| ")[2].split() if shell[0] == "sh" else shell for shell in found]


@pytest.mark.parametrize(
    "command",
    [command for command in commands() if "openssl" not in command[0] and "openssl" not in command],
    ids=" ".join,
)
def test_command_is_one_of_a_real_program(command: list[str]) -> None:
    """The program takes these options; nothing is started."""
    program, name, *arguments = [str(part) for part in command]
    with ENTRY_POINTS[program, name].make_context(name, arguments) as context:
        assert context.params


def test_certificate_command_makes_a_certificate(tmp_path: Path) -> None:
    """The command of the service ``certificates``, run here: a certificate and a key that nobody else reads."""
    command = [part.replace("/certificates", str(tmp_path)) for part in COMPOSE["services"]["certificates"]["command"]]
    subprocess.run(command, check=True, capture_output=True)
    first = (tmp_path / "cluster.pem").read_text()
    subprocess.run(command, check=True, capture_output=True)  # the second time it stays
    assert (tmp_path / "cluster.pem").read_text() == first
    assert (tmp_path / "cluster-key.pem").stat().st_mode & 0o077 == 0


def test_images_of_compose_and_kubernetes_are_the_same() -> None:
    """One image, which the Dockerfile says how to build."""
    containers = [
        *RESOURCE["spec"]["scheduler"]["spec"]["containers"],
        *RESOURCE["spec"]["worker"]["spec"]["containers"],
    ]
    images = {container["image"] for container in containers} | {service["image"] for _, service in services()}
    assert len(images) == 1 and f"-t {images.pop()}" in DOCKERFILE


def test_dockerfile() -> None:
    """Its base is pinned, its files are here, and it does not run as root."""
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(bases) == 2 and all(re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base) for base in bases)
    users = re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE)
    assert users and users[-1] not in ("root", "0", "0:0")
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        assert all((ROOT / source).exists() for source in sources.split())
    assert not re.search(
        r"^ADD |curl .*\| *sh|pip install(?!.*--no-cache-dir)", DOCKERFILE.replace("\\\n", " "), re.MULTILINE
    )


def test_dockerfile_by_hadolint() -> None:
    """Its linter has nothing to say."""
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    said = subprocess.run([hadolint, CONFIGS / "docker" / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (0, "")
