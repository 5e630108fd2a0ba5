"""What one call means: each final turn through the analysers, then to guidance and rules, in order.

It knows no audio but what analysers are given, and no socket. Threads do the thinking; one that hangs costs its call
a finding and nobody else anything.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from assist import analyse
from assist.analyse import Analyser
from assist.conversation import Conversation, Flag, Heard, Turn
from assist.events import AnyEvent, Faltered, Flagged, Noticed, Suggested
from assist.flag import Watch
from assist.suggest import Guidance, Guide, Mark

log = logging.getLogger("assist.mind")

T = TypeVar("T")
Publish = Callable[[AnyEvent, dict[str, float] | None], None]


class Thinkers:
    """Threads for models and guidance, shared by all calls: `slots` think at once, the others wait their turn.

    A thought that takes longer than `patience_s` raises TimeoutError and gives its slot back, its thread being lost
    to it; `spare` threads stand in. With all of them lost, further thoughts fail at once instead of waiting in vain.
    """

    def __init__(self, slots: int = 2, spare: int = 8, patience_s: float = 10.0) -> None:
        self.patience_s = patience_s
        self._spare = spare
        self._lost = 0
        self._slots = asyncio.Semaphore(slots)
        self._pool = ThreadPoolExecutor(slots + spare, thread_name_prefix="think")

    async def think(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises. Raises TimeoutError."""
        if self._lost > self._spare:
            raise TimeoutError("every thread is lost to a thought that never ended")
        async with self._slots:
            thought = self._pool.submit(work)
            try:
                async with asyncio.timeout(self.patience_s):
                    return await asyncio.shield(asyncio.wrap_future(thought))
            except TimeoutError:
                if not thought.done():
                    self._lost += 1
                    loop = asyncio.get_running_loop()
                    thought.add_done_callback(lambda _: _tell(loop, self._found))
                raise TimeoutError(f"no answer within {self.patience_s:g} s") from None

    def close(self) -> None:
        """Wait for nobody."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _found(self) -> None:
        self._lost -= 1


def _tell(loop: asyncio.AbstractEventLoop, found: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(found)


class Mind:
    """One call's. Give it final turns with `hear`, in order; `run` until `finish` was called and all are understood."""

    def __init__(
        self,
        call: str,
        analysers: Mapping[str, Analyser],
        guide: Guide,
        watch: Watch,
        thinkers: Thinkers,
        publish: Publish,
        now_ms: Callable[[], int],
    ) -> None:
        self.conversation = Conversation(call)
        self._analysers = analysers
        self._guide = guide
        self._watch = watch
        self._thinkers = thinkers
        self._publish = publish
        self._now_ms = now_ms
        self._turns: asyncio.Queue[tuple[Heard, dict[str, float]] | None] = asyncio.Queue()
        self._stuck = False

    def hear(self, heard: Heard, latency_ms: dict[str, float]) -> None:
        """A final turn with words in it, just published; `latency_ms` is that entry's."""
        self._turns.put_nowait((heard, latency_ms))

    def finish(self) -> None:
        """No more turns."""
        self._turns.put_nowait(None)

    async def run(self) -> None:
        """Understand turn after turn."""
        while (item := await self._turns.get()) is not None:
            heard, latency_ms = item
            began = time.perf_counter()
            turn = await self._judge(heard, latency_ms, began)
            self.conversation = self.conversation.with_turn(turn)
            await self._advise(turn, latency_ms, began)

    def marked(self, ref: str, mark: Mark) -> None:
        """What the agent did with a suggestion: it need not come again."""
        self._guide.marked(ref, mark)

    def last_flags(self, duration_ms: int) -> list[Flag]:
        """What is only known at the end. Never raises."""
        try:
            return self._watch.ended(self.conversation, duration_ms)
        except Exception as error:  # a rule that fails must not keep the call from ending
            self._falter("flag", "flag_failed", repr(error)[:300], "")
            return []

    async def _judge(self, heard: Heard, latency_ms: dict[str, float], began: float) -> Turn:
        so_far, utterance = self.conversation, heard.transcript.utterance
        try:
            findings, faltered = await self._thinkers.think(lambda: analyse.run(self._analysers, heard, so_far))
        except TimeoutError as error:
            self._falter("mind", "timeout", str(error), utterance)
            return Turn(heard.transcript)
        for each in faltered:
            self._falter(each.part, each.code, each.message, each.utterance)
        if findings:
            took_ms = _since_ms(began)
            total = {"analyse": took_ms, "total": round(latency_ms["final"] + took_ms, 1)}
            self._publish(Noticed(utterance, heard.transcript.party, findings), total)
        return Turn(heard.transcript, findings)

    async def _advise(self, turn: Turn, latency_ms: dict[str, float], began: float) -> None:
        utterance = turn.transcript.utterance
        if self._stuck:  # its thread still thinks of an earlier turn, and two must not share one guide
            return self._falter("suggest", "timeout", "guidance still hangs on an earlier turn", utterance)
        at_ms, so_far = self._now_ms(), self.conversation

        def advise() -> tuple[Guidance, list[Flag]]:
            try:
                return self._guide.after(so_far), self._watch.after(so_far, at_ms)
            finally:
                self._stuck = False

        try:
            guidance, flags = await self._thinkers.think(advise)
        except TimeoutError as error:
            self._stuck = True
            return self._falter("suggest", "timeout", str(error), utterance)
        except Exception as error:  # guidance reads anybody's knowledge base: the transcript must go on without it
            return self._falter("suggest", "suggest_failed", repr(error)[:300], utterance)
        took_ms = _since_ms(began)
        total = {"suggest": took_ms, "total": round(latency_ms["final"] + took_ms, 1)}
        if guidance.suggestions:
            self._publish(Suggested(utterance, tuple(guidance.suggestions)), total)
        if guidance.moved:
            self._publish(guidance.moved, None)
        for flag in flags:
            self._publish(Flagged(flag), None)

    def _falter(self, part: str, code: str, message: str, utterance: str) -> None:
        self._publish(Faltered(part, code, message, utterance), None)


def _since_ms(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 1)
