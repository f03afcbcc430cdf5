from dicomflow.header.paths import Hits, ScanTables
from dicomflow.header.scan_hits import HitNotes

class ElementWalk(HitNotes):
    offset: int
    needed: int
    stopped: bool  # the walk came to a stop tag
    elements: int
    last_tag: int  # the highest of the outermost data set
    def __init__(self, tables: ScanTables, hits: Hits, max_elements: int, max_depth: int) -> None: ...
