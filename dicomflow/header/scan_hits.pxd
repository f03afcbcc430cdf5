# What HitNotes has, and its C methods; described in scan_hits.py.

cdef enum:
    BIG_ENDIAN = 0x10000  # bit of ``hit_vr``: the value is big endian
    VR_SQ = 0x5351
    VR_UN = 0x554E

cdef class HitNotes:
    cdef unsigned char[::1] buf
    cdef long long size
    cdef readonly bint repeated
    cdef int[::1] entry_vr
    cdef int[::1] entry_leaf
    cdef int[::1] entry_own_lo
    cdef int[::1] entry_own_hi
    cdef int[::1] entry_leaf_lo
    cdef int[::1] entry_leaf_hi
    cdef int[::1] entry_list_lo
    cdef int[::1] entry_list_hi
    cdef int[::1] ambiguous
    cdef int[::1] own_list
    cdef int[::1] inner_list
    cdef int[::1] list_level
    cdef int[::1] list_ambiguous
    cdef int[::1] private_lo
    cdef int[::1] private_hi
    cdef int[::1] private_group
    cdef int[::1] private_low
    cdef int[::1] private_creator
    cdef int[::1] private_entry
    cdef list creators
    cdef int[:, :, ::1] owners
    cdef unsigned char[::1] owned  # by level: whether any block has an owner
    cdef bint keep_owners  # of the outermost data set, from the walk before
    cdef bint late_owner
    cdef bint is_cut  # the header breaks off
    cdef list guessed  # leaves whose VR is US because no PixelRepresentation says otherwise
    cdef int[::1] group_slot
    cdef long long[::1] hit_offset
    cdef long long[::1] hit_length
    cdef int[::1] hit_vr
    cdef int[::1] hit_scope
    cdef unsigned char[::1] hit_twice
    cdef int scopes
    cdef int[::1] scope_parent
    cdef long long[::1] scope_offset
    cdef long long[::1] scope_length
    cdef int[::1] scope_signed
    cdef long long[:, ::1] found
    cdef long long found_count
    cdef long long[::1] list_from  # the first row of ``found`` that counts
    cdef long long[::1] list_last  # the last one
    cdef long long[::1] list_items  # how many items the sequence has
    cdef int[::1] list_twice  # 1 where a value was replaced
    cdef long long[::1] item_at  # by level: which item is walked

    cdef int _reset_hits(self) except -1
    cdef int _hit(self, int entry, long long value, long long length, int vr, bint big, int scope) except -1
    cdef int _hit_in_list(self, int number, long long value, long long length, int vr, int scope) except -1
    cdef long long _which(self, int number) except -1
    cdef int _count_items(self, int found, int level, int items) except -1
    cdef int _forget_inner(self, int found, int level, bint repeated) except -1
    cdef int _new_scope(self, int parent) except? -1
    cdef int _close_scope(self, int scope, int parent, int found, long long before) except -1
    cdef int _charset_scope(self, int scope) except? -1
    cdef bint _is_signed(self, int scope) except -1
    cdef bint _is_told(self, int scope) except -1
    cdef int _choose_vr(self, int found, int scope) except -1
    cdef int _resolve_ambiguous(self) except -1
    cdef int _forget_owners(self, int level) except -1
    cdef int _private(self, int node, int level, unsigned int tag, long long value, long long length) except? -1
    cdef bint _is(self, long long offset, long long length, bytes text) except -1
    cdef int _find_rows(self, int number, long long[::1] rows) except -1
    cdef long long _fill_heads(self, int number, long long[::1] rows, unsigned int[:, ::1] heads, list charsets) except -1
    cdef int _copy_values(self, long long[::1] rows, unsigned int[:, ::1] heads, unsigned char[::1] out) except -1
