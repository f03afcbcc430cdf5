"""An exception that nobody expected says where it comes from and nothing of what it read."""

from __future__ import annotations

import pickle
import traceback

import pytest
import structlog

from dicomflow.dictionary import format_tag
from dicomflow.errors import ComputeError, HeaderError
from dicomflow.log import configure_logging
from dicomflow.surprise import contained

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


def test_text_is_left_behind() -> None:
    """Neither the message nor a cause, context or pickle holds what the exception said."""
    with (
        pytest.raises(ComputeError, match="a task failed: unexpected KeyError; this is a fault of dicomflow") as caught,
        contained(),
    ):
        fail_inside()
    error = caught.value
    assert error.__cause__ is None and error.__context__ is None
    assert SECRET not in everything(error)


def test_place_is_said() -> None:
    """Where in dicomflow it came up."""
    with pytest.raises(ComputeError, match=r"unexpected \w+ at dicomflow/dictionary\.py:[0-9]+;"), contained():
        format_tag("x")  # type: ignore[arg-type]


def test_fault_of_the_system_is_said() -> None:
    """A full disk is no fault of ours, and its file no patient's value."""
    with pytest.raises(ComputeError, match="a task failed: /staging/x: No space left on device") as caught, contained():
        raise OSError(28, "No space left on device", "/staging/x")
    assert "fault of dicomflow" not in str(caught.value)


def test_ours_pass() -> None:
    """What dicomflow raises on purpose is fit to be read; so is the end of the process."""
    with pytest.raises(HeaderError, match="as it is"), contained():
        raise HeaderError("as it is")
    with pytest.raises(KeyboardInterrupt), contained():
        raise KeyboardInterrupt
    with contained():
        pass


def test_debug_log_has_the_frames(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever asks for it gets the traceback, of types and places."""
    configure_logging(json=True, level="debug")
    try:
        with pytest.raises(ComputeError), contained():
            fail_inside()
    finally:
        structlog.reset_defaults()
    said = capsys.readouterr().err
    assert "fail_inside" in said and "because of ValueError" in said and SECRET not in said
