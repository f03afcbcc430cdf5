from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dicomflow.header.paths import Hits
from dicomflow.model import RawValue

class Interner:
    columns: int
    rows: int
    arena_bytes: int
    value_bytes: int
    oversized: list[tuple[int, int]]
    chosen: npt.NDArray[np.int32]
    charsets: list[bytes | None]
    def __init__(
        self,
        hits: Hits,
        column_leaves: Sequence[Sequence[int]],
        rows: int,
        vr_kinds: npt.NDArray[np.uint8],
        max_value_bytes: int,
    ) -> None: ...
    def use_buffer(self, buffer: bytearray) -> None: ...
    def reset(self) -> None: ...
    def add_row(self) -> int: ...
    def add_values(self, values: Sequence[RawValue | None]) -> None: ...
    def set_value(self, column: int, value: RawValue) -> None: ...
    def drop_row(self) -> None: ...
    def take_codes(self) -> npt.NDArray[np.int32]: ...
    def take_column(self, column: int) -> tuple[npt.NDArray[np.int32], bytearray, npt.NDArray[np.uint64]]: ...
