"""An exception that nobody expected says where it comes from and nothing of what it read."""

from __future__ import annotations

import pickle
import traceback

import pytest
import structlog

from dicomflow.dictionary import format_tag
from dicomflow.errors import ComputeError, HeaderError, OutOfMemory
from dicomflow.log import configure_logging
from dicomflow.surprise import contain

SECRET = "MARKER^PATIENT"


def fail_inside() -> None:
    """A surprise whose text quotes a value, because of another one that does."""
    try:
        int(SECRET)
    except ValueError as error:
        raise KeyError(SECRET) from error


def everything(error: BaseException) -> str:
    """All that anybody could print of an exception, here or behind the wire."""
    travelled = pickle.loads(pickle.dumps(error))
    return "".join(traceback.format_exception(error)) + repr(error) + repr(travelled) + repr(travelled.args)


def fail_to_write() -> None:
    raise OSError(28, "No space left on device", "/staging/x")


def fail_on_purpose() -> None:
    raise HeaderError("as it is")


def stop() -> None:
    raise KeyboardInterrupt


def test_text_is_left_behind() -> None:
    """Neither the message nor a cause, context or pickle holds what the exception said."""
    with pytest.raises(
        ComputeError, match="a task failed: unexpected KeyError; this is a fault of dicomflow"
    ) as caught:
        contain(fail_inside)
    assert caught.value.__cause__ is None and caught.value.__context__ is None
    assert SECRET not in everything(caught.value)


def test_place_is_said() -> None:
    """Where in dicomflow it came up."""
    with pytest.raises(ComputeError, match=r"unexpected \w+ at dicomflow/dictionary\.py:[0-9]+;"):
        contain(lambda: format_tag("x"))  # type: ignore[arg-type]


def test_fault_of_the_system_is_said() -> None:
    """A full disk is no fault of ours, and its file no patient's value."""
    with pytest.raises(ComputeError, match="a task failed: /staging/x: No space left on device") as caught:
        contain(fail_to_write)
    assert "fault of dicomflow" not in str(caught.value)


def test_want_of_memory_is_no_fault() -> None:
    """Its kind is told, since there is a way out; and nothing that the task held lives on."""

    def ask_for_too_much() -> None:
        raise MemoryError(SECRET)

    with pytest.raises(
        OutOfMemory, match=r"^a task failed: MemoryError: fewer workers .* header\.batch_rows"
    ) as caught:
        contain(ask_for_too_much)
    assert caught.value.__context__ is None and SECRET not in everything(caught.value)


def test_ours_pass() -> None:
    """What dicomflow raises on purpose is fit to be read; so is the end of the process, and a result."""
    with pytest.raises(HeaderError, match="as it is"):
        contain(fail_on_purpose)
    with pytest.raises(KeyboardInterrupt):
        contain(stop)
    assert contain(lambda: 3) == 3


def test_debug_log_has_the_frames(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever asks for it gets the traceback, of types and places."""
    configure_logging(json=True, level="debug")
    try:
        with pytest.raises(ComputeError):
            contain(fail_inside)
    finally:
        structlog.reset_defaults()
    said = capsys.readouterr().err
    assert "fail_inside" in said and "because of ValueError" in said and SECRET not in said
