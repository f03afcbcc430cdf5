"""What can go wrong, as data and as exceptions.

Expected faults of inputs are data: a ``Status`` and a ``Code`` in the ledger, an ``IssueCode`` beside a value.
An exception means that the run (or the call) cannot go on:

    DicomflowError
    ├── ConfigError          a configuration or column profile is wrong; names file, key and nearest valid key
    ├── SourceError          a SOURCE given by the user does not exist or cannot be listed at all
    │   └── StorageHangs     reads do not come back; a worker process can leave no more of them behind
    ├── DatasetError         DEST cannot be written, or is not what it should be
    │   ├── CommitFailed     nothing became visible; safe to run again
    │   ├── CommitStateUnknown   recorded, but not completed; the next run completes it
    │   └── DatasetLocked    another run is writing this dataset
    ├── ComputeError         the cluster cannot be reached, or was lost
    │   └── OutOfMemory      a task asked for memory that its process did not get; it is divided, as if its worker had died
    └── HeaderError          a single header asked for by name (``show``) cannot be read

Messages name the file, the tag, the offset and what to do; never the value of a data element.
"""

from __future__ import annotations

import os
from enum import StrEnum


class DicomflowError(Exception):
    """Base of every error that dicomflow raises on purpose."""


class ConfigError(DicomflowError):
    """A configuration file, option or column profile is not valid."""


class SourceError(DicomflowError):
    """A source named by the user does not exist or cannot be listed."""


class StorageHangs(SourceError):
    """Too many reads of a process do not come back: nothing that is on this storage can be read now."""


class DatasetError(DicomflowError):
    """The destination cannot be written or is not a dicomflow dataset."""


class CommitFailed(DatasetError):
    """Publishing failed before anything became visible: run again."""


class CommitStateUnknown(DatasetError):
    """A commit was recorded but could not be completed now; the next run completes it."""


class DatasetLocked(DatasetError):
    """Another run is writing to this dataset."""


class ComputeError(DicomflowError):
    """The Dask cluster cannot be reached or was lost."""


class OutOfMemory(ComputeError):
    """A task asked for memory that its process did not get."""


class HeaderError(DicomflowError):
    """One header that was asked for by name cannot be read."""


def describe(error: OSError) -> str:
    """What the operating system says, in one line; Arrow's errors carry no ``strerror``."""
    return error.strerror or (os.strerror(error.errno) if error.errno else (str(error).splitlines() or ["failed"])[0])


def first_line(error: BaseException) -> str:
    """What an exception of somebody else's says, cut short.

    >>> first_line(ValueError("one\\ntwo"))
    'one'
    """
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


class Status(StrEnum):
    """Outcome of one input; every input of a run has exactly one (the ``files`` table)."""

    OK = "ok"  # the header was read to its stop tag or the true end of the file
    PARTIAL = "partial"  # a row exists, but the header could not be read to its end
    DUPLICATE = "duplicate"  # same SOP Instance UID, same header as another file
    CONFLICT = "conflict"  # same SOP Instance UID, another header; full row in ``conflicts``
    FAILED = "failed"  # no row: could not be read
    NOT_DICOM = "not_dicom"  # no row: not a DICOM file by its content
    SKIPPED = "skipped"  # no row, on purpose
    REMOVED = "removed"  # was here in an earlier run, is gone now


