"""WebRTC's voice activity detector: is there speech in these 20 ms?

It knows no call; its state (a running picture of the noise) belongs to one party, so each party has its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from assist.audio import FRAME_MS, RATE_HZ
from assist.errors import ModelMissing


def load(rate_hz: int = RATE_HZ, mode: Literal[0, 1, 2, 3] = 3) -> Callable[[bytes], bool]:
    """A new detector: 20 ms, mono, s16, at 8 or 16 kHz → is there speech. Call once per party.

    It judges 0 to 4 kHz, whatever it is given; at 16 kHz it halves the rate first.

    `mode` 3 is the strictest about what it calls speech; on telephone speech its tail after the true end of a word
    is the shortest. Raises ModelMissing where the library is not there: without it nothing is ever heard, so it is
    never replaced in silence. The detector raises ValueError for a frame of another size.
    """
    try:
        import webrtcvad
    except ImportError as error:
        # The original package imports pkg_resources, which setuptools no longer has; the wheels fork does not.
        raise ModelMissing(f"webrtcvad cannot be imported ({error}): pip install webrtcvad-wheels") from error
    is_speech = webrtcvad.Vad(mode).is_speech
    frame_bytes = 2 * rate_hz * FRAME_MS // 1000

    def voiced(pcm: bytes) -> bool:
        if len(pcm) != frame_bytes:
            raise ValueError(f"a frame of {len(pcm)} bytes where 20 ms are {frame_bytes}")
        return bool(is_speech(pcm, rate_hz))

    return voiced
