"""What libFuzzer runs: ``check`` under atheris, with the mutator that knows elements.

Coverage is that of the compiled modules; Python that runs for one input in a hundred could not guide anything.

Started by ``run.py``, which prepares the build, the seeds and the environment; arguments are libFuzzer's.
"""

import random
import sys
from pathlib import Path

import atheris

import dicomflow.header.scan
from tests.fuzz.harness import check
from tests.fuzz.mutate import mutate

_RNG = random.Random()


def _mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Half by what elements look like, half by libFuzzer's own mutators, which learn from comparisons."""
    if seed & 1 or not data:
        return bytes(atheris.Mutate(data, max_size))
    _RNG.seed(seed)
    return mutate(data, max_size, _RNG)


if __name__ == "__main__":
    if b"__asan_init" not in Path(dicomflow.header.scan.__file__).read_bytes():
        sys.exit(f"not built with AddressSanitizer: {dicomflow.header.scan.__file__}")
    atheris.Setup(sys.argv, check, custom_mutator=_mutate)
    atheris.Fuzz()
