"""What happens to an attribute, and so to a column: the profile, its options, and rules of one's own.

In: names of options, keyword -> action.  Out: ``Rules``, which give an Action for a tag and for a column.  Pure.

A column is judged by every tag of every one of its paths, never by its name, and the strictest word counts.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from dicomflow.deidentify.profile import (
    DATES,
    HASHED,
    NUMBERS,
    OPTIONS,
    STRICTNESS,
    TIMES,
    Action,
    default_action,
    find_entry,
)
from dicomflow.dictionary import entry_for_keyword, entry_for_tag, keywords
from dicomflow.errors import ConfigError
from dicomflow.schema.column import SOURCE_FIELDS, Step, parse_path

Attribute = tuple[int, str | None]
"""A tag, and the creator of a private one (whose tag is that of ``Step``)."""

_OWN_ACTIONS = (Action.KEEP, Action.DROP, Action.EMPTY, Action.DUMMY, Action.HASH, Action.SHIFT)
_TEXTS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UI", "UT"})
_SOURCE_NAMES = tuple(field.name for field in SOURCE_FIELDS)
_HARMLESS_SOURCE = frozenset({"status"})
_TAG = re.compile(r"\(?([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})\)?")


@dataclass(frozen=True, slots=True)
class Rules:
    """What happens to each attribute.

    Attributes:
        retain: options of PS3.15 E.3.
        own: rules that come before the table.
        own_source: actions for columns that say where a row came from.
        keep_times: whether times of day stay where dates do.
    """

    retain: frozenset[str] = frozenset()
    own: Mapping[Attribute, Action] = field(default_factory=dict)
    own_source: Mapping[str, Action] = field(default_factory=dict)
    keep_times: bool = True

    @property
    def is_loosened(self) -> bool:
        """Whether a rule of one's own keeps what the profile does not: then no claim is made."""
        profile = Rules(self.retain, keep_times=self.keep_times)
        kept = ((key, action) for key, action in self.own.items() if action in (Action.KEEP, Action.SHIFT))
        milder = (STRICTNESS[action] < STRICTNESS[profile.for_attribute(*key)] for key, action in kept)
        return any(milder) or Action.KEEP in self.own_source.values()

    def for_attribute(self, tag: int, creator: str | None = None) -> Action:
        """What happens to an attribute, wherever it stands."""
        if (own := self.own.get((tag, creator))) is not None:
            return own
        if creator is not None or tag >> 16 & 1:
            return Action.DROP
        entry = find_entry(tag)
        if entry is None:
            return default_action(tag, dates=self._for_dates(tag))
        codes = {entry.options.get(option) for option in self.retain}
        if codes & {"K", "C"} and _is_any(tag, TIMES):
            return self._for_dates(tag)
        if "K" in codes:
            return Action.KEEP
        return Action.HASH if tag in HASHED else _fit(tag, entry.action)

    def keeps_unseen(self, tag: int, creator: str | None = None) -> bool:
        """Whether a rule of one's own keeps an attribute, whatever its values look like."""
        return self.own.get((tag, creator)) is Action.KEEP

    def for_column(self, column: pa.Field) -> Action:
        """What happens to a column of ``instances``.

        A column that bears no paths is unknown, and dropped, and so is one whose VR is not that of the dictionary, numbers
        aside: its values are not what the attribute promises.
        """
        metadata = column.metadata or {}
        if column.name in _SOURCE_NAMES and b"dicom.paths" not in metadata:
            default = Action.KEEP if column.name in _HARMLESS_SOURCE else Action.DROP
            return self.own_source.get(column.name, default)
        try:
            paths = [parse_path(text) for text in metadata[b"dicom.paths"].decode().split("\n")]
            vr = metadata[b"dicom.vr"].decode()
        except (KeyError, UnicodeDecodeError, ConfigError):
            return Action.DROP
        return max((self._for_path(path, vr) for path in paths), key=STRICTNESS.__getitem__)

    def _for_path(self, path: tuple[Step, ...], vr: str) -> Action:
        if any(self.for_attribute(step.tag, step.creator) is not Action.KEEP for step in path[:-1]):
            return Action.DROP
        last = path[-1]
        entry = None if last.creator else entry_for_tag(last.tag)
        if entry is not None and not _may_be(vr, entry.vrs):
            return Action.DROP
        return self.for_attribute(last.tag, last.creator)

    def _for_dates(self, tag: int) -> Action:
        """What happens to a date or time that the table does not name, or that is to be retained."""
        dated = _is_any(tag, DATES)
        if not self.retain & {"full_dates", "modified_dates"} or (not self.keep_times and not _is_any(tag, {"DA"})):
            return Action.DROP
        return Action.SHIFT if dated and "modified_dates" in self.retain else Action.KEEP


