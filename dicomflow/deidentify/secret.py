"""The key of an export: pseudonyms, UIDs and day counts that only its owner can make again.

In: a key, values.  Out: values that say nothing of those.  Keyed BLAKE2b (RFC 7693); a key is read from a file or from the
environment, never from a command line, which other users of the machine can see.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import stat
from pathlib import Path

from dicomflow.errors import ConfigError, describe

KEY_VARIABLE = "DICOMFLOW_EXPORT_KEY"
MIN_KEY_BYTES = 16
MAX_KEY_BYTES = 4096

_MAKE_ONE = "(umask 077; openssl rand -hex 32 > FILE)"

_UUID_FIXED = (0x8 << 76) | (0x2 << 62)
_UUID_FREE = ((1 << 128) - 1) ^ ((0xF << 76) | (0x3 << 62))


class Pseudonyms:
    """What stands in for identifiers: the same for the same key and value, in every run.

    >>> names = Pseudonyms(b"0123456789abcdef")
    >>> names.replace_uid("1.2.3") == names.replace_uid("1.2.3"), names.replace_uid("1.2.3")[:5]
    (True, '2.25.')
    """

    __slots__ = ("_days", "_order", "_secret", "_uids")

    def __init__(self, key: bytes) -> None:
        self._secret = hashlib.blake2b(key, digest_size=32, person=b"dicomflow key").digest()
        self._uids = hashlib.blake2b(key=self._secret, digest_size=16, person=b"uid")
        self._days = hashlib.blake2b(key=self._secret, digest_size=16, person=b"days")
        self._order = hashlib.blake2b(key=self._secret, digest_size=8, person=b"order")

    def replace_uid(self, uid: str) -> str:
        """A UID of the root 2.25 (PS3.5 B.2), a UUID of version 8; the same for a UID wherever it stands."""
        hashed = self._uids.copy()
        hashed.update(uid.encode("utf-8", "surrogatepass"))
        number = int.from_bytes(hashed.digest(), "big") & _UUID_FREE | _UUID_FIXED
        return f"2.25.{number}"

    def replace_identifier(self, tag: int, text: str) -> str:
        """Sixteen letters and digits, which fit SH and CS; another for the same text under another tag.

        >>> len(Pseudonyms(b"0123456789abcdef").replace_identifier(0x00100020, "MRN-1"))
        16
        """
        message = text.encode("utf-8", "surrogatepass")
        hashed = hashlib.blake2b(message, key=self._secret, digest_size=10, person=f"id {tag:08X}".encode())
        return base64.b32encode(hashed.digest()).decode("ascii")

    def count_days(self, subject: str, most: int) -> int:
        """Days by which the dates of a subject are moved, from ``-most`` to -1."""
        hashed = self._days.copy()
        hashed.update(subject.encode("utf-8", "surrogatepass"))
        return -1 - int.from_bytes(hashed.digest(), "big") % most

    def make_order_key(self, uid: str) -> bytes:
        """Eight bytes to order rows by, which say nothing of the UID, nor of its pseudonym."""
        hashed = self._order.copy()
        hashed.update(uid.encode("utf-8", "surrogatepass"))
        return hashed.digest()


def load_key(path: Path | None) -> bytes | None:
    """The key in a file, else in the environment (``DICOMFLOW_EXPORT_KEY``); None where there is neither.

    Raises:
        ConfigError: it cannot be read, others than its owner can read it, or it is too short.
    """
    if path is not None:
        return _check_length(_read_key(path), str(path))
    text = os.environ.get(KEY_VARIABLE)
    return None if text is None else _check_length(os.fsencode(text).strip(), KEY_VARIABLE)


def make_key() -> bytes:
    """A key for one run that nobody can make again."""
    return secrets.token_bytes(32)


def _read_key(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise ConfigError(f"{path}: others can read the key; chmod 600 it, and take a new one if they may have")
            key = file.read(MAX_KEY_BYTES + 1).strip()
    except OSError as error:
        hint = f"; make one: {_MAKE_ONE}" if isinstance(error, FileNotFoundError) else ""
        raise ConfigError(f"{path}: the key cannot be read: {describe(error)}{hint}") from None
    if len(key) > MAX_KEY_BYTES:
        raise ConfigError(f"{path}: a key has at most {MAX_KEY_BYTES} bytes")
    return key


def _check_length(key: bytes, where: str) -> bytes:
    if len(key) < MIN_KEY_BYTES:
        raise ConfigError(f"{where}: a key has at least {MIN_KEY_BYTES} bytes; make one: {_MAKE_ONE}")
    return key
