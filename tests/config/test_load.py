"""Tests of dicomflow.config and of the files in configs/."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dicomflow.config import ComputeConfig, Config, load_config
from dicomflow.errors import ConfigError
from dicomflow.yamlfile import read_yaml_mapping

CONFIGS = Path(__file__).parents[2] / "configs"
SETTINGS = sorted(path for path in CONFIGS.glob("*.yaml") if not path.name.startswith(("columns", "dask")))
"""Settings of dicomflow: column profiles and Dask's own are others."""


def load_text(folder: Path, text: str) -> Config:
    path = folder / "laptop.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, {})


@pytest.mark.parametrize("path", SETTINGS, ids=lambda path: path.name)
def test_shipped_settings_load(path: Path) -> None:
    """Each settings file in configs/ is valid, and says something."""
    assert load_config(path, {}) != load_config(None, {})


def test_all_shipped_settings_are_found() -> None:
    """The laptop, the big machine and the cluster address are there."""
    assert {"laptop.yaml", "big-machine.yaml", "cluster-address.yaml"} <= {path.name for path in SETTINGS}


def test_shipped_columns_have_the_shape_of_a_profile() -> None:
    """The example of a column profile names itself, what it extends, and its columns."""
    profile = read_yaml_mapping(CONFIGS / "columns-own.yaml")
    assert set(profile) == {"profile", "extends", "columns"}
    allowed = {"name", "path", "paths", "private", "vr", "vm"}
    mappings = [column for column in profile["columns"] if not isinstance(column, str)]
    assert mappings and all(set(column) <= allowed and column["name"] for column in mappings)


def test_defaults_are_those_of_the_design() -> None:
    """With no file and no option each setting has its default."""
    config = load_config(None, {})
    assert (config.columns, config.max_failed, config.sources.follow_symlinks) == ("standard", None, True)
    assert config.plan.model_dump() == {
        "files_per_task": None,
        "max_files_per_task": 16384,
        "min_files_per_task": 2048,
        "tasks_per_worker": 4,
    }
    assert (config.compute.scheduler, config.compute.workers, config.compute.small_job_seconds) == ("auto", None, 5.0)
    assert (config.header.prefix_bytes, config.header.max_header_bytes) == (32768, 256 * 1024**2)
    assert config.compute.dashboard_address == "127.0.0.1:8787"


def test_command_line_wins_over_file_and_none_is_not_given(tmp_path: Path) -> None:
    """An option replaces the file's value, an option of None leaves it, and neighbours stay."""
    path = tmp_path / "own.yaml"
    path.write_text("columns: minimal\ncompute: {workers: 2, connect_timeout: 3}\n")
    config = load_config(
        path, {"compute.workers": 8, "compute.scheduler": None, "plan.files_per_task": 9, "columns": None}
    )
    assert (config.columns, config.compute.workers, config.compute.connect_timeout) == ("minimal", 8, 3.0)
    assert config.plan.files_per_task == 9


