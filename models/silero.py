"""Silero VAD v6, from the ONNX file that ships inside faster-whisper: is anybody still speaking at the end of this?

It knows no call and no segmenter, and it keeps nothing between calls: each brings its own half second of past.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np

from assist.audio import RATE_HZ, Samples
from assist.errors import ModelMissing

SHA256: Final = "4cbf549b8326f60f80f2536d9eefeb450a9abe83365a098031c89719f1be17d2"
CHUNK: Final = 512  # samples the model judges at once: 32 ms
CONTEXT: Final = 64  # samples of the chunk before that it looks back at
JUDGED: Final = 8  # last chunks whose maximum is the answer: 256 ms


def load() -> Callable[[Samples], float]:
    """A callable: int16 samples, shape (n,), 16 kHz → probability 0..1 that speech goes on at their end.

    The answer is the highest of the last 256 ms; what comes before warms up the model's memory (half a second is
    enough). In clean synthetic speech it falls below 0.5 some 300 ms after the last sound. Thread-safe, stateless,
    one thread. Raises ModelMissing where onnxruntime or the file is not there, or the file is damaged.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelMissing(f"onnxruntime cannot be imported, so Silero VAD cannot run: {error}") from error
    package = find_spec("faster_whisper")
    home = Path(package.origin).parent if package and package.origin else Path()
    path = home / "assets" / "silero_vad_v6.onnx"
    mend = "install it anew: pip install --force-reinstall --no-deps faster-whisper==1.2.1"
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ModelMissing(f"silero_vad_v6.onnx is not in the installed faster-whisper: {mend}") from error
    if hashlib.sha256(raw).hexdigest() != SHA256:
        raise ModelMissing(f"{path} is damaged or another version ({len(raw)} bytes): {mend}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # the inputs are tiny and the arena would never be given back
    session = onnxruntime.InferenceSession(raw, sess_options=options, providers=["CPUExecutionProvider"])
    blank = np.zeros((1, 1, 128), dtype=np.float32)

    def still_speaking(samples: Samples) -> float:
        count = len(samples) // CHUNK
        if not count:  # less than one chunk (or nothing at all): judged after silence
            if not len(samples):
                return 0.0
            samples = np.concatenate((np.zeros(CHUNK - len(samples), np.int16), samples))
            count = 1
        sound = np.zeros(CONTEXT + count * CHUNK, dtype=np.float32)
        sound[CONTEXT:] = samples[-count * CHUNK :]
        sound /= 32768
        chunks = np.lib.stride_tricks.sliding_window_view(sound, CONTEXT + CHUNK)[::CHUNK]
        said = session.run(["speech_probs"], {"input": np.ascontiguousarray(chunks), "h": blank, "c": blank})[0]
        return float(np.clip(said.ravel()[-JUDGED:].max(), 0.0, 1.0))

    still_speaking(np.zeros(RATE_HZ // 2, np.int16))  # the first run allocates
    return still_speaking
