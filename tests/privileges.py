"""What root may and others may not, taken away: files' permissions hold for root's tests, too."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_VERSION = 0x20080522  # of the system call: two words of each kind
_OVERRIDE, _READ_SEARCH = 1 << 1, 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


@contextmanager
def permissions_hold() -> Iterator[None]:
    """In this thread nothing is read or written but what its permissions allow."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION, 0)  # 0: this thread
    had = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; the same of the upper half
    assert libc.capget(header, had) == 0
    left = (ctypes.c_uint32 * 6)(*had)
    left[0] &= ~(_OVERRIDE | _READ_SEARCH)
    assert libc.capset(header, left) == 0
    try:
        yield
    finally:
        assert libc.capset(header, had) == 0
