"""How the process keeps the memory that it gets from the system."""

import ctypes
from contextlib import suppress

ARENA_MAX, MMAP_THRESHOLD, TRIM_THRESHOLD = -8, -3, -1  # parameters of mallopt, numbered as in malloc.h
EVERYTHING = 2**31 - 1  # bytes, the most that it takes


def tune_malloc(largest: int = 32 * 2**20, free: int = 256 * 2**20) -> None:
    """Have glibc keep what tensors of up to `largest` bytes leave, and `free` bytes at the end of a heap, in two heaps;
    to be called by a program before it has threads.

    Without, it gives memory back between layers and gets it again page by page, each filled with zeros: a sixth of an
    encoder's time, in a thread of its own, and of a training step. And it would give each thread a heap, where what
    pictures have left is kept: 30 visitors made a page of 700 MB into one of 950 MB in two minutes.
    """
    with suppress(AttributeError, OSError, TypeError):  # on other systems
        for parameter, value in {ARENA_MAX: 2, MMAP_THRESHOLD: largest, TRIM_THRESHOLD: free}.items():
            ctypes.CDLL(None).mallopt(parameter, value)
