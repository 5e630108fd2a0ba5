"""What every model is worth, measured on data that it has not seen: `python -m benchmarks.accuracy`.

Each module with a `measure` knows one task; this package knows nothing of how the server uses them.
"""

from __future__ import annotations

import os

# Before numpy is imported: figures are of one thread, and BLAS would wake one per core.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
