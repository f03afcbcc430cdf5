# What ElementWalk has, and its C methods; described in scan_walk.py.

from dicomflow.header.scan_hits cimport HitNotes

# how a scan ends; ``header.verdict`` says it in words
cdef enum:
    OK = 0
    NEED_MORE = 1
    TRUNCATED = 2
    BAD_LENGTH = 3
    BAD_SEQUENCE = 4
    BAD_ELEMENT = 5
    LIMIT_ELEMENTS = 6
    LIMIT_DEPTH = 7
    EMPTY_FILE = 8
    NO_DICOM_HEADER = 9
    DICOMDIR = 10
    DEFLATED = 11
    UNREADABLE = 12

# bits of ``vr_flags``
cdef enum:
    KNOWN_VR = 1
    LONG_VR = 2  # two reserved bytes, then a 32-bit length (PS3.5 7.1.2)
    ITEMS_VR = 4  # SQ and UN: may hold items (PS3.5 6.2.2)
    UN_VR = 8
    FRAGMENTS_VR = 16  # of undefined length: fragments, not data sets (PS3.5 A.4)

cdef class ElementWalk(HitNotes):
    cdef bint at_end
    cdef int verdict
    cdef readonly long long offset
    cdef readonly long long needed
    cdef readonly bint stopped
    cdef readonly long long elements
    cdef readonly unsigned int last_tag
    cdef int fault  # the first one that did not end the walk
    cdef long long fault_offset
    cdef long long content_end
    cdef long long delimiter
    cdef long long max_elements
    cdef int max_depth
    cdef int[::1] node_lo
    cdef int[::1] node_hi
    cdef unsigned int[::1] entry_tag
    cdef int[::1] entry_child_lo
    cdef int[::1] entry_child_hi
    cdef int[::1] child_item
    cdef int[::1] child_node
    cdef unsigned char[::1] vr_flags
    cdef long long data_class_offset  # SOPClassUID of the data set
    cdef long long data_class_length

    cdef int _reset_walk(self) except -1
    cdef long long _walk(self, long long pos, long long end, int node, int level, int depth, bint implicit, bint big, int scope) except? -1
    cdef long long _end(self, long long pos, long long end, int depth, bint big) except? -1
    cdef bint _is_stop(self, long long pos, unsigned int tag, bint implicit) except -1
    cdef long long _cut(self, long long start, long long needed, long long end) except? -1
    cdef long long _skip_stray_item(self, long long start, bint big) except? -1
    cdef bint _tolerate(self, int found, int level) except -1
    cdef long long _undefined(self, long long start, long long value, long long end, int found, int level, int depth, bint implicit, bint big, int flags, int scope) except? -1
    cdef long long _items(self, long long pos, long long end, int found, int level, int depth, bint implicit, bint big, int flags, int scope) except? -1
    cdef long long _item(self, long long pos, long long end, int node, int level, int depth, bint implicit, bint big, int scope) except? -1
    cdef bint _only_zeros(self, long long pos) except -1
    cdef int _vr(self, long long start, int flags, int entry) except -1
    cdef int _search(self, unsigned int tag, int low, int high) except -1
    cdef int _child(self, int found, int item) except? -1
    cdef int _fail(self, int verdict, long long offset) except -9
    cdef long long _short(self, long long offset, long long needed) except? -1
    cdef unsigned int _u16(self, long long pos, bint big) except? 0xFFFFFFFF
    cdef unsigned int _u32(self, long long pos, bint big) except? 0xFFFFFFFF
    cdef int _flags(self, long long pos) except -2
    cdef bint _is_placeholder(self, long long pos) except -1
