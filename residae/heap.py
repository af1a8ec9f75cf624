"""How the process keeps the memory that it gets from the system."""

import ctypes
from contextlib import suppress

SETTINGS = {  # of mallopt, numbered as in malloc.h
    -8: 2,  # M_ARENA_MAX: heaps
    -3: 32 * 2**20,  # M_MMAP_THRESHOLD: bytes from which on an array comes from the system, and goes back to it
    -1: 256 * 2**20,  # M_TRIM_THRESHOLD: bytes that are kept, free, at the end of a heap
}


def settle() -> None:
    """Have glibc keep what tensors leave, in two heaps; to be called by a program before it has threads.

    Without, it gives memory back between layers and gets it again page by page, each filled with zeros: a sixth of an
    encoder's time, in a thread of its own. And it would give each thread a heap, where what pictures have left is kept:
    30 visitors made a page of 700 MB into one of 950 MB in two minutes.
    """
    with suppress(AttributeError, OSError, TypeError):  # on other systems
        for parameter, value in SETTINGS.items():
            ctypes.CDLL(None).mallopt(parameter, value)
