"""Profiles: named lists of columns, built in or from a YAML file of one's own.

In: the name of a built-in profile, or the path of a YAML file.  Out: ``Profile``.  Knows no bytes and no Parquet.

An entry is a DICOM keyword, or a mapping with a name::

    columns:
      - PatientID
      - PixelSpacing: {functional_group: PixelMeasuresSequence}       # the attribute itself, else the functional groups
      - name: FirstReferencedImage
        path: ReferencedImageSequence[0].ReferencedSOPInstanceUID
      - {name: BValue, private: {creator: "SIEMENS MR HEADER", group: 0x0019, element: 0x0C}, vr: IS}
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from dicomflow.errors import ConfigError
from dicomflow.schema.column import SOURCE_FIELDS, Column, make_column
from dicomflow.yamlfile import read_yaml_mapping

BUILT_IN = ("minimal", "standard")
RESERVED = frozenset(["SOPInstanceUID", *(field.name for field in SOURCE_FIELDS)])
_RESERVED = frozenset(name.casefold() for name in RESERVED)
MAX_COLUMNS = 4096
MAX_EXTENDS = 3

_FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence[0]", "PerFrameFunctionalGroupsSequence[0]")
_KEY = ("SOPInstanceUID", "MediaStorageSOPInstanceUID")  # the second where the data set has none (an issue says so)


def _parse_hex(value: object) -> object:
    """Text is hexadecimal, as tags are written: "0043" is 0x0043."""
    return int(value, 16) if isinstance(value, str) and re.fullmatch(r"(0x)?[0-9A-Fa-f]{1,4}", value) else value


def _parse_count(value: object) -> object:
    """A plain number is one in YAML: ``vm: 1``."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class _Private(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    creator: str = Field(min_length=1, max_length=64)
    group: Annotated[int, BeforeValidator(_parse_hex), Field(ge=0x0009, le=0xFFFF)]
    element: Annotated[int, BeforeValidator(_parse_hex), Field(ge=0, le=0xFF)]


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")
    path: str | None = None
    paths: tuple[str, ...] = ()
    functional_group: str | None = None
    attribute: str | None = None
    private: _Private | None = None
    vr: str | None = None
    vm: Annotated[str | None, BeforeValidator(_parse_count)] = None


class _ProfileFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    profile: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    extends: str | None = None
    columns: list[str | dict[str, object]] = Field(default_factory=list, max_length=MAX_COLUMNS)


@dataclass(frozen=True, slots=True)
class Profile:
    """A named list of columns; ``SOPInstanceUID`` is always the first."""

    name: str
    columns: tuple[Column, ...]


def load_profile(name_or_path: str) -> Profile:
    """The profile of this name (``minimal``, ``standard``), or the one in this YAML file.

    >>> load_profile("minimal").columns[0].name
    'SOPInstanceUID'

    Raises:
        ConfigError: no such profile or file, or an entry is wrong; the message names file, column and what is near.
    """
    return _load_built_in(name_or_path) if name_or_path in BUILT_IN else _load(name_or_path)


@lru_cache(maxsize=len(BUILT_IN))
def _load_built_in(name: str) -> Profile:
    """Read once per process: ``read_headers`` on one file must not cost a parse of YAML."""
    return _load(name)


def _load(name_or_path: str) -> Profile:
    specs, name = _load_specs(name_or_path, depth=0)
    columns = {"SOPInstanceUID": make_column("SOPInstanceUID", _KEY)}
    spelled: dict[str, str] = {}
    for spec in specs:
        if spec.name == "SOPInstanceUID":
            continue
        if spec.name.casefold() in _RESERVED:
            raise ConfigError(f"{name_or_path}: column {spec.name!r} is a name that dicomflow uses itself")
        first = spelled.setdefault(spec.name.casefold(), spec.name)
        if first != spec.name:  # SQL does not tell them apart
            raise ConfigError(f"{name_or_path}: columns {first!r} and {spec.name!r} differ in case only")
        columns[spec.name] = _make_column(spec, name_or_path)
    return Profile(name, tuple(columns.values()))


def _load_specs(name_or_path: str, depth: int) -> tuple[list[_Spec], str]:
    if depth > MAX_EXTENDS:
        raise ConfigError(f"{name_or_path}: profiles extend each other in a circle")
    model = _parse(_read(name_or_path), name_or_path)
    if not model.columns and not model.extends:
        raise ConfigError(f"{name_or_path}: has no columns, and extends no profile")
    base = _load_specs(model.extends, depth + 1)[0] if model.extends else []
    own = [_to_spec(entry, name_or_path) for entry in model.columns]
    names = Counter(spec.name for spec in own)
    if twice := [name for name, count in names.items() if count > 1]:
        raise ConfigError(f"{name_or_path}: column {twice[0]!r} is there twice")
    return [*base, *own], model.profile


def _read(name_or_path: str) -> dict[object, object]:
    if name_or_path in BUILT_IN:
        with resources.as_file(resources.files("dicomflow.schema") / "profiles" / f"{name_or_path}.yaml") as path:
            return read_yaml_mapping(path)
    path = Path(name_or_path)
    if "\0" in name_or_path or not _is_file(path):
        near = difflib.get_close_matches(name_or_path, BUILT_IN, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; built in are {', '.join(BUILT_IN)}"
        raise ConfigError(f"{name_or_path}: no such column profile or file{hint}")
    return read_yaml_mapping(path)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # no permission to look: reading it says so
        return True


def _parse(loaded: dict[object, object], where: str) -> _ProfileFile:
    try:
        return _ProfileFile.model_validate(loaded)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_first_error(error, tuple(_ProfileFile.model_fields))}") from None


def _to_spec(entry: str | Mapping[str, object], where: str) -> _Spec:
    """``Keyword``, ``{Keyword: {...}}`` or ``{name: ..., ...}``."""
    if isinstance(entry, str):
        if entry.startswith("("):
            raise ConfigError(f"{where}: column {entry!r}: needs a name: {{name: ..., path: '{entry}'}}")
        return _Spec.model_construct(name=entry)
    fields = dict(entry)
    if len(fields) == 1 and isinstance(inner := next(iter(fields.values())), dict):
        fields = {"name": next(iter(fields)), **inner}
    try:
        return _Spec.model_validate(fields)
    except ValidationError as error:
        label = fields.get("name", "?")
        raise ConfigError(f"{where}: column {label!r}: {_first_error(error, tuple(_Spec.model_fields))}") from None


def _first_error(error: ValidationError, known: tuple[str, ...]) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, known, n=1)
        return f"{key}: unknown key" + (f"; did you mean {near[0]!r}?" if near else "")
    return f"{key}: {first['msg']}"


def _make_column(spec: _Spec, where: str) -> Column:
    try:
        return make_column(spec.name, _paths(spec), spec.vr, spec.vm)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _paths(spec: _Spec) -> tuple[str, ...]:
    if spec.private is not None:
        return (f'({spec.private.group:04X},"{spec.private.creator}",{spec.private.element:02X})',)
    if spec.functional_group is not None:
        inner = spec.attribute or spec.name
        return (spec.name, *(f"{group}.{spec.functional_group}[0].{inner}" for group in _FUNCTIONAL_GROUPS))
    return spec.paths or ((spec.path,) if spec.path else (spec.name,))
