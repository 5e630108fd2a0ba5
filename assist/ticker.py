"""One timer for what every call looks at now and then: a timer and a task of its own each cost more than the look.

It knows no call, only callables.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

TICK_S = 0.05
SLICES = 10
"""Whoever follows is called in so many groups, one after the other over `TICK_S`: all at once would keep the loop."""


class Ticker:
    """Whoever follows is called every `TICK_S`; with nobody there it rests."""

    def __init__(self) -> None:
        self._slices = [_Slice((n + 1) / SLICES) for n in range(SLICES)]

    async def follow(self, tick: Callable[[], bool]) -> None:
        """Have `tick` called until it says False. What it raises is raised here, and concerns nobody else."""
        await min(self._slices, key=len).follow(tick)

    @property
    def resting(self) -> bool:
        """No timer runs."""
        return not any(each.timer for each in self._slices)


class _Slice:
    """Some of those who follow. `phase`: of `TICK_S`, how long after the first has come."""

    def __init__(self, phase: float) -> None:
        self._phase = phase
        self._ticks: dict[asyncio.Future[None], Callable[[], bool]] = {}
        self.timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._ticks)

    async def follow(self, tick: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        self._ticks[over] = tick
        if self.timer is None:
            self.timer = loop.call_later(TICK_S * self._phase, self._tick)
        try:
            await over
        finally:
            del self._ticks[over]
            if not self._ticks and self.timer:
                self.timer.cancel()
                self.timer = None

    def _tick(self) -> None:
        for over, tick in tuple(self._ticks.items()):
            if over.done():
                continue
            try:
                if not tick():
                    over.set_result(None)
            except Exception as error:
                over.set_exception(error)
        self.timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)
