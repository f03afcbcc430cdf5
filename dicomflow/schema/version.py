"""The version of the layout of a dataset.

In: nothing.  Out: a constant.  Apart from the schemas, because whoever only opens a dataset needs none of them.
"""

from __future__ import annotations

FORMAT_VERSION = "2"
"""Version of the dataset's layout; raised when an older reader would misread it."""
