"""Writing studies: exact counts, the same bytes for the same seed, a layout like that of an export."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from dicomflow.errors import ConfigError, DatasetError
from dicomflow.synth import CORRUPTIONS, iter_files, write_studies

FILES = 240


def list_tree(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def digest_tree(root: Path) -> str:
    digest = hashlib.sha256()
    for name, data in sorted(list_tree(root).items()):
        digest.update(f"{name} {len(data)}\n".encode() + data)
    return digest.hexdigest()


@pytest.mark.parametrize(("files", "corrupt"), [(0, 0.5), (1, 0.0), (1, 1.0), (7, 0.3), (FILES, 0.0), (FILES, 0.13)])
def test_number_of_files_is_exact(tmp_path: Path, files: int, corrupt: float) -> None:
    """As many files lie on disk as were asked for, with and without faults, and the summary counts them."""
    summary = write_studies(tmp_path, files=files, corrupt=corrupt)
    tree = list_tree(tmp_path)
    assert len(tree) == files == summary.files == sum(summary.kinds.values())
    assert sum(map(len, tree.values())) == summary.bytes
    assert sum(summary.corruptions.values()) == round(files * corrupt)
    assert summary.studies == len({name.rsplit("/", 2)[0].split("/")[1] + name.split("/")[0] for name in tree})


def test_every_fault_occurs_once_before_any_twice(tmp_path: Path) -> None:
    """Faults take turns, so as many faulty files as there are faults have each of them."""
    summary = write_studies(tmp_path, files=400, corrupt=len(CORRUPTIONS) / 400)
    assert summary.corruptions == dict.fromkeys(sorted(CORRUPTIONS), 1)


def test_same_seed_same_tree(tmp_path: Path) -> None:
    """The same arguments give the same tree; two processes or another call change nothing; another seed changes all."""
    trees = {}
    for name, seed, workers in [("one", 3, 1), ("again", 3, 1), ("two workers", 3, 2), ("other", 4, 1)]:
        write_studies(tmp_path / name, files=FILES, seed=seed, corrupt=0.1, workers=workers)
        trees[name] = digest_tree(tmp_path / name)
    assert trees["one"] == trees["again"] == trees["two workers"] != trees["other"]


def test_memory_and_disk_agree(tmp_path: Path) -> None:
    """The files of one request in memory are those on disk."""
    write_studies(tmp_path, files=60, seed=11, corrupt=0.2)
    assert list_tree(tmp_path) == {file.path: file.data for file in iter_files(files=60, seed=11, corrupt=0.2)}


def test_layout_is_that_of_an_export(tmp_path: Path) -> None:
    """Files lie in PatientID/date_description/number_modality; some have a suffix, some have none."""
    write_studies(tmp_path, files=FILES)
    names = list(list_tree(tmp_path))
    assert all(name.count("/") == 3 for name in names)
    assert 0 < sum(name.endswith(".dcm") for name in names) < len(names)
    assert all(name.split("/")[1][:8].isdigit() and name.split("/")[2][:3].isdigit() for name in names)


def test_kinds_restrict(tmp_path: Path) -> None:
    """Only the kinds asked for are made."""
    summary = write_studies(tmp_path, files=30, kinds=["us", "sr"])
    assert set(summary.kinds) == {"us", "sr"}


def test_refuses_a_folder_with_something_in_it(tmp_path: Path) -> None:
    """A folder that is not empty is refused and left as it is, since the count could not be exact."""
    (tmp_path / "mine").write_text("x")
    with pytest.raises(DatasetError, match="not empty"):
        write_studies(tmp_path, files=1)
    assert list(list_tree(tmp_path)) == ["mine"]


def test_refuses_a_destination_that_is_a_file(tmp_path: Path) -> None:
    """An operating system error ends as DatasetError that names the folder."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(DatasetError, match="cannot write"):
        write_studies(tmp_path / "file", files=1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"files": -1},
        {"corrupt": 1.5},
        {"corrupt": -0.1},
        {"corrupt": float("nan")},
        {"kinds": ["xa"]},
        {"kinds": []},
        {"workers": 0},
    ],
)
def test_refuses_what_cannot_be_made(tmp_path: Path, wrong: dict[str, object]) -> None:
    """Numbers out of range and unknown kinds are refused before anything is written."""
    with pytest.raises(ConfigError):
        write_studies(tmp_path / "new", **({"files": 1} | wrong))  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()
