"""From rows of ``instances`` to ``series``, ``studies`` and ``patients``.

    measure  rows of instances     -> one record each: attributes, numbers to add, limits, positions
    fold     neighbouring records  -> one, where they have the same key; as often as one likes
    geometry positions of series   -> spacing, gaps, duplicates
    tables   folded records        -> rows of a rollup

Pure: Arrow in, Arrow out.  Which parts are read, and where rows go, is ``dataset.rollups``.
"""
