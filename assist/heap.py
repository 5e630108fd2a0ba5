"""What glibc's malloc keeps of memory that was freed. Other C libraries have no such settings and are left as they are.

Both calls are about the process that makes them alone.
"""

from __future__ import annotations

import contextlib
import ctypes
from typing import Final

M_ARENA_MAX: Final = -8  # malloc.h


def few_arenas() -> None:
    """Two heaps for all threads. glibc gives busy ones heaps of their own; of two, one may use what another freed."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)


def trim() -> None:
    """Give pages that nothing lives in back to the system. Other threads that allocate meanwhile wait, some 10 ms."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
