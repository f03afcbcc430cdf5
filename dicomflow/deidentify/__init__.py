"""Take what identifies people out of rows of a dataset, after PS3.15 Annex E.

In: Arrow rows of ``instances``, rules, a key.  Out: rows of fewer columns, whose identifiers are gone or are pseudonyms.
Knows columns by the tags of their paths, never by their names; no files, no formats.

    profile   Table E.1-1 as data, and what holds for attributes that are not in it
    rules     the profile, the options, rules of one's own -> an Action for an attribute, for a column
    secret    the key: pseudonyms, UIDs and days that only its owner can make again
    values    actions on Arrow columns, each distinct value once
    items     the same for sequences, which are DICOM JSON
    table     a schema -> what happens to each of its columns; rows -> rows
"""

from dicomflow.deidentify.rules import Rules, make_rules
from dicomflow.deidentify.secret import Pseudonyms
from dicomflow.deidentify.table import Deidentifier, deidentify_table

__all__ = ["Deidentifier", "Pseudonyms", "Rules", "deidentify_table", "make_rules"]
