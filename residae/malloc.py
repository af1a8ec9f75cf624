"""Settings that bound the memory of a process: glibc's allocator and oneDNN's cache."""

import ctypes
import os
from contextlib import suppress

ARENA_MAX, MMAP_THRESHOLD, TRIM_THRESHOLD = -8, -3, -1  # of mallopt, as in malloc.h
MAX_BYTES = 2**31 - 1  # the largest value that mallopt takes
PRIMITIVES = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"  # read by oneDNN when it computes for the first time
MAX_PRIMITIVES = 256  # a picture in color needs about 200
MAX_FREE_BYTES = 512 * 2**20  # more than what one picture of 768 x 512 leaves, so that the next one reuses it


def tune_malloc(mmap_threshold: int = 32 * 2**20, trim_threshold: int = 256 * 2**20) -> None:
    """Let glibc reuse freed memory instead of returning it to the system. It does nothing on other systems.

    A program calls it before it starts threads. With glibc's defaults, memory is returned between layers and allocated
    again page by page, each filled with zeros, which takes a sixth of the time of an encoder that runs in a thread of
    its own, or of a training step. Threads share two arenas: with one for each, in which freed memory is kept,
    30 visitors let a page of 700 MB grow to 950 MB in two minutes.

    Args:
        mmap_threshold: Bytes from which an allocation is mapped and unmapped on its own.
        trim_threshold: Bytes of free memory that are kept at the end of an arena.
    """
    with suppress(AttributeError, OSError, TypeError):  # another system has no mallopt
        for parameter, value in {ARENA_MAX: 2, MMAP_THRESHOLD: mmap_threshold, TRIM_THRESHOLD: trim_threshold}.items():
            ctypes.CDLL(None).mallopt(parameter, value)


def limit_primitive_cache() -> None:
    """Let oneDNN keep at most MAX_PRIMITIVES compiled layers, unless the environment asks for another number.

    oneDNN compiles each layer for each size of picture, which takes less than a millisecond, and keeps 1,024 of them:
    30 visitors let a page of 660 MB grow to 930 MB in ten minutes. A program calls this before it uses torch.
    """
    os.environ.setdefault(PRIMITIVES, str(MAX_PRIMITIVES))


class _Statistics(ctypes.Structure):
    """The struct mallinfo2 of malloc.h."""

    _fields_ = [("others", 8 * ctypes.c_size_t), ("fordblks", ctypes.c_size_t), ("keepcost", ctypes.c_size_t)]


def release_free_memory(above: int = MAX_FREE_BYTES) -> None:
    """Return freed memory to the system where glibc (2.33 or newer) keeps much of it. It does nothing elsewhere.

    Pictures of many sizes leave gaps of many sizes, which later ones do not fill: in an evaluation at five rates, the
    process grew to 3 GB.

    Args:
        above: Bytes of free memory that are kept.
    """
    with suppress(AttributeError, OSError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallinfo2.restype = _Statistics
        if libc.mallinfo2().fordblks > above:
            libc.malloc_trim(0)
