"""Outcomes and errors are closed sets that users can rely on."""

import pickle

import pytest

from dicomflow import errors
from dicomflow.errors import Code, DicomflowError, IssueCode, Status, describe

EXCEPTIONS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, DicomflowError)]


def test_statuses_are_those_of_the_contract():
    """The design's list."""
    assert set(Status) == {"ok", "partial", "duplicate", "conflict", "failed", "not_dicom", "skipped", "removed"}


@pytest.mark.parametrize("kind", [Status, Code, IssueCode])
def test_members_are_plain_lower_case_texts(kind):
    """Their value is their name; they are written to Parquet as they are."""
    assert all(isinstance(one, str) and one.value == one.name.lower() for one in kind)


@pytest.mark.parametrize("kind", EXCEPTIONS)
def test_every_error_has_one_base_and_travels_between_processes(kind):
    """Dask pickles what a worker raises."""
    error = pickle.loads(pickle.dumps(kind("what to do")))
    assert type(error) is kind and isinstance(error, DicomflowError) and str(error) == "what to do"


def test_the_operating_system_s_words_are_one_line():
    """Errors without ``strerror``, as Arrow raises them, are described too."""
    assert describe(OSError(2, "No such file")) == "No such file"
    assert describe(OSError("first\nsecond")) == "first"
    assert describe(OSError()) == "failed"
