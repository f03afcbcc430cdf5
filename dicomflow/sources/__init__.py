"""Where files are.

    uri.py       path <-> uri, also for names that are not UTF-8
    source.py    what every kind of source offers; SOURCE texts of the user -> sources -> rows
    local.py     local files and trees
    archive.py   ZIP archives that are met there, and their members
    directory.py what a ZIP archive says of itself, within bounds
    member.py    where a member lies in its archive, as the text in the column ``etag``
    rows.py      all of these as rows

In: what the user named.  Out: RecordBatches of ``SOURCE_FILE_SCHEMA``, in an order that does not depend on the run.
Knows no DICOM: a file is a file whatever its name; whether it is DICOM is for ``header`` to say.
"""

from dicomflow.sources.local import LocalSource
from dicomflow.sources.rows import code_for_os_error
from dicomflow.sources.source import Source, list_files
from dicomflow.uri import path_from_uri, uri_from_path

__all__ = ["LocalSource", "Source", "code_for_os_error", "list_files", "path_from_uri", "uri_from_path"]
