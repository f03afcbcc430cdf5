"""pydicom as oracle: what dicomflow must read, and by which rules of the standard it may read otherwise.

``files`` finds what is compared, ``expected`` says what pydicom holds for a column, ``columns`` compares a row with it,
``model`` the DICOM JSON Model.  A difference is a failure but for a rule that has a name, a section of the standard and a
check of its own; no rule ever excuses a file.
"""
