"""What libFuzzer runs: ``check`` of a target under atheris, with the mutator that knows what its bytes mean.

    header    headers of DICOM files (``harness``, ``mutate``)
    part      pages and page index of a part file (``part``)

Coverage is that of the compiled modules; Python that runs for one input in a hundred could not guide anything.
Started by ``run.py``, which prepares the build, the seeds and the environment; the first argument is the name of the target, the
others are libFuzzer's.
"""

import random
import sys
from pathlib import Path

from tests.fuzz import harness, mutate, part

_TARGETS = {"header": (harness.check, mutate.mutate), "part": (part.check, part.mutate)}


def main() -> None:
    """Fuzz until the runs are used up or something is found; only with the build that ``run.py`` makes."""
    import atheris

    from dicomflow.dataset import cells
    from dicomflow.header import scan

    for module in (scan, cells):
        if b"__asan_init" not in Path(module.__file__).read_bytes():
            sys.exit(f"not built with AddressSanitizer: {module.__file__}")
    check, mutate = _TARGETS[sys.argv.pop(1)]
    rng = random.Random()

    def run(data: bytes) -> None:
        check(data)

    def change(data: bytes, max_size: int, seed: int) -> bytes:
        """Half by what elements look like, half by libFuzzer's own mutators, which learn from comparisons."""
        if seed & 1 or not data:
            return bytes(atheris.Mutate(data, max_size))
        rng.seed(seed)
        return mutate(data, max_size, rng)

    atheris.Setup(sys.argv, run, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
