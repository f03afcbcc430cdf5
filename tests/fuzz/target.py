"""What libFuzzer runs: ``check`` under atheris, with the mutator that knows elements.

Coverage is that of the compiled modules; Python that runs for one input in a hundred could not guide anything.
Started by ``run.py``, which prepares the build, the seeds and the environment; arguments are libFuzzer's.
"""

import random
import sys
from pathlib import Path

from tests.fuzz.harness import check
from tests.fuzz.mutate import mutate


def main() -> None:
    """Fuzz until the runs are used up or something is found; only with the build that ``run.py`` makes."""
    import atheris

    from dicomflow.header import scan

    if b"__asan_init" not in Path(scan.__file__).read_bytes():
        sys.exit(f"not built with AddressSanitizer: {scan.__file__}")
    rng = random.Random()

    def change(data: bytes, max_size: int, seed: int) -> bytes:
        """Half by what elements look like, half by libFuzzer's own mutators, which learn from comparisons."""
        if seed & 1 or not data:
            return bytes(atheris.Mutate(data, max_size))
        rng.seed(seed)
        return mutate(data, max_size, rng)

    atheris.Setup(sys.argv, check, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
