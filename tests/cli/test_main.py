"""Every end of a command is an exit code and at most one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from dicomflow import __version__
from dicomflow.cli import group
from dicomflow.errors import ComputeError, ConfigError, DicomflowError
from dicomflow.synth import make_series

from .conftest import Run

HEAVY = ("dask", "pandas", "distributed", "duckdb")


def raising(error: BaseException) -> type:
    """A stand-in for a command's module, whose command raises."""

    @click.command("show", context_settings={"ignore_unknown_options": True})
    @click.argument("anything", nargs=-1)
    def command(anything: tuple[str, ...]) -> int:
        raise error

    return type("Module", (), {"command": command})


@pytest.mark.parametrize("arguments", [["--help"], ["show", "FILE"], ["show", "--columns", "standard", "FILE"]])
def test_help_and_show_are_light(arguments: list[str], tmp_path: Path) -> None:
    """``--help`` and ``show`` import neither Dask nor pandas nor DuckDB."""
    path = tmp_path / "file.dcm"
    path.write_bytes(next(make_series("ct")).data)
    given = [str(path) if one == "FILE" else one for one in arguments]
    script = (
        "import sys; from dicomflow.cli import main; code = main(sys.argv[1:]);"
        f"found = [name for name in {HEAVY} if name in sys.modules]; sys.exit(f'imported {{found}}' if found else code)"
    )
    done = subprocess.run([sys.executable, "-c", script, *given], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_help_loads_no_command(run: Run) -> None:
    """``--help`` names all commands, and pyarrow is not even imported for it."""
    script = "import sys; from dicomflow.cli import main; main(['--help']); sys.exit('pyarrow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert all(f"  {name}" in done.stdout for name in group.COMMANDS)


@pytest.mark.parametrize("name", list(group.COMMANDS))
def test_each_command_has_an_example(run: Run, name: str) -> None:
    """The help of each command shows how it is called."""
    outcome = run(name, "--help")
    assert outcome.code == 0
    assert f"Example:\n    dicomflow {name}" in outcome.out


def test_version(run: Run) -> None:
    """``--version`` says the name and the version."""
    assert run("--version") == (0, f"dicomflow {__version__}\n", "")


def test_module_is_the_command() -> None:
    """``python -m dicomflow`` is the command line, exit code included."""
    done = subprocess.run([sys.executable, "-m", "dicomflow", "nonsense"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "No such command 'nonsense'" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["extrct"], "Did you mean 'extract'?"),
        (["show", "--jsn", "x"], "--json"),
        (["show"], "Missing argument 'FILE'"),
        (["extract", "x"], "Missing option '-o' / '--dest'"),
        (["extract", "-o", "x"], "Missing argument 'SOURCE...'"),
        (["extract", "x", "-o", "y", "--log-level", "loud"], "'loud' is not one of"),
    ],
)
def test_usage(run: Run, arguments: list[str], hint: str) -> None:
    """Wrong usage exits with 2 and names what is near or missing."""
    outcome = run(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert hint in outcome.err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError("x.yaml: wrong"), 2, "dicomflow: error: x.yaml: wrong\n"),
        (ComputeError("lost"), 1, "dicomflow: error: lost\n"),
        (DicomflowError("two\nlines \x1b[31m"), 1, "dicomflow: error: two\\nlines \\x1b[31m\n"),
        (KeyboardInterrupt(), 130, "dicomflow: stopped\n"),
    ],
)
def test_errors(monkeypatch: pytest.MonkeyPatch, run: Run, error: BaseException, code: int, line: str) -> None:
    """Each error of ours is one harmless line and its exit code."""
    monkeypatch.setattr(group.importlib, "import_module", lambda _name: raising(error))
    outcome = run("show", "x")
    assert (outcome.code, outcome.out, outcome.err.lstrip("\n")) == (code, "", line)


def test_a_surprise_is_one_line_without_its_text(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """An unexpected exception says its type and where to go with it; what it says may be a patient's name."""
    monkeypatch.setattr(group.importlib, "import_module", lambda _name: raising(KeyError("Doe^Jane")))
    outcome = run("show", "x")
    assert outcome.code == 1
    assert outcome.err.startswith("dicomflow: error: unexpected KeyError")
    assert "report" in outcome.err
    assert outcome.err.count("\n") == 1
    assert "Doe" not in outcome.err


def test_a_closed_pipe_is_no_error(ct: Path) -> None:
    """``dicomflow show FILE | head`` ends without a word on stderr."""
    with subprocess.Popen(
        [sys.executable, "-m", "dicomflow", "show", str(ct)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
