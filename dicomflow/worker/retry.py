"""Faults of a storage that may pass, and the rounds in which their files are tried again.

In: an error of the operating system; what was left of a round.  Out: whether it may pass; waits between rounds.
Knows no files.

Nobody waits for each file: after a pass over all of them, those whose fault may have passed are tried again together, so a
storage that is down costs a task the waits of its rounds and no more.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from dicomflow.config import RetryConfig

PASSING = frozenset(
    number
    for name in (
        "EIO",  # a disk or a mount that fails now and then
        "ESTALE",  # NFS: the server was started again, or the file took another place
        "ETIMEDOUT",
        "ETIME",
        "EAGAIN",  # of a regular file: throttled, or leased to another client
        "EBUSY",
        "EINTR",
        "EMFILE",  # too many open files: others will close theirs
        "ENFILE",
        "ENOMEM",
        "ENOBUFS",
        "ENETDOWN",
        "ENETUNREACH",
        "ENETRESET",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "ECONNABORTED",
        "ECONNREFUSED",
        "ECONNRESET",
        "ENOTCONN",  # FUSE: the process behind the mount is gone
        "ESHUTDOWN",
        "EPIPE",
        "ENOLINK",
        "ECOMM",
        "EPROTO",
        "EREMOTEIO",
    )
    if (number := getattr(errno, name, None)) is not None
)
"""Closed: whatever else goes wrong (no such file, no permission, a folder, a name too long) stays as it is."""


def may_pass(error: OSError | ValueError) -> bool:
    """Whether the same call may do better a little later.

    >>> may_pass(OSError(errno.ESTALE, "")), may_pass(FileNotFoundError(errno.ENOENT, ""))
    (True, False)
    """
    return isinstance(error, OSError) and error.errno in PASSING


def try_again(
    left: list[int], attempt: Callable[[list[int]], list[int]], config: RetryConfig, sleep: Callable[[float], None]
) -> list[int]:
    """Wait and try again what is left of the first attempt, until nothing is or the attempts are used up.

    Args:
        left: of the first attempt, which was made already.
        attempt: tries these, and returns those that are left again.
        config: how many attempts there are, the first included, and how long to wait: ``base_seconds`` before the second, twice
            as long before each further one, ``max_seconds`` at most; of which half is up to chance, so that workers that failed
            together do not come back together.
        sleep: waits so many seconds.

    Returns:
        What is left of the last attempt.
    """
    if not left or config.attempts == 1:
        return left
    import tenacity  # few tasks need it

    half, most = config.base_seconds / 2, config.max_seconds / 2
    attempts = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(config.attempts),
        wait=tenacity.wait_exponential(half, most) + tenacity.wait_random_exponential(half, most),
        retry=tenacity.retry_if_result(bool),
        retry_error_callback=lambda _: None,  # that some are left is no error
        sleep=sleep,
    )
    for each in attempts:
        with each:
            if each.retry_state.attempt_number > 1:
                left = attempt(left)
        outcome = each.retry_state.outcome
        if outcome is None or not outcome.failed:
            each.retry_state.set_result(left)
    return left
