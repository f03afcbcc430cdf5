"""From a YAML file and the command line to settings, or to one line that says which key is wrong.

In: a YAML file, dotted options.  Out: ``Config``.  Knows what rules the settings have, and none of them by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeGuard, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from dicomflow.config.settings import Config
from dicomflow.errors import ConfigError
from dicomflow.yamlfile import kind_of, printable, read_yaml_mapping

COMMAND_LINE = "command line"


def load_config(path: Path | None, overrides: Mapping[str, object]) -> Config:
    """The settings of a run: defaults, then the file, then the command line.

    Args:
        path: a YAML file (at most 1 MiB, UTF-8, no aliases), or None for the defaults.
        overrides: dotted keys such as ``compute.workers``; a value of None means that the option was not given.

    Raises:
        ConfigError: one line that names the file (or the command line), the key and what is wrong with it.

    >>> load_config(None, {"compute.workers": 4, "compute.scheduler": None}).compute.workers
    4
    """
    data = {} if path is None else _drop_empty_sections(read_yaml_mapping(path))
    _validate(data, str(path))
    return _validate(_merge(data, overrides), COMMAND_LINE)


def _is_model(part: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(part, type) and issubclass(part, BaseModel)


_SECTIONS: dict[str, type[BaseModel]] = {
    name: field.annotation for name, field in Config.model_fields.items() if _is_model(field.annotation)
}


def _drop_empty_sections(data: Mapping[Any, Any]) -> dict[Any, Any]:
    """A section whose keys are all commented out is null in YAML: it says nothing, and that is no error."""
    return {key: value for key, value in data.items() if value is not None or key not in _SECTIONS}


def _merge(data: Mapping[Any, Any], overrides: Mapping[str, object]) -> dict[Any, Any]:
    merged = dict(data)
    for dotted, value in overrides.items():
        section, _, key = dotted.rpartition(".")
        if value is None:
            continue
        if not section:
            merged[key] = value
        else:
            before = merged.get(section)
            merged[section] = {**(before if isinstance(before, Mapping) else {}), key: value}
        rival = _RIVALS.get(dotted, "")
        if rival and overrides.get(rival) is None:
            _drop(merged, rival)
    return merged


def _drop(merged: dict[Any, Any], dotted: str) -> None:
    section, _, key = dotted.rpartition(".")
    if isinstance(merged.get(section), Mapping):
        merged[section] = {name: value for name, value in merged[section].items() if name != key}


def _validate(data: Mapping[Any, Any], origin: str) -> Config:
    try:
        return Config.model_validate(data)
    except ValidationError as fault:
        first, *others = fault.errors(include_url=False)
    more = f" (and {len(others)} more)" if others else ""
    raise ConfigError(f"{origin}: {_describe(first)}{more}")


def _describe(error: ErrorDetails) -> str:
    """``compute.workers: expected an integer, got text``."""
    key = ".".join(printable(part) for part in error["loc"])
    kind = error["type"]
    if kind == "extra_forbidden":
        problem = f"unknown key; {_suggest(error['loc'])}"
    elif kind in _EXPECTED:
        problem = f"expected {_EXPECTED[kind]}, got {kind_of(error['input'])}"
    else:
        problem = _RULES[kind].format(**error.get("ctx", {})) if kind in _RULES else error["msg"]
    return f"{key}: {problem}" if key else problem


def _suggest(loc: tuple[int | str, ...]) -> str:
    """The nearest key of the same section, else of any section, else all that the section has."""
    wrong = str(loc[-1])[:64]
    model = _model_at(loc[:-1])
    elsewhere = {key: f"{name}.{key}" for name, section in _SECTIONS.items() for key in section.model_fields}
    elsewhere |= {key: key for key in Config.model_fields}
    if near := get_close_matches(wrong, model.model_fields, n=1):
        return f"did you mean {near[0]!r}?"
    if near := get_close_matches(wrong, elsewhere, n=1, cutoff=0.8):
        return f"did you mean {elsewhere[near[0]]!r}?"
    return f"known keys: {', '.join(model.model_fields)}"


def _model_at(loc: tuple[int | str, ...]) -> type[BaseModel]:
    """The section, or the section of a section, that a key stands in."""
    model: type[BaseModel] = Config
    for key in loc:
        annotation = model.model_fields[str(key)].annotation
        model = next(part for part in (annotation, *get_args(annotation)) if _is_model(part))
    return model


_RIVALS = {"cluster.adapt": "compute.workers", "compute.workers": "cluster.adapt"}
"""Settings that say the same thing in two ways: the one on the command line replaces the other one of the file."""

_EXPECTED = {
    "int_type": "an integer",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "path_type": "a file name",
    "model_type": "a mapping of keys to values",
    "dict_type": "a mapping of keys to values",
}

_RULES = {
    "value_error": "{error}",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be greater than {gt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "expected {expected}",
    "too_long": "has more than {max_length} entries",
    "too_short": "has fewer than {min_length} entries",
    "missing": "is missing",
    "string_pattern_mismatch": "expected the name of a column, or one with .year behind it",
    "string_too_short": "must not be empty",
    "string_too_long": "is too long",
    "invalid_key": "a key must be text",
}
