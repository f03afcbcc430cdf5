"""Where files are.

    uri.py       path <-> uri, also for names that are not UTF-8
    source.py    what every kind of source offers; SOURCE texts of the user -> sources -> rows
    local.py     local files and trees

In: what the user named.  Out: RecordBatches of ``SOURCE_FILE_SCHEMA``, in an order that does not depend on the run.
Knows no DICOM: a file is a file whatever its name; whether it is DICOM is for ``header`` to say.
"""

from dicomflow.sources.local import LocalSource, code_for_os_error
from dicomflow.sources.source import Source, list_files
from dicomflow.uri import path_from_uri, uri_from_path

__all__ = ["LocalSource", "Source", "code_for_os_error", "list_files", "path_from_uri", "uri_from_path"]
