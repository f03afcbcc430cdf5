"""Exceptions that nobody expected: where they come from may be said, what they say may not.

In: an exception.  Out: its type and place.  The text of a stranger's exception may quote the value of a data element; Dask shows
such texts on its dashboard, in the logs of workers, and takes them to the driver.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dicomflow.errors import ComputeError, DicomflowError, OutOfMemory, describe
from dicomflow.log import get_logger

T = TypeVar("T")

_PACKAGE = Path(__file__).resolve().parent

_log = get_logger("worker")


def describe_surprise(error: BaseException) -> str:
    """Type of a surprise, and where in dicomflow it came up.

    >>> describe_surprise(ValueError("Doe^Jane"))
    'ValueError'
    """
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_ours(frame.filename)]
    place = f" at {Path(frames[-1].filename).relative_to(_PACKAGE.parent)}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


def contain(work: Callable[[], T]) -> T:
    """Do a task's work; what it raises can be shown to anybody, and can be pickled.

    Raises:
        OutOfMemory: for a ``MemoryError``.
        ComputeError: for any other exception that is not dicomflow's own.  Neither refers to the one in whose place it stands,
            and so to nothing that the task held.
    """
    try:
        return work()
    except DicomflowError:
        raise
    except Exception as error:  # noqa: BLE001  whatever it is, its text stays here
        _log.debug("task_failed", exc_info=error)
        safe = _safe(error)
    raise safe


def _safe(error: Exception) -> ComputeError:
    if isinstance(error, MemoryError):
        return OutOfMemory(
            f"a task failed: {describe_surprise(error)}: fewer workers or threads leave each more memory, a smaller "
            "header.batch_rows needs less of it"
        )
    if isinstance(error, OSError):
        name = f"{error.filename}: " if isinstance(error.filename, str) else ""
        return ComputeError(f"a task failed: {name}{describe(error)}")
    return ComputeError(
        f"a task failed: unexpected {describe_surprise(error)}; this is a fault of dicomflow: please report this line to its "
        "issue tracker (extract --log-level debug adds the traceback)"
    )


def _is_ours(filename: str) -> bool:
    return Path(filename).is_relative_to(_PACKAGE) and Path(filename).name != Path(__file__).name
