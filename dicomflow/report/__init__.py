"""Say what was found: the summary of a run, the header of a file.  Numbers first, then rendering.

In: a RunSummary, the path of a file.  Out: what ``rich`` can print.  Knows no commands and no options.
"""
