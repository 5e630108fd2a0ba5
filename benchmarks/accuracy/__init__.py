"""What every model is worth, on data that it was not trained on: `python -m benchmarks.accuracy`.

Where settings were chosen with an eye on such data, the figure's split says so: it flatters.

Each module with a `measure` knows one task; this package knows nothing of how the server uses them.
"""

from __future__ import annotations

import os

# Before numpy is imported: figures are of one thread, and BLAS would wake one per core.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
