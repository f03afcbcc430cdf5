"""From the bytes of a header to values.  No I/O: whoever owns the file feeds bytes.

In: bytes, Columns.  Out: distinct raw values by column, and how to type them.  Knows no files, no Parquet, no Dask.

    vr         which VRs there are, by what they have in common
    paths      columns -> tables that the scanner walks
    scan       walk one header, note where each wanted value lies (compiled)
    intern     keep each distinct value once (compiled)
    reader     header after header into a batch; asks pydicom where the walk cannot go on;  inflate: deflated data sets
    values     one raw value -> a typed value and its issues;  charset: text;  vectors: many plain values at once
    tree       the whole header as a tree of elements (element, walk), for people and for DICOM JSON (dicom_json)
    fallback   pydicom;  plain: what stands in where nothing was compiled
"""
