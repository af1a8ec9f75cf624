"""Freed memory is reused, and oneDNN keeps few layers, as they themselves report in a process of its own."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from residae.malloc import MAX_PRIMITIVES, PRIMITIVES

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="tunes glibc alone")
ROOT = Path(__file__).resolve().parent.parent
PRELUDE = """if True:
    import ctypes, resource, threading
    from residae import malloc

    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
"""


def _run(code: str, **environment: str) -> str:
    whole, settings = [sys.executable, "-c", PRELUDE + code], os.environ | environment
    settings.pop(PRIMITIVES, None)  # other tests run whole programs in this process
    return subprocess.run(whole, cwd=ROOT, env=settings, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("tune", [True, False])
def test_threads_share_two_arenas(tune: bool) -> None:
    """Twelve threads at the same time have two arenas, and without the setting one each."""
    report = _run(f"""
    if {tune}:
        malloc.tune_malloc()
    together = threading.Barrier(12)

    def work():
        together.wait()
        libc.malloc(1000)
        together.wait()

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
    libc.fflush(None)
    """)
    assert (report.count("<heap nr=") == 2) is tune


@pytest.mark.parametrize(
    ("megabytes", "tune", "kept"),
    [
        (28, "", False),
        (28, "malloc.tune_malloc()", True),
        (140, "malloc.tune_malloc()", False),
        (140, "malloc.tune_malloc(malloc.MAX_BYTES, malloc.MAX_BYTES)", True),
    ],
)
def test_tensors_reuse_the_pages_of_freed_ones(megabytes: int, tune: str, kept: bool) -> None:
    """28 MB is a tensor of a stage of the engine, 140 MB one of training; above the threshold pages are zeroed anew."""
    faults = _run(f"""
    {tune}

    def work():
        arrays = [libc.malloc({megabytes}_000_000) for _ in range(2)]
        for array in arrays:
            libc.memset(array, 1, {megabytes}_000_000)
        for array in arrays:
            libc.free(array)

    def count():
        for _ in range(3):
            work()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        work()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

    if {megabytes} > 32:  # more than the arena of a thread can hold
        count()
    else:
        thread = threading.Thread(target=count)
        thread.start()
        thread.join()
    """)
    assert (int(faults) < 100) is kept


@pytest.mark.parametrize(("call", "released"), [("malloc.release_free_memory(2**28)", True), ("", False)])
def test_gaps_between_tensors_are_released(call: str, released: bool) -> None:
    """20 freed tensors of 20 MB, with something in use between them: free, and of no use to a larger tensor."""
    fraction = _run(f"""
    import psutil

    malloc.tune_malloc()
    arrays = []
    for _ in range(20):
        arrays += [libc.malloc(20_000_000), libc.malloc(2_000_000)]
    for array in arrays[::2]:
        libc.memset(array, 1, 20_000_000)
    full = psutil.Process().memory_info().rss
    for array in arrays[::2]:
        libc.free(array)
    {call}
    print((full - psutil.Process().memory_info().rss) / 400_000_000)
    """)
    assert (float(fraction) > 0.9) is released
    assert released or float(fraction) < 0.1


def test_little_free_memory_is_kept() -> None:
    faults = _run("""
    malloc.tune_malloc()
    array = libc.malloc(20_000_000)
    libc.malloc(1000)
    libc.memset(array, 1, 20_000_000)
    libc.free(array)
    malloc.release_free_memory()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    libc.memset(libc.malloc(20_000_000), 1, 20_000_000)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    """)
    assert int(faults) < 100


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch was built without oneDNN")
@pytest.mark.parametrize(("call", "kept"), [("malloc.limit_primitive_cache()", False), ("", True)])
def test_layers_of_earlier_sizes_are_forgotten(call: str, kept: bool) -> None:
    """After layers of more sizes than are kept, that of the first size is compiled again."""
    report = _run(
        f"""
    {call}
    import torch

    for width in (20, *range(21, 21 + {MAX_PRIMITIVES}), 20):
        print("width", width, flush=True)
        torch.conv2d(torch.ones(16, 16, 20, width), torch.ones(16, 16, 3, 3), padding=1)
    """,
        ONEDNN_VERBOSE="2",
    )
    first, *_, last = report.split("width ")[1:]
    assert "create:cache_miss,cpu,convolution" in first
    assert ("create:cache_hit,cpu,convolution" in last) is kept