def _may_be(vr: str, vrs: Sequence[str]) -> bool:
    """Whether values of this VR are what such an attribute promises; a number is one in whichever VR it was written.

    ``EchoTime`` (DS) stands in functional groups as ``EffectiveEchoTime`` (FD).
    """
    return vr in vrs or (vr in NUMBERS and NUMBERS.issuperset(vrs))


def _is_any(tag: int, vrs: Iterable[str]) -> bool:
    entry = entry_for_tag(tag)
    return entry is not None and not set(entry.vrs).isdisjoint(vrs)


def _fit(tag: int, action: Action) -> Action:
    """No sequence can be made up, and a UID that says nothing is one that the key makes."""
    if action is Action.DUMMY and _is_any(tag, {"SQ"}):
        return Action.DROP
    if action is Action.DUMMY and _is_any(tag, {"UI"}):
        return Action.UID
    return action


# ---- from a configuration --------------------------------------------------------------------------------------------


def make_rules(retain: Iterable[str] = (), own: Mapping[str, str] | None = None, *, keep_times: bool = True) -> Rules:
    """Rules from names, as they stand in a configuration.

    Args:
        retain: of ``uids``, ``device``, ``institution``, ``patient``, ``full_dates``, ``modified_dates``.
        own: what comes before the table: a keyword, a tag such as ``(0008,103E)``, a private element such as
            ``(0019,"SIEMENS MR HEADER",0C)`` or a column such as ``source_uri``, with ``keep``, ``drop``, ``empty``,
            ``dummy``, ``hash`` or ``shift``.
        keep_times: whether times of day stay where dates do.

    Raises:
        ConfigError: an option, attribute or action is unknown, or does not fit the attribute.

    >>> make_rules(["device"], {"StudyDescription": "keep"}).for_attribute(0x00081030)
    <Action.KEEP: 'keep'>
    """
    options = frozenset(retain)
    if unknown := sorted(options - set(OPTIONS)):
        raise ConfigError(f"retain: {unknown[0]!r} is no option; there are {', '.join(OPTIONS)}")
    if {"full_dates", "modified_dates"} <= options:
        raise ConfigError("retain: full_dates and modified_dates exclude each other")
    attributes: dict[Attribute, Action] = {}
    sources: dict[str, Action] = {}
    for name, text in (own or {}).items():
        action = _parse_action(name, text)
        if name in _SOURCE_NAMES:
            sources[name] = _check_source(name, action)
        else:
            attributes[_parse_attribute(name, action)] = action
    return Rules(options, attributes, sources, keep_times)


def _parse_action(name: str, text: str) -> Action:
    if text not in _OWN_ACTIONS:
        raise ConfigError(f"rules: {name}: {text[:32]!r} is no action; there are {', '.join(_OWN_ACTIONS)}")
    return Action(text)


def _check_source(name: str, action: Action) -> Action:
    if action not in (Action.KEEP, Action.DROP):
        raise ConfigError(f"rules: {name}: can only be kept or dropped")
    return action


def _parse_attribute(name: str, action: Action) -> Attribute:
    if '"' in name:
        try:
            (step,) = parse_path(name)
        except (ConfigError, ValueError):
            raise ConfigError(f'rules: {name[:64]!r} is no private element; write (0019,"CREATOR",0C)') from None
        if action not in (Action.KEEP, Action.DROP, Action.EMPTY):
            raise ConfigError(f"rules: {name[:64]}: can be kept, dropped or emptied")
        return step.tag, step.creator
    tag = _parse_tag(name)
    _check_fit(name, tag, action)
    return tag, None


def _parse_tag(name: str) -> int:
    if found := _TAG.fullmatch(name):
        return int(found[1] + found[2], 16)
    entry = entry_for_keyword(name)
    if entry is None:
        near = difflib.get_close_matches(name[:64], (*keywords(), *_SOURCE_NAMES), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"rules: {name[:64]!r} is not a DICOM keyword{hint}")
    return entry.tag


def _check_fit(name: str, tag: int, action: Action) -> None:
    """A number has no pseudonym, a text no days, and no item can be made up."""
    entry = entry_for_tag(tag)
    if entry is None:
        if action not in (Action.KEEP, Action.DROP):
            raise ConfigError(f"rules: {name}: is not in the dictionary; it can be kept or dropped")
        return
    wanted = {Action.HASH: _TEXTS, Action.SHIFT: DATES}.get(action)
    if wanted is not None and not set(entry.vrs) <= wanted:
        what = "a pseudonym stands for a text" if action is Action.HASH else "days are added to a date (DA, DT)"
        raise ConfigError(f"rules: {name}: has VR {' or '.join(entry.vrs)}; {what}")
    if action is Action.DUMMY and "SQ" in entry.vrs:
        raise ConfigError(f"rules: {name}: is a sequence; no item can be made up: keep, drop or empty it")
