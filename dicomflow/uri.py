"""Name local files in text, whatever bytes their names are made of.

In: a path.  Out: a uri that fits a UTF-8 column, and back.
Knows nothing of what lies there: no I/O.
"""

from __future__ import annotations

import os
import re
from urllib.parse import quote, unquote_to_bytes

from dicomflow.errors import SourceError

_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")
_FILE_URI = re.compile(r"file:(?://(?:localhost)?(?=/)|(?=/(?!/)))", re.IGNORECASE)  # RFC 8089


def uri_from_path(path: str | bytes) -> str:
    """The uri of a local file: its absolute path, or a ``file:`` URI of the path's bytes where they are not UTF-8.

    Symbolic links are not resolved.

    >>> uri_from_path("/data/a b.dcm")
    '/data/a b.dcm'
    >>> uri_from_path(b"/data/\\xff.dcm")
    'file:///data/%FF.dcm'
    """
    text = os.path.abspath(os.fsdecode(path))
    try:
        text.encode()
    except UnicodeEncodeError:
        return "file://" + quote(os.fsencode(text))
    return text


def path_from_uri(uri: str) -> str:
    """The path to open for a uri; bytes that are not UTF-8 come back as surrogates (PEP 383), as ``os`` takes them.

    >>> path_from_uri("file:///data/%FF.dcm")
    '/data/\\udcff.dcm'
    """
    found = _FILE_URI.match(uri)
    return os.fsdecode(unquote_to_bytes(uri[found.end() :])) if found else uri


def path_from_source(source: str) -> str:
    """The absolute path of a SOURCE as a user gives it: a path or a ``file:`` URI.

    Raises:
        SourceError: it is empty, or names something that is not a local file.
    """
    if not source or "\0" in source:
        raise SourceError("a SOURCE is the name of a file or folder; one of those given is empty or holds a NUL")
    is_uri = _FILE_URI.match(source)
    scheme = _SCHEME.match(source)
    if scheme and not is_uri:
        raise SourceError(f"{source}: not a local path; {scheme['scheme']}:// sources cannot be listed here")
    path = path_from_uri(source)
    if "\0" in path:
        raise SourceError(f"{source}: a path cannot hold a NUL")
    return os.path.abspath(path)