def test_section_with_nothing_in_it_keeps_its_defaults(tmp_path: Path) -> None:
    """A section whose keys are all commented out is no error."""
    assert load_text(tmp_path, "compute:\n  # workers: 2\nplan:\n") == load_config(None, {})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("compute: {worker: 4}", "compute.worker: unknown key; did you mean 'workers'?"),
        ("compute: {workers: '4'}", "compute.workers: expected an integer, got text"),
        ("compute: {workers: 4.0}", "compute.workers: expected an integer, got a number"),
        ("compute: {workers: yes}", "compute.workers: expected an integer, got true or false"),
        ("compute: {workers: 0}", "compute.workers: must be at least 1"),
        ("compute: {workers: -1}", "compute.workers: must be at least 1"),
        ("compute: {workers: 999999999999999999999}", "compute.workers: must be at most 10000"),
        ("compute: {workers: 2020-01-01}", "compute.workers: expected an integer, got something else"),
        ("compute: 4", "compute: expected a mapping of keys to values, got an integer"),
        ("compute: [1]", "compute: expected a mapping of keys to values, got a list"),
        ("comput: {workers: 4}", "comput: unknown key; did you mean 'compute'?"),
        ("workers: 4", "workers: unknown key; did you mean 'compute.workers'?"),
        ("compute: {max_failed: 0.5}", "compute.max_failed: unknown key; did you mean 'max_failed'?"),
        ("sources: {zzz: 1}", "sources.zzz: unknown key; known keys: follow_symlinks, archives, max_archive_members"),
        ("1: 2", "1: a key must be text"),
        ("compute: {1: 2}", "compute.1: a key must be text"),
        ('"a\\nb": 2', r"'a\nb': unknown key"),
        ("columns: ''", "columns: must not be empty"),
        ("columns:", "columns: expected text, got nothing"),
        ("max_failed: 1.5", "max_failed: must be at most 1"),
        ("max_failed: .nan", "max_failed: expected a finite number, got a number"),
        ("max_failed: 5%", "max_failed: expected a number, got text"),
        ("sources: {follow_symlinks: 1}", "sources.follow_symlinks: expected true or false, got an integer"),
        ("compute: {connect_timeout: 0}", "compute.connect_timeout: must be greater than 0"),
        ("compute: {performance_report: 3}", "compute.performance_report: expected a file name, got an integer"),
        ("compute: {performance_report: ''}", "compute.performance_report: expected the name of a file"),
        ("compute: {scheduler: in_process}", "compute.scheduler: expected auto, threads, in-process, processes"),
        ("compute: {scheduler: in_process}", "did you mean 'in-process'?"),
        ("compute: {memory_limit: plenty}", "compute.memory_limit: expected a size"),
        ("compute: {memory_limit: 12}", "compute.memory_limit: must be 'auto' or a size from 64 MiB"),
        ("compute: {dashboard_address: '8787'}", "compute.dashboard_address: expected HOST:PORT"),
        ("header: {prefix_bytes: 32 parsecs}", "header.prefix_bytes: expected a size such as 65536, 32 KiB or 64MB"),
        ("header: {prefix_bytes: 10}", "header.prefix_bytes: must be at least 1024"),
        ("header: {prefix_bytes: 1 GiB}", "header.prefix_bytes: must be at most 16777216"),
        ("header: {prefix_bytes: 1 MiB, max_header_bytes: 64 KiB}", "header: prefix_bytes is greater than"),
        ("plan: {min_files_per_task: 20000}", "plan: min_files_per_task is greater than max_files_per_task"),
        ("retry: {attempts: 0}", "retry.attempts: must be at least 1"),
        ("retry: {base_seconds: .inf}", "retry.base_seconds: expected a finite number"),
        ("retry: {base_seconds: 60}", "retry: base_seconds is greater than max_seconds"),
        ("plan: {files_per_task: 0}", "plan.files_per_task: must be at least 1"),
        ("dataset: {compression_level: 23}", "dataset.compression_level: must be at most 22"),
        ("compute: {worker: 1, wrokers: 2}", "(and 1 more)"),
        ("- 1", "expected a mapping of keys to values, got a list"),
    ],
)
def test_fault_in_file_is_one_line(tmp_path: Path, text: str, problem: str) -> None:
    """A fault names the file, the dotted key, what is wrong and the nearest valid key, in one line."""
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'laptop.yaml'}: ")
    assert problem in message
    assert "\n" not in message


def test_whole_message_reads_as_documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but file, key, problem and hint is in the line."""
    monkeypatch.chdir(tmp_path)
    Path("laptop.yaml").write_text("compute:\n  worker: 4\n")
    with pytest.raises(ConfigError) as caught:
        load_config(Path("laptop.yaml"), {})
    assert str(caught.value) == "laptop.yaml: compute.worker: unknown key; did you mean 'workers'?"


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        ({"compute.workers": 0}, "command line: compute.workers: must be at least 1"),
        ({"compute.scheduler": "udp://x:1"}, "command line: compute.scheduler: expected auto, "),
        ({"plan.min_files_per_task": 99_999}, "command line: plan: min_files_per_task is greater"),
        ({"columns.x": 1}, "command line: columns: expected text, got a mapping"),
        ({"nothing.x": 1}, "command line: nothing: unknown key"),
    ],
)
def test_fault_in_option_names_the_command_line(overrides: dict[str, object], problem: str) -> None:
    """A fault of an option is told apart from one of the file."""
    with pytest.raises(ConfigError) as caught:
        load_config(CONFIGS / "laptop.yaml", overrides)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    "address",
    ["auto", "in-process", "processes", "tcp://127.0.0.1:8786", "tls://dask.example.org:1", "tcp://[::1]:8786"],
)
def test_schedulers_that_exist_are_taken(address: str) -> None:
    """The three names and tcp:// or tls:// addresses are valid."""
    assert load_config(None, {"compute.scheduler": address}).compute.scheduler == address


@pytest.mark.parametrize(
    "address",
    ["", "Auto", "tcp://", "tcp://host", "tcp://host:0", "tcp://host:65536", "tcp://:8786", "tcp://a b:1", "tcp://h:1/x",
     "http://host:1", "host:8786", "tcp://host:1\n", "tcp"],
)  # fmt: skip
def test_other_schedulers_are_refused(address: str) -> None:
    """An address needs a scheme that Dask speaks, a host and a port."""
    with pytest.raises(
        ConfigError,
        match="expected auto, threads, in-process, processes, ssh, slurm, .*, tcp://HOST:PORT or tls://HOST:PORT",
    ):
        load_config(None, {"compute.scheduler": address})


