"""The files that both readers read: pydicom's own, which lie beside it, and the corpus where it is here."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import pydicom
from pydicom.dataset import FileDataset

from tests.conftest import CORPUS

BUNDLED = Path(pydicom.__file__).parent / "data"
CHUNK = 100
"""Files that are compared at a time: enough distinct values for vectors, and enough chunks for several processes."""

ONLY_WE_READ = frozenset(
    {
        # Big-endian, with items of undefined length (PS3.5 7.5.1): pydicom looks for their delimiters in little endian.
        "GH177_D_CLUNIE_CT1_IVRLE_BigEndian_undefined_length.dcm",
    }
)
"""Files that pydicom cannot read at all."""

PYDICOM_STOPS = {
    # Two spaces stand for the VR of (0028,0120), with the 16-bit length that any such VR has (PS3.5 7.1.2); pydicom takes
    # all four bytes for a length, which reaches past the end of the file.
    "GH179A.dcm": 0x00280120,
    # The same, but with no length at all behind the spaces: wherever the value is said to end, it is no value.
    "GH179B.dcm": 0x00280120,
}
"""Files of which pydicom misses all that follows this element."""


class Sight(NamedTuple):
    """One file, as pydicom sees it; ``dataset`` is None where it cannot."""

    path: Path
    data: bytes
    dataset: FileDataset | None


@lru_cache(maxsize=1)
def oracle_files() -> tuple[Path, ...]:
    """All files of pydicom and of the corpus, in a fixed order, series by series."""
    bundled = [path for folder in ("charset_files", "palettes", "test_files") for path in (BUNDLED / folder).rglob("*")]
    found = [*sorted(bundled), *sorted(CORPUS.rglob("*"))]
    return tuple(path for path in found if path.is_file() and path.suffix not in (".py", ".pyc", ".md"))


def chunks() -> list[tuple[Path, ...]]:
    """The files in chunks."""
    files = oracle_files()
    return [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]


@lru_cache(maxsize=CHUNK)
def see(path: Path) -> Sight:
    """Read one file."""
    data = path.read_bytes()
    return Sight(path, data, read_dataset(data))


def read_dataset(data: bytes) -> FileDataset | None:
    """The header, as pydicom reads it; None where it cannot."""
    return quietly(lambda: pydicom.dcmread(BytesIO(data), stop_before_pixels=True, force=True))


def quietly(call: Callable[[], Any]) -> Any:
    """What the call gives; None where pydicom raises, which it does with nearly any kind on broken files."""
    with silence():
        try:
            return call()
        except Exception:
            return None


@contextmanager
def silence() -> Iterator[None]:
    """What pydicom has to say of these files fills screens."""
    logger = logging.getLogger("pydicom")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, logger.disabled = logger.disabled, True
        try:
            yield
        finally:
            logger.disabled = before


def has_key(dataset: FileDataset | None) -> bool:
    """Whether pydicom finds a SOP Instance UID, in the data set or in the file meta information."""
    if dataset is None:
        return False
    return bool(dataset.get("SOPInstanceUID") or dataset.file_meta.get("MediaStorageSOPInstanceUID"))


@lru_cache(maxsize=1)
def all_tags() -> tuple[int, ...]:
    """Tags of all attributes of the dictionary that stand in these files: data sets, file meta information, sequences."""
    tags: set[int] = set()
    for path in oracle_files():
        dataset = read_dataset(path.read_bytes())
        if dataset is not None:
            tags.update(dataset.keys(), dataset.file_meta.keys())
    return tuple(sorted(tag for tag in tags if tag >> 16 & 1 == 0 and pydicom.datadict.keyword_for_tag(tag)))
