"""WhisperLive's server, in its own environment, as its README runs it with a model of one's own (`-fw`).

Its `run_server.py` is not in the package; this is what that does, without its command line. `max_clients` and
`max_connection_time` are raised from 4 and 600 s, which would refuse the third call; all cores are given to it by its
own `omp_num_threads` (its default is one).
"""

from __future__ import annotations

import os
import sys

cores = str(len(os.sched_getaffinity(0)))
os.environ["OMP_NUM_THREADS"] = cores

import counted  # noqa: E402

if __name__ == "__main__":
    port, weights, clients = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    counted.from_environment()
    from whisper_live.server import TranscriptionServer

    TranscriptionServer().run(
        "127.0.0.1",
        port=port,
        backend="faster_whisper",
        faster_whisper_custom_model_path=weights,
        single_model=True,
        max_clients=clients,
        max_connection_time=36_000,
    )