@pytest.mark.parametrize(
    ("text", "size"),
    [(65536, 65536), ("65536", 65536), ("64 KiB", 65536), ("64kib", 65536), ("1MB", 10**6), ("1.5 MiB", 1572864)],
)
def test_sizes_are_bytes_or_text_with_a_unit(text: object, size: int) -> None:
    """KiB is 1,024 bytes and kB 1,000."""
    assert load_config(None, {"header.prefix_bytes": text}).header.prefix_bytes == size


@pytest.mark.parametrize(
    "text",
    ["", "-1 KiB", "KiB", "nan", "9" * 305 + "EB", "9" * 100_000, "1 KiB\n2", "1,5 MB", "1 foo", "٣ KiB", "1 KiB x"],
)
def test_texts_that_are_no_size_are_refused(text: str) -> None:
    """A size that is no number with a known unit is one clear line, however long it is."""
    with pytest.raises(ConfigError) as caught:
        load_config(None, {"header.prefix_bytes": text})
    assert "expected a size" in str(caught.value) and len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("limit", "held"), [("auto", "auto"), ("4GB", "4000000000"), ("2 GiB", "2147483648"), (10**9, "1000000000")]
)
def test_memory_limit_is_auto_or_plain_bytes(limit: object, held: str) -> None:
    """Units are resolved here, so that Dask cannot read them in another way."""
    assert load_config(None, {"compute.memory_limit": limit}).compute.memory_limit == held


@pytest.mark.parametrize("address", ["", "127.0.0.1:8787", "127.0.0.1:0", "[::1]:8787"])
def test_dashboard_addresses(address: str) -> None:
    """A host with a port (0 for any free one), or nothing for no dashboard."""
    assert load_config(None, {"compute.dashboard_address": address}).compute.dashboard_address == address


def test_performance_report_is_a_path() -> None:
    """Text and Path both become a Path."""
    for value in ("a/report.html", Path("a/report.html")):
        assert load_config(None, {"compute.performance_report": value}).compute.performance_report == Path(
            "a/report.html"
        )


def test_config_is_frozen_and_travels() -> None:
    """Settings cannot change after validation, and pickle to workers unchanged."""
    config = load_config(CONFIGS / "big-machine.yaml", {})
    with pytest.raises(ValidationError):
        config.columns = "minimal"
    assert pickle.loads(pickle.dumps(config)) == config
    assert Config(compute=ComputeConfig(workers=3)).compute.workers == 3


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [*Config.model_fields, *(f"compute.{key}" for key in ComputeConfig.model_fields), "header.prefix_bytes"]
)


@settings(deadline=None)
@given(st.dictionaries(KEYS | st.text(max_size=12), JSON_LIKE, max_size=4))
def test_any_option_is_taken_or_refused_in_one_line(overrides: dict[str, object]) -> None:
    """Whatever is given, the result is a Config or a ConfigError of one printable line."""
    try:
        config = load_config(None, overrides)
    except ConfigError as error:
        assert str(error).isprintable()  # noqa: PT017  either outcome is fine
    else:
        assert Config.model_validate(config.model_dump()) == config


def test_module_imports_nothing_heavy() -> None:
    """Reading a configuration needs neither Dask nor pandas nor Arrow."""
    heavy = "{'dask', 'distributed', 'pandas', 'pyarrow', 'numpy'}"
    code = f"import dicomflow.config, sys; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CONFIGS.parent)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("metrics.port", 70_000, "must be at most 65535"),
        ("metrics.address", "http://x", "expected the address of an interface"),
        ("metrics.file", "metrics.txt", "expected a file name that ends in .prom"),
        ("metrics.file", "/", "expected a file name that ends in .prom"),
        ("metrics.linger_seconds", -1.0, "must be at least 0"),
    ],
)
def test_metrics_settings(key: str, value: object, problem: str) -> None:
    """What cannot be a port, an interface or a file for node_exporter is refused by name."""
    with pytest.raises(ConfigError, match=problem):
        load_config(None, {key: value})
    good = load_config(None, {"metrics.port": 0, "metrics.address": "::1", "metrics.file": "a/b.prom"}).metrics
    assert (good.port, good.address, str(good.file)) == (0, "::1", "a/b.prom")


# ---- the section cluster: ----

