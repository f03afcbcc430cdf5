from dicomflow.header.paths import Hits, ScanTables

class Scanner:
    offset: int
    needed: int
    stop: int  # where the header ends
    stopped: bool  # ... at a stop tag
    whole: bool  # the walk came to its end, if need be in spite of broken sequences
    elements: int
    syntax_differs: bool
    repeated: bool
    remarkable: bool  # syntax_differs or repeated
    def __init__(self, tables: ScanTables, hits: Hits, max_elements: int, max_depth: int) -> None: ...
    def use_buffer(self, buffer: bytearray) -> None: ...
    def scan(self, size: int, at_end: bool, inflated: int = -1) -> int: ...
