"""Where the dataset lives: its layout, writing DataFiles, making a run's files visible, opening it.

In: typed rows, ScanResults.  Out: Parquet that any reader reads exactly.  Knows no DICOM bytes and no Dask.
"""