SLURM = {"memory": "1 GiB"}
TLS = {"ca_file": "ca.pem", "cert": "cert.pem"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"compute.scheduler": "slurm"}, "compute.scheduler is slurm, but there is no cluster.slurm to say how"),
        ({"cluster.slurm": SLURM, "cluster.pbs": SLURM}, r"cluster has slurm and pbs; say which one in compute.scheduler"),
        ({"cluster.slurm": {}}, "cluster.slurm.memory: is missing"),
        ({"cluster.slurm": {"memory": "1,5 GB"}}, "cluster.slurm.memory: expected a size such as"),
        ({"cluster.slurm": SLURM | {"qeue": "short"}}, "cluster.slurm.qeue: unknown key; did you mean 'queue'"),
        ({"cluster.slurm": SLURM | {"queue": "a\n#SBATCH -A b"}}, "cluster.slurm.queue: expected one line of text"),
        ({"cluster.slrm": SLURM}, "cluster.slrm: unknown key; did you mean 'slurm'"),
        ({"cluster.slurm": "short"}, "cluster.slurm: expected a mapping of keys to values, got text"),
        ({"cluster.slurm": SLURM | {"options": ["a"]}}, "cluster.slurm.options: expected a mapping of keys to values, got a list"),
        ({"cluster.ssh": {"hosts": ["one"]}}, "cluster.ssh.hosts: has fewer than 2 entries"),
        ({"cluster.ssh": {"hosts": ["one", 2, "three"]}}, "cluster.ssh.hosts.1: expected text, got an integer"),
        ({"cluster.custom": {"class_path": "os;import x.y"}}, "cluster.custom.class_path: expected where a class is imported from"),
        ({"cluster.custom": {"class_path": "LocalCluster"}}, "cluster.custom.class_path: expected where a class is imported from"),
        ({"cluster.adapt": {"minimum": 3, "maximum": 2}}, "cluster.adapt: minimum is greater than maximum"),
        ({"cluster.adapt": {"minimum": 3}}, "cluster.adapt.maximum: is missing"),
        ({"cluster.adapt": {"maximum": 2}, "compute.scheduler": "threads"}, r"cluster.adapt \(--adapt\): threads cannot adapt; processes,"),
        ({"cluster.adapt": {"maximum": 2}, "compute.scheduler": "tcp://a:1"}, r"a cluster at an address cannot adapt"),
        ({"cluster.adapt": {"maximum": 2}, "cluster.ssh": {"hosts": ["a", "b"]}}, r"ssh cannot adapt"),
        ({"cluster.adapt": {"maximum": 2}, "compute.workers": 2}, r"compute.workers \(--workers\) and cluster.adapt \(--adapt\) both"),
        ({"cluster.slurm": SLURM, "compute.workers": 2}, "for slurm the number comes from cluster.slurm.jobs"),
        ({"cluster.tls": TLS, "compute.scheduler": "tcp://a:1"}, "tcp:// is not encrypted; write tls://"),
        ({"cluster.encrypt": True, "compute.scheduler": "tcp://a:1"}, "encrypt is true, but tcp:// is not encrypted; write"),
        ({"cluster.tls": TLS, "cluster.kubernetes": {"spec": "a.yaml"}}, "cluster.tls has certificates, but for kubernetes it is"),
        ({"cluster.encrypt": True, "cluster.custom": {"class_path": "a.B"}}, "cluster.encrypt is true, but for custom it is"),
        ({"cluster.tls": TLS, "cluster.encrypt": False}, "cluster: tls names certificates, and encrypt is false"),
        ({"compute.worker_dashboard_address": "8788"}, "compute.worker_dashboard_address: expected HOST:PORT"),
    ],
)  # fmt: skip
def test_clusters_that_cannot_be(overrides: dict[str, object], message: str) -> None:
    """One line names the key and what is wrong with it."""
    with pytest.raises(ConfigError, match=f"^command line: .*{message}") as caught:
        load_config(None, overrides)
    assert "\n" not in str(caught.value)


def test_scheduler_on_the_command_line_wins_over_the_described_cluster() -> None:
    """A file with a cluster, tried here first."""
    config = load_config(CONFIGS / "cluster-ssh.yaml", {"compute.scheduler": "threads"})
    assert config.cluster.choose(config.compute.scheduler) == "threads"


def test_number_of_workers_on_the_command_line_wins_however_it_is_said() -> None:
    """--workers replaces cluster.adapt of the file, --adapt its compute.workers."""
    adapt = {"minimum": 1, "maximum": 3}
    assert load_config(CONFIGS / "laptop.yaml", {"cluster.adapt": adapt}).compute.workers is None
    config = load_config(None, {"cluster": {"adapt": adapt}, "compute.workers": 3})
    assert config.cluster.adapt is None


def test_settings_with_a_cluster_survive_a_round_trip() -> None:
    """What is loaded can be given again, with options on top; workers get it as a pickle."""
    config = load_config(CONFIGS / "cluster-slurm.yaml", {})
    again = load_config(None, {**config.model_dump(), "columns": "minimal"})
    assert again.cluster == config.cluster and again.columns == "minimal"
    assert pickle.loads(pickle.dumps(config)) == config
