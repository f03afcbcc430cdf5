# C types of footer.py, where it is compiled: the walk over a schema of 160 columns is then a tenth of the time.

cimport cython

cpdef Py_ssize_t end_of_schema(bytes footer) except -1

@cython.locals(kind=int, step=int)
cpdef tuple find_i64(bytes data, Py_ssize_t at, int field, int wanted)

cpdef Py_ssize_t skip(bytes data, Py_ssize_t at, int kind, int depth) except -1

@cython.locals(index=Py_ssize_t, kind=int)
cdef Py_ssize_t _skip_list(bytes data, Py_ssize_t at, int depth) except -1

@cython.locals(head=int)
cdef Py_ssize_t _skip_struct(bytes data, Py_ssize_t at, int depth) except -1

cpdef Py_ssize_t expect(bytes data, Py_ssize_t at, int value) except -1

@cython.locals(head=int)
cpdef tuple read_list(bytes data, Py_ssize_t at)

cpdef tuple read_varint(bytes data, Py_ssize_t at)
