"""RealtimeSTT's multi-user server, in its own environment, as its README runs it; arguments are its own."""

from __future__ import annotations

import sys
import types

import counted

if __name__ == "__main__":
    # PortAudio has no wheels for Linux; a server that is fed never opens a microphone.
    sys.modules["pyaudio"] = types.SimpleNamespace(paInt16=8)  # type: ignore[assignment]
    counted.from_environment()
    from example_fastapi_server.server import main

    main(sys.argv[1:])
