"""Read a small YAML file that a person wrote: settings, a column profile.

In: a path.  Out: a mapping of plain values, or one line that says where the file is wrong.
Knows nothing of what the keys mean.  The text is not trusted: safe_load only, bounded in size and depth, no aliases.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import yaml

from dicomflow.errors import ConfigError

MAX_FILE_BYTES = 1024 * 1024
MAX_DEPTH = 16

_CHECKING_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The same grammar in C, where PyYAML was built with it: the checks before ``safe_load`` cost a tenth."""


def read_yaml_mapping(path: Path) -> dict[Any, Any]:
    """The mapping at the top of a YAML file; an empty file is an empty mapping.

    Args:
        path: a file of at most 1 MiB, UTF-8, nested at most 16 levels, without aliases and without repeated keys.

    Raises:
        ConfigError: one line: the file, line and column where known, and what is wrong.
    """
    text = _read_text(path)
    try:
        _check_shape(path, text)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {_problem(error)}") from None
    except ValueError as error:  # 2020-02-31 looks like a date to YAML, and 5,000 digits like an integer
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if data is not None and not isinstance(data, dict):
        raise ConfigError(f"{path}: expected a mapping of keys to values, got {kind_of(data)}")
    return data or {}


def kind_of(value: object) -> str:
    """What a value is, in the words of somebody who writes YAML.

    >>> kind_of("4"), kind_of(None)
    ('text', 'nothing')
    """
    return _KINDS.get(type(value), "something else")


def printable(part: object) -> str:
    """A key as it may stand in a one-line message: at most 64 characters, control characters escaped.

    >>> printable("a\\nb")
    "'a\\\\nb'"
    """
    text = str(part)[:64]
    return text if text.isprintable() else ascii(text)


_KINDS: dict[type, str] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a mapping",
    type(None): "nothing",
}


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot read: {error.strerror}") from None
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigError(f"{path}: longer than {MAX_FILE_BYTES} bytes")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start})") from None


def _check_shape(path: Path, text: str) -> None:
    """Refuse aliases and deep nesting on the event stream, before anything is built from the text."""
    depth = 0
    for event in yaml.parse(text, Loader=_CHECKING_LOADER):
        if isinstance(event, yaml.AliasEvent):
            _refuse(path, event.start_mark, "aliases (*name) are not allowed")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            _refuse(path, event.start_mark, f"nested deeper than {MAX_DEPTH} levels")
    _check_repeats(path, yaml.compose(text, Loader=_CHECKING_LOADER))


def _check_repeats(path: Path, node: yaml.Node | None) -> None:
    """YAML forbids a key twice; PyYAML would silently keep the last one."""
    if isinstance(node, yaml.MappingNode):
        _check_keys(path, [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)])
        for _, value in node.value:
            _check_repeats(path, value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_repeats(path, item)


def _check_keys(path: Path, keys: list[yaml.ScalarNode]) -> None:
    seen: set[str] = set()
    for key in keys:
        if key.value in seen:
            _refuse(path, key.start_mark, f"the key {printable(key.value)} is given twice")
        seen.add(key.value)


def _refuse(path: Path, mark: Any, problem: str) -> NoReturn:
    raise ConfigError(f"{path}: line {mark.line + 1}, column {mark.column + 1}: {problem}")


def _problem(error: yaml.YAMLError) -> str:
    """One line, with the place, from PyYAML's message of several."""
    if isinstance(error, yaml.reader.ReaderError):
        return f"not valid YAML: the character at offset {error.position} is not allowed"
    mark, problem = (getattr(error, "problem_mark", None), getattr(error, "problem", None))
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return where + " ".join((problem or "not valid YAML").split())[:200]
