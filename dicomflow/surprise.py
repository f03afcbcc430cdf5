"""Exceptions that nobody expected: where they come from may be said, what they say may not.

In: an exception.  Out: its type and place.  The text of a stranger's exception may quote the value of a data element; Dask shows
such texts on its dashboard, in the logs of workers, and takes them to the driver.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dicomflow.errors import ComputeError, DicomflowError, describe
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
        ComputeError: for any exception that is not dicomflow's own; it does not refer to the one in whose place it stands.
    """
    try:
        return work()
    except DicomflowError:
        raise
    except Exception as error:  # noqa: BLE001  whatever it is, its text stays here
        _log.debug("task_failed", exc_info=error)
        safe = ComputeError(_describe(error))
    raise safe


def _describe(error: Exception) -> str:
    if isinstance(error, OSError):
        name = f"{error.filename}: " if isinstance(error.filename, str) else ""
        return f"a task failed: {name}{describe(error)}"
    return (
        f"a task failed: unexpected {describe_surprise(error)}; this is a fault of dicomflow: please report this line to its "
        "issue tracker (extract --log-level debug adds the traceback)"
    )


def _is_ours(filename: str) -> bool:
    return Path(filename).is_relative_to(_PACKAGE) and Path(filename).name != Path(__file__).name
