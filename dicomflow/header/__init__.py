"""From the bytes of a header to values.  No I/O: whoever owns the file feeds bytes.

In: bytes, Columns.  Out: distinct raw values by column, and how to type them.  Knows no files, no Parquet, no Dask.

    vr         which VRs there are, by what they have in common
    paths      columns -> tables that the scanner walks;  trie: the wanted paths, merged
    scan       one header: where it begins, how it is encoded (compiled);  scan_walk: its elements;  scan_hits: what was found
    intern     keep each distinct value once (compiled)
    reader     header after header into a batch; asks pydicom where the walk cannot go on;  inflate: deflated data sets
    verdict    how a scan can end;  closing: which headers end too early, by their SOP Class
    decode     the raw value of a column;  values: one value -> typed, with its issues;  charset: text;  items: of each item
    vectors    many plain values at once
    tree       the whole header as a tree of elements (element, walk), for people and for DICOM JSON (dicom_json)
    fallback   pydicom;  plain: what stands in where nothing was compiled
"""
