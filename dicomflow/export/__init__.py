"""Write the rows of a dataset to a file of another format.

In: a dataset, a format.  Out: a file, whole or not at all.  What identifies people is taken out unless it is asked for.

    export      export_dataset(): the story
    rows        the rows of a dataset, batch by batch
    require     which rows lack what they must have
    parquet, csv_file, json_model    the formats
"""

FORMATS = ("ndjson", "json", "csv", "parquet")
"""Formats of a file; also how its name ends."""
