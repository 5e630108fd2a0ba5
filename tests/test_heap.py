"""What a process gives back of the memory that it has freed."""

import os
import platform
import subprocess
import sys

import pytest

from benchmarks.report import ROOT

FREED = """
import sys
from pathlib import Path
from assist import heap

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

if "few" in sys.argv:
    heap.few_arenas()
held = [bytes(10_000) for _ in range(20_000)]
full = resident_mb()
last = held[-1]  # lies above the others and keeps the heap from shrinking by itself
del held
freed = resident_mb()
heap.trim()
print(full, freed, resident_mb())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="NOT TESTED: giving memory back, which only glibc can")
@pytest.mark.parametrize("few", [True, False])
def test_what_was_freed_goes_back_to_the_system(few: bool) -> None:
    asked = [sys.executable, "-c", FREED, *(["few"] if few else [])]
    said = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True, env=dict(os.environ)).stdout
    full_mb, freed_mb, trimmed_mb = map(float, said.split())
    assert freed_mb > full_mb - 20, "malloc keeps it: without that there is nothing to see here"
    assert trimmed_mb < full_mb - 150
