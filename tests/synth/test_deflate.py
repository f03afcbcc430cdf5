"""The deflate writer against zlib."""

from __future__ import annotations

import zlib

from hypothesis import given
from hypothesis import strategies as st

from dicomflow.synth.deflate import deflate


@given(st.binary(max_size=3000))
def test_zlib_inflates_it(data: bytes) -> None:
    """Zlib gives back the bytes and meets the end of the stream; the length is even."""
    stream = deflate(data)
    inflater = zlib.decompressobj(-15)
    assert inflater.decompress(stream) == data
    assert inflater.eof
    assert inflater.unused_data in (b"", b"\0")
    assert len(stream) % 2 == 0
