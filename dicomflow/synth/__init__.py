"""Synthetic studies: load for benchmarks, data for demonstrations and tests; repeatable by seed.

In: number of files, seed, share of faulty files, kinds.  Out: DICOM files on disk (``write_studies``) or in memory
(``iter_files``, ``make_series``).  Knows pydicom and the dictionary; nothing else of dicomflow.

    plan -> study (attributes, sites) -> draft (slices | projections | multiframe | documents)
         -> template -> corrupt -> write

All persons and hospitals are invented, all UIDs follow from the seed; two runs with one seed share UIDs.

>>> from dicomflow.synth import iter_files
>>> len(list(iter_files(files=5, seed=1)))
5
"""

from dicomflow.synth.corrupt import CORRUPTIONS
from dicomflow.synth.generate import SynthFile, iter_files, make_series
from dicomflow.synth.iods import KINDS
from dicomflow.synth.syntax import SYNTAXES
from dicomflow.synth.write import SynthSummary, write_studies

__all__ = [
    "CORRUPTIONS",
    "KINDS",
    "SYNTAXES",
    "SynthFile",
    "SynthSummary",
    "iter_files",
    "make_series",
    "write_studies",
]
