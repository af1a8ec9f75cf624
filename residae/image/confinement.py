"""Confine this process to computing on Linux: it keeps the files it has open, and can neither reach nor start anything.

A seccomp filter lets through the system calls that decoding needs, and fails all others with EPERM. It needs no
privileges, also holds for root, and cannot be lifted.
"""

import ctypes
import errno
import os
import struct
import sys

PR_SET_DUMPABLE, PR_SET_NAME, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 4, 15, 22, 38
FILTER = 2  # SECCOMP_MODE_FILTER
CLONE_THREAD = 0x10000

ALLOW, FAIL = 0x7FFF0000, 0x00050000  # SECCOMP_RET_ALLOW, and SECCOMP_RET_ERRNO with the number of an error
LOAD, AND, EQUAL, RETURN = 0x20, 0x54, 0x15, 0x06  # of classic BPF, on 32-bit words
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16  # places in struct seccomp_data

# What Python, its memory, its clocks and its threads need, and reading and writing what is open already.
CALLS = {
    "x86_64": {
        "read": 0, "write": 1, "close": 3, "fstat": 5, "lseek": 8, "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12,
        "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "readv": 19, "writev": 20, "sched_yield": 24,
        "mremap": 25, "madvise": 28, "nanosleep": 35, "getitimer": 36, "setitimer": 38, "getpid": 39, "exit": 60,
        "gettimeofday": 96, "getrusage": 98, "sysinfo": 99, "sigaltstack": 131, "gettid": 186, "futex": 202,
        "sched_getaffinity": 204, "restart_syscall": 219, "clock_gettime": 228, "clock_getres": 229,
        "clock_nanosleep": 230, "exit_group": 231, "set_robust_list": 273, "getrandom": 318, "membarrier": 324,
        "rseq": 334,
    },
    "aarch64": {
        "read": 63, "write": 64, "close": 57, "fstat": 80, "lseek": 62, "mmap": 222, "mprotect": 226, "munmap": 215,
        "brk": 214, "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139, "readv": 65, "writev": 66,
        "sched_yield": 124, "mremap": 216, "madvise": 233, "nanosleep": 101, "getitimer": 102, "setitimer": 103,
        "getpid": 172, "exit": 93, "gettimeofday": 169, "getrusage": 165, "sysinfo": 179, "sigaltstack": 132,
        "gettid": 178, "futex": 98, "sched_getaffinity": 123, "restart_syscall": 128, "clock_gettime": 113,
        "clock_getres": 114, "clock_nanosleep": 115, "exit_group": 94, "set_robust_list": 99, "getrandom": 278,
        "membarrier": 283, "rseq": 293,
    },
}  # fmt: skip
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # AUDIT_ARCH of each
CLONE, PRCTL = {"x86_64": 56, "aarch64": 220}, {"x86_64": 157, "aarch64": 167}
CLONE3 = 435  # whose arguments a filter cannot see: the C library takes clone instead where this one is not known


class _Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def confine() -> bool:
    """Confine this process and the threads that it starts, for as long as it lives.

    What has not been imported yet cannot be any more.

    Returns:
        Whether the kernel does it: not outside Linux on x86-64 and ARM64, nor where seccomp is missing.
    """
    if sys.platform != "linux" or (machine := os.uname().machine) not in CALLS:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    instructions = ctypes.create_string_buffer(code := filter_of(machine), len(code))
    program = _Program(len(code) // 8, ctypes.cast(instructions, ctypes.c_void_p))
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)  # nobody of the same user reads the picture out of this process
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):  # without which a filter needs privileges
        return False
    return not libc.prctl(PR_SET_SECCOMP, FILTER, ctypes.byref(program), 0, 0)


def filter_of(machine: str) -> bytes:
    """The filter as instructions of classic BPF: each is a code, two jumps and a value.

    Args:
        machine: `x86_64` or `aarch64`, as `os.uname` calls it.
    """
    fail = FAIL | errno.EPERM

    def step(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
        return struct.pack("<HBBI", code, then, otherwise, value)

    def only_with(call: int, mask: int, value: int) -> bytes:
        """Allow a call where its first argument, masked, has this value."""
        body = step(LOAD, FIRST_ARGUMENT) + step(AND, mask)
        body += step(EQUAL, value, 0, 1) + step(RETURN, ALLOW) + step(RETURN, fail)
        return step(EQUAL, call, 0, len(body) // 8) + body

    program = step(LOAD, ARCHITECTURE) + step(EQUAL, AUDIT[machine], 1, 0) + step(RETURN, fail) + step(LOAD, NUMBER)
    for call in sorted(CALLS[machine].values()):
        program += step(EQUAL, call, 0, 1) + step(RETURN, ALLOW)
    program += only_with(CLONE[machine], CLONE_THREAD, CLONE_THREAD)
    program += only_with(PRCTL[machine], 0xFFFFFFFF, PR_SET_NAME)  # threads are given names
    program += step(EQUAL, CLONE3, 0, 1) + step(RETURN, FAIL | errno.ENOSYS)
    return program + step(RETURN, fail)
