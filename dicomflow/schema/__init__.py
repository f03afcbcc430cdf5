"""What the dataset looks like: columns, profiles and Arrow schemas.

In: the DICOM dictionary, profiles in YAML.  Out: Columns and schemas.  Knows no files and no bytes.
"""
