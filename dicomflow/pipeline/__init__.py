"""The story of a run: list, compare, plan, read, publish, summarise.

In: SOURCEs, DEST, settings.  Out: a dataset, a ``RunSummary``.

    extraction  extract(), add_columns(): what users call
    compaction  compact(): merge the small parts of a dataset
    run         the stages in their order
    reading     tasks onto a cluster, what becomes of each
    stages      wall seconds by stage
"""

from dicomflow.pipeline.compaction import compact
from dicomflow.pipeline.extraction import add_columns, extract
from dicomflow.watch import Progress

__all__ = ["Progress", "add_columns", "compact", "extract"]
