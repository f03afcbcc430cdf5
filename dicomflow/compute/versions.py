"""See that a cluster which was not started here has the dicomflow of this run.

In: a client.  Out: nothing, or one clear error.  A worker that cannot unpickle a task does not say so to us: it ends.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dicomflow.errors import ComputeError

if TYPE_CHECKING:
    from distributed import Client

_VERSION = "dicomflow:__version__"
"""Asked for by a function of Python's own, which is there even where dicomflow is not."""


def check_scheduler(client: Client, timeout: float) -> None:
    """Ask the scheduler; no answer in time is left to the run.

    Args:
        client: of the cluster.
        timeout: seconds.

    Raises:
        ComputeError: it has another dicomflow, or none.
    """
    _check("scheduler", _version_here(), _ask(client, client._run_on_scheduler, timeout))


def check_workers(client: Client, timeout: float, workers: Sequence[str]) -> None:
    """Ask workers; who does not answer in time is left to the run.

    Args:
        client: of the cluster.
        timeout: seconds, for all of them.
        workers: their addresses.

    Raises:
        ComputeError: one has another dicomflow, or none.
    """
    found = _ask(client, client._run, timeout, workers=list(workers), on_error="return")
    for worker, version in found.items() if isinstance(found, dict) else ():
        _check(f"worker {worker}", _version_here(), version)


def _version_here() -> str:
    return str(pkgutil.resolve_name(_VERSION))


def _ask(client: Client, run: Any, timeout: float, **options: Any) -> object:
    """The public methods have no time-out: a worker that hangs would keep us for ever."""
    try:
        return client.sync(run, pkgutil.resolve_name, _VERSION, **options, callback_timeout=timeout)
    except (ImportError, AttributeError) as error:
        return error
    except (OSError, TimeoutError, ValueError):  # lost, hung, or such functions are not allowed there
        return None


def _check(who: str, here: str, version: object) -> None:
    if version == here or not isinstance(version, (str, ImportError, AttributeError)):
        return
    found = f"dicomflow {version[:64]}" if isinstance(version, str) else "no dicomflow that can be imported"
    raise ComputeError(
        f"the {who} of the Dask cluster has {found}, and this run is of {here}: install the same version there"
    )
