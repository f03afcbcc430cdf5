"""Fuzz a reader: compiled with AddressSanitizer and UBSan, guided by coverage, from all seeds at hand.

    python -m tests.fuzz.run --runs 2000000 --jobs 2 --work build/fuzz
    python -m tests.fuzz.run --target part --runs 50000

Needs clang and atheris.  The compiled modules under test are built in a copy of the package below ``--work``; the source
tree stays as it is.  Inputs that were worth keeping stay in ``--work/corpus`` for the next run, what broke something in
``--work/found``.  Ends with the figures of the run, and with exit code 1 if anything was found.
"""

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from hashlib import sha1
from pathlib import Path

from tests.conftest import CORPUS
from tests.fuzz import part
from tests.fuzz.mutate import dictionary
from tests.fuzz.seeds import MAX_SIZE, find_seeds

ROOT = Path(__file__).parents[2]
SANITIZE = "-fsanitize=address,undefined -fno-sanitize=alignment,null,vptr,pointer-overflow,object-size"
CFLAGS = f"{SANITIZE} -fsanitize=fuzzer-no-link -fno-sanitize-recover=undefined -fno-omit-frame-pointer -O2 -g1"
TIMEOUT = 20  # seconds for one input of at most MAX_SIZE bytes: a hang
_STATS = ("number_of_executed_units", "peak_rss_mb")


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, seed, fuzz, report."""
    options = _parse(arguments)
    work = options.work.resolve()
    package = build(work / "src")
    corpus, found = _fill(work, options)
    start = time.monotonic()
    runs = -(-options.runs // options.jobs)
    commands = [_command(work, corpus, found, runs, options, job) for job in range(options.jobs)]
    logs = [work / f"job-{job}.log" for job in range(options.jobs)]
    environment = _environment(package)
    codes = _run(commands, logs, package, environment)
    return _report(logs, codes, sorted(found.iterdir()), time.monotonic() - start)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument(
        "--target", choices=("header", "part"), default="header", help="headers of files, or part files"
    )
    parser.add_argument("--runs", type=int, default=2_000_000, help="executions, of all jobs together")
    parser.add_argument("--jobs", type=int, default=2, help="processes that share one corpus")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "fuzz")
    parser.add_argument("--seeds", type=Path, default=CORPUS, help="a folder of DICOM files to begin from")
    parser.add_argument("--rss-limit", type=int, default=1024, help="MiB of a process; the sanitizer's share included")
    return parser.parse_args(arguments)


def build(target: Path) -> Path:
    """A copy of the package with instrumented modules; the folder to import it from."""
    header, dataset = ROOT / "dicomflow" / "header", ROOT / "dicomflow" / "dataset"
    sources = [*header.glob("scan*.py"), header / "intern.py", dataset / "cells.py", dataset / "footer.py"]
    types = (ROOT / "dicomflow").glob("*/*.pxd")
    built = list((target / "dicomflow").glob("*/*.so"))
    fresh = len(built) == len(sources) and min(map(_mtime, built)) > max(map(_mtime, (*sources, *types)))
    ignored = shutil.ignore_patterns("*.so", "*.c", "__pycache__")
    shutil.copytree(ROOT / "dicomflow", target / "dicomflow", ignore=ignored, dirs_exist_ok=True)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, target / name)
    if not fresh:
        environment = {**os.environ, "CC": "clang", "CFLAGS": CFLAGS, "LDSHARED": f"clang -shared {SANITIZE}"}
        command = [sys.executable, "-c", "from setuptools import setup; setup()", "-q", "build_ext", "--inplace", "-f"]
        subprocess.run(command, cwd=target, env=environment, check=True)
    if len(list((target / "dicomflow").glob("*/*.so"))) != len(sources):
        sys.exit("the compiled modules could not be built: is clang installed?")
    return target


def _mtime(path: Path) -> float:
    return path.stat().st_mtime


def _fill(work: Path, options: argparse.Namespace) -> tuple[Path, Path]:
    """Seeds and dictionary, where libFuzzer looks for them; each target has its own."""
    name = "" if options.target == "header" else f"-{options.target}"
    corpus, found = work / f"corpus{name}", work / f"found{name}"
    for folder in (corpus, found):
        folder.mkdir(parents=True, exist_ok=True)
    for seed in find_seeds(options.seeds) if options.target == "header" else [part.seed()]:
        (corpus / sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
    (work / "dicom.dict").write_text(dictionary())
    return corpus, found


def _command(work: Path, corpus: Path, found: Path, runs: int, options: argparse.Namespace, job: int) -> list[str]:
    return [
        sys.executable,
        "-m",
        "tests.fuzz.target",
        options.target,
        f"-runs={runs}",
        f"-seed={job + 1}",
        f"-max_len={MAX_SIZE if options.target == 'header' else len(part.seed())}",
        f"-timeout={TIMEOUT}",
        f"-rss_limit_mb={options.rss_limit}",
        f"-dict={work / 'dicom.dict'}",
        f"-artifact_prefix={found}/",
        "-print_final_stats=1",
        "-reload=30",
        str(corpus),
    ]


def _environment(package: Path) -> dict[str, str]:
    """Python's own allocator would hide small overruns; the quarantine is bounded so that the limit is the reader's."""
    spec = importlib.util.find_spec("atheris")
    if spec is None or spec.origin is None:
        sys.exit("atheris is not installed")
    runtime = Path(spec.origin).parents[1] / "asan_with_fuzzer.so"
    return {
        **os.environ,
        "LD_PRELOAD": str(runtime),
        "PYTHONPATH": f"{package}{os.pathsep}{ROOT}",
        "PYTHONMALLOC": "malloc",
        "ASAN_OPTIONS": "detect_leaks=0:quarantine_size_mb=16:allocator_may_return_null=1:malloc_context_size=1",
    }


def _run(commands: list[list[str]], logs: list[Path], package: Path, environment: dict[str, str]) -> list[int]:
    """From the package's folder, so that it is what ``-m`` imports."""
    jobs = []
    for command, log in zip(commands, logs, strict=True):
        with log.open("wb") as stream:
            jobs.append(subprocess.Popen(command, cwd=package, env=environment, stdout=stream, stderr=stream))
    return [job.wait() for job in jobs]


def _report(logs: list[Path], codes: list[int], found: list[Path], seconds: float) -> int:
    """The figures; what was found, by name."""
    texts = [log.read_text("utf-8", "replace") for log in logs]
    executions, memory = ([_last(text, rf"stat::{name}:\s+(\d+)") for text in texts] for name in _STATS)
    coverage = max(_last(text, r"cov: (\d+)") for text in texts)
    kept = max(_last(text, r"corp: (\d+)") for text in texts)
    print(f"executions       {sum(executions):,} in {seconds:,.0f} s: {sum(executions) / seconds:,.0f} a second")
    print(f"coverage         {coverage:,} edges, {kept:,} inputs worth keeping")
    print(f"peak memory      {max(memory):,} MiB of a process")
    print(f"found            {len(found)}: {', '.join(path.name for path in found) or 'no crash, no hang'}")
    for log, code in zip(logs, codes, strict=True):
        if code:
            print(f"exit code {code}: see {log}")
    return 1 if found or any(codes) else 0


def _last(text: str, pattern: str) -> int:
    values = re.findall(pattern, text)
    return int(values[-1]) if values else 0


if __name__ == "__main__":
    sys.exit(main())
