"""What all sections of the configuration share: strictness, and types that people write as text.

In: values as YAML gives them.  Out: a base class, annotated types.  Knows no section.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ByteSize, ConfigDict, TypeAdapter, ValidationError

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

MAX_PORT = 65_535

_ADDRESS = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.%]{2,64}\]):(?P<port>[0-9]{1,5})")
_SIZE = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,9})? ?[A-Za-z]{0,5}")  # ByteSize alone would read "1,5 MB" as 1 byte
_BYTES = TypeAdapter(ByteSize)


class Section(BaseModel):
    """What all sections share: no unknown keys, no guessed types, nothing changes after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def parse_size(value: object) -> object:
    """A size as text -> bytes; whatever is no text is left to the integer's own validation.

    Raises:
        ValueError: it is no size.

    >>> parse_size("32 KiB")
    32768
    """
    if not isinstance(value, str):
        return value
    problem = "expected a size such as 65536, 32 KiB or 64MB"
    if not _SIZE.fullmatch(value):
        raise ValueError(problem)
    try:
        return int(_BYTES.validate_python(value))
    except ValidationError:
        raise ValueError(problem) from None


def is_address(text: str, lowest_port: int) -> bool:
    """Whether this is HOST:PORT.

    >>> is_address("127.0.0.1:8787", 1), is_address("127.0.0.1", 1)
    (True, False)
    """
    found = _ADDRESS.fullmatch(text)
    return found is not None and lowest_port <= int(found["port"]) <= MAX_PORT


def _check_listen_address(value: str) -> str:
    if value and not is_address(value, 0):
        raise ValueError("expected HOST:PORT, such as 127.0.0.1:8787, or '' for no dashboard")
    return value


Size = Annotated[int, BeforeValidator(parse_size)]
"""Bytes, as an integer or as text with a unit."""

ListenAddress = Annotated[str, AfterValidator(_check_listen_address)]
"""HOST:PORT where a web server listens; empty for none."""
