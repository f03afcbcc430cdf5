"""Parts that cannot be read are one clear error."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from dicomflow.dataset.parts import explained
from dicomflow.errors import DatasetError

PART = Path("/d/instances/x.parquet")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (pa.ArrowInvalid("Doe^Jane"), r"is damaged \(ArrowInvalid\); restore it"),
        (pa.ArrowMemoryError("malloc of size 8 failed"), "cannot be read: this process gets too little memory, or"),
        (OSError("Doe^Jane"), "is damaged or cannot be read; run again"),
        (FileNotFoundError(2, "No such file or directory"), "No such file or directory; run again"),
    ],
)
def test_what_cannot_be_read(error: Exception, said: str) -> None:
    """It is said of which part, and no value is quoted."""
    with pytest.raises(DatasetError, match=f"^{PART}: {said}") as caught, explained(PART):
        raise error
    assert "Doe" not in str(caught.value)
