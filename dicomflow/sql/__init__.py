"""Ask SQL of Parquet files: what a query may do, where it runs, how its answer comes out.

In: files by the name of a table, a query of a stranger.  Out: record batches, or text in a format.  Knows no layout and no DICOM.

    check        does it only read?
    sandbox      DuckDB that sees these files and nothing else, in bounded memory
    faults       its errors, in one line that quotes no value of the data
    interrupt    Ctrl-C ends it
    expressions  columns as they have to be for JSON, CSV and Parquet
    output       an answer as CSV, JSON, NDJSON, Parquet
    named        the ready-made queries of the package
"""
