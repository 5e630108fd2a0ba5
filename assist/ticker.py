"""One timer for what every call looks at now and then: a timer and a task of its own each cost more than the look.

It knows no call, only callables.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

TICK_S = 0.05


class Ticker:
    """Whoever follows is called every `TICK_S`, one after the other; with nobody there it rests."""

    def __init__(self) -> None:
        self._ticks: dict[asyncio.Future[None], Callable[[], bool]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def follow(self, tick: Callable[[], bool]) -> None:
        """Have `tick` called until it says False. What it raises is raised here, and concerns nobody else."""
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        self._ticks[over] = tick
        if self._timer is None:
            self._timer = loop.call_later(TICK_S, self._tick)
        try:
            await over
        finally:
            del self._ticks[over]
            if not self._ticks and self._timer:
                self._timer.cancel()
                self._timer = None

    def _tick(self) -> None:
        for over, tick in tuple(self._ticks.items()):
            if over.done():
                continue
            try:
                if not tick():
                    over.set_result(None)
            except Exception as error:
                over.set_exception(error)
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)