class Code(StrEnum):
    """Why an input ended as it did; null in the ledger where ``status`` says it all."""

    # partial
    TRUNCATED = "truncated"  # the file ends inside an element
    ENDS_EARLY = (
        "ends_early"  # it ends after an element, before what its SOP Class requires: cut, or stripped of pixels
    )
    BAD_LENGTH = "bad_length"  # a length reaches past the sequence or item that holds it
    BAD_SEQUENCE = "bad_sequence"  # something other than an item stands in a sequence
    BAD_ELEMENT = "bad_element"  # no element can be read at this offset
    # partial or failed, by what was read before
    LIMIT_HEADER_BYTES = "limit_header_bytes"  # the header is longer than header.max_header_bytes
    LIMIT_ELEMENTS = "limit_elements"  # more data elements than header.max_elements
    LIMIT_DEPTH = "limit_depth"  # sequences nested deeper than header.max_depth
    LIMIT_INFLATED_BYTES = "limit_inflated_bytes"  # a deflated data set that grows beyond header.max_inflated_bytes
    TIMEOUT = "timeout"  # reading took longer than header.max_seconds; failed where a read did not come back at all
    INFLATE_ERROR = "inflate_error"  # the deflated data set (or member of an archive: failed, then) is damaged
    # failed
    MISSING_SOP_INSTANCE_UID = "missing_sop_instance_uid"  # neither in the data set nor in the file meta information
    UNREADABLE_HEADER = "unreadable_header"  # neither reader can make sense of it
    PERMISSION_DENIED = "permission_denied"  # the operating system does not let us read it
    NOT_FOUND = "not_found"  # listed, but gone when it was opened; or a dangling link
    IO_ERROR = "io_error"  # reading it failed, however often it was tried; the message is the operating system's
    WORKER_KILLED = "worker_killed"  # every worker that read it died, the last ones while they read nothing else
    OUT_OF_MEMORY = "out_of_memory"  # reading it asks for more memory than a process gets that reads nothing else
    NAME_TOO_LONG = "name_too_long"  # longer than the operating system takes
    BAD_ARCHIVE = "bad_archive"  # an archive that cannot be listed, or a member that is not where or what it should be
    ENCRYPTED = "encrypted"  # a member of an archive that asks for a password
    UNSUPPORTED_COMPRESSION = "unsupported_compression"  # a member of an archive, neither stored nor deflated
    # not_dicom
    EMPTY_FILE = "empty_file"  # no bytes at all
    NO_DICOM_HEADER = "no_dicom_header"  # neither DICM nor an element where a DICOM file begins
    # duplicate, conflict
    SAME_HEADER = "same_header"  # a copy: the same SOP Instance UID, the same header
    OTHER_HEADER = "other_header"  # the same SOP Instance UID with another header; the full row is in ``conflicts``
    # skipped
    DICOMDIR = "dicomdir"  # lists the instances of a medium, is none itself
    SPECIAL_FILE = "special_file"  # FIFO, socket, device: never opened
    ARCHIVE = "archive"  # its members are listed on their own; or it lies in an archive, and is not opened
    SYMLINK = "symlink"  # a symbolic link, and the configuration says not to follow


class IssueCode(StrEnum):
    """Why a value is null, or how it was read in spite of a fault (``instances.issues``)."""

    BAD_VALUE = "bad_value"  # not what the VR allows; null
    BAD_LENGTH = "bad_length"  # a binary value whose length is no multiple of its VR's size; null
    OUT_OF_RANGE = "out_of_range"  # does not fit the column's type; null
    NOT_FINITE = "not_finite"  # NaN or infinity; null
    NOT_INTEGRAL = "not_integral"  # a number with a fraction where an integer is due; null
    PARTIAL_PRECISION = "partial_precision"  # a DT (or range) with parts missing; null, the text is kept in raw
    UTC_OFFSET = "utc_offset"  # a DT with an offset; null, the text is kept in raw
    EXTRA_VALUES = "extra_values"  # more values than the VM allows; the first is kept
    INVALID_UID = "invalid_uid"  # not a UID by PS3.5 9.1; kept as found
    EMBEDDED_NUL = "embedded_nul"  # a NUL inside a text; kept as found
    CHARSET_UNKNOWN = "charset_unknown"  # SpecificCharacterSet has a term nobody defines
    CHARSET_UNDECLARED = "charset_undeclared"  # bytes beyond ASCII with no SpecificCharacterSet
    CHARSET_REPLACED = "charset_replaced"  # bytes that the declared set cannot decode were replaced
    REPEATED_TAG = "repeated_tag"  # the tag occurs more than once; the last one is kept
    TRANSFER_SYNTAX = "transfer_syntax"  # the data set is not encoded as declared; read as it is
    UID_FROM_FILE_META = "uid_from_file_meta"  # no SOPInstanceUID: MediaStorageSOPInstanceUID stands in
    INCOMPATIBLE_VR = "incompatible_vr"  # the VR in the file cannot be delivered as the column's type; null
