"""A process that dies, and a disk that forgets what was not synced.

``dying(step)`` raises ``Crash`` at the ``step``-th change of the disk.  ``Disk`` follows which names and bytes were synced, and
``cut_power`` leaves exactly those: names since the last sync of their folder are gone, bytes that were never synced are none.
This is harsher than any journalling file system.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from dicomflow.dataset import storage

_link = os.link  # the disk's own doing is no change that a process makes


class Crash(BaseException):
    """The process is gone."""


CHANGES: tuple[tuple[object, str], ...] = (
    (os, "replace"),
    (os, "rename"),
    (os, "link"),
    (storage, "_swap"),
    (pathlib.Path, "unlink"),
    (shutil, "rmtree"),
    (shutil, "copyfile"),
)


def _half_copied(source: Path, target: Path) -> None:
    Path(target).write_bytes(Path(source).read_bytes()[:100])


def _half_removed(folder: Path, *_: object) -> None:
    for path in sorted(Path(folder).rglob("*"))[::2]:
        if path.is_file():
            os.unlink(path)


_HALF: dict[str, Callable[..., None]] = {"copyfile": _half_copied, "rmtree": _half_removed}
"""What a process leaves that dies in the middle of a step that is not one for the disk."""


@contextlib.contextmanager
def dying(
    step: int, disk: Disk | None = None, *, after: bool = False, changes: Sequence[tuple[object, str]] = CHANGES
) -> Iterator[list[str]]:
    """Let the process die at the ``step``-th change of the disk, before (or half-way) or after it; gives the changes made.

    A dead process does nothing more, whatever its ``finally`` says.

    Args:
        step: 0 for never.
        disk: what follows the syncs.
        after: the change is made, then the process dies.
        changes: holders and names of the functions that make them; a sync is always one.
    """
    made: list[str] = []

    def guard(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            made.append(name)
            mine = len(made)
            if mine > step > 0:
                raise Crash
            if mine == step and not after:
                _HALF.get(name, lambda *_: None)(*arguments)
                raise Crash
            result = real(*arguments, **options)
            if mine == step:
                raise Crash
            return result

        return call

    with contextlib.ExitStack() as stack:
        for holder, name in changes:
            stack.enter_context(patch.object(holder, name, guard(name, getattr(holder, name))))
        sync = (lambda _: None) if disk is None else disk.sync  # the disk of the test may take its time
        stack.enter_context(patch.object(os, "fsync", guard("fsync", sync)))
        yield made


class Disk:
    """What is durable below ``root``."""

    def __init__(self, root: Path, shadow: Path) -> None:
        self.root = root
        self._shadow = shadow / uuid.uuid4().hex
        self._shadow.mkdir(parents=True)
        self._folders: dict[int, dict[str, tuple[int, bool]]] = {}
        self._files: dict[int, Path] = {}
        self._synced: set[int] = set()
        for folder, _, names in os.walk(root):
            for name in names:
                self._synced.add(os.stat(Path(folder) / name).st_ino)
            self._sync_folder(Path(folder))

    def sync(self, descriptor: int) -> None:
        """What ``os.fsync`` makes durable."""
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path.is_dir():
            self._sync_folder(path)
        else:
            self._synced.add(os.fstat(descriptor).st_ino)
            self._keep(path, os.fstat(descriptor).st_ino)

    def cut_power(self) -> None:
        """Leave below ``root`` what was durable, and nothing else."""
        number = os.stat(self.root).st_ino
        fresh = self._shadow / "fresh"
        self._restore(number, fresh)
        shutil.rmtree(self.root)
        shutil.copytree(fresh, self.root)
        shutil.rmtree(self._shadow)

    def _sync_folder(self, path: Path) -> None:
        entries = {}
        for entry in os.scandir(path):
            number = entry.stat(follow_symlinks=False).st_ino
            entries[entry.name] = (number, entry.is_dir())
            if not entry.is_dir():
                self._keep(Path(entry.path), number)
        self._folders[path.stat().st_ino] = entries

    def _keep(self, path: Path, number: int) -> None:
        """A second name holds the bytes, and keeps the number from being used again."""
        if number not in self._files:
            self._files[number] = self._shadow / str(number)
            _link(path, self._files[number])

    def _restore(self, number: int, target: Path) -> None:
        target.mkdir()
        for name, (entry, is_folder) in self._folders.get(number, {}).items():
            if is_folder:
                self._restore(entry, target / name)
            elif entry in self._synced:
                shutil.copyfile(self._files[entry], target / name)
            else:
                (target / name).touch()
