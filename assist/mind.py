"""What one call means: each final turn through the analysers, then to guidance and rules, in order; eager finals ahead.

It knows no audio but what analysers are given, and no socket. Threads do the thinking; one that hangs costs its call
a finding and nobody else anything.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar

from msgspec.structs import replace

from assist import analyse
from assist.analyse import Analyser
from assist.audio import Party
from assist.conversation import Conversation, Flag, Heard, Turn, exchanged
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

    @property
    def idle(self) -> bool:
        """A slot is free: who only thinks ahead takes none from whom somebody waits for."""
        return not self._slots.locked()

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


class Exchange:
    """Stands between two turns where roles were put right."""


def _exchanged(conversation: Conversation) -> Conversation:
    turns = (
        Turn(
            replace(turn.transcript, party=exchanged(turn.transcript.party)),
            tuple(finding for finding in turn.findings if finding.analyser not in analyse.BY_SOUND),
        )
        for turn in conversation.turns
    )
    return Conversation(conversation.call, tuple(turns), conversation.written)


class Advice(NamedTuple):
    """What follows from a turn, None where that went wrong, and what went wrong."""

    guidance: Guidance | None
    flags: Sequence[Flag] | None
    faltered: Sequence[Faltered]


class Thought:
    """One turn on top of what was said before it: what it means and what follows, found out in the background.

    It works on forks of guide and watch, so that nothing is changed by a thought that hangs or that nobody takes up.
    """

    def __init__(self, heard: Heard, so_far: Conversation, guide: Guide, watch: Watch) -> None:
        self.heard = heard
        self.so_far = so_far
        self.root = guide
        self.guide, self.watch = guide.fork(), watch.fork()
        self.turn: asyncio.Future[tuple[Turn, tuple[Faltered, ...]]] = asyncio.get_running_loop().create_future()
        self.advice: asyncio.Future[Advice] = asyncio.get_running_loop().create_future()


@dataclass
class Eager:
    """An eager final of one party: whether its cards may be shown before it is confirmed, and what is thought of it.

    `ready`: to be called when it has been thought through. `before`: the guide on top of which its cards were shown;
    None: they were not.
    """

    heard: Heard
    show: bool
    ready: Callable[[], None]
    thought: Thought | None = None
    before: Guide | None = None


class Mind:
    """One call's. Give it final turns with `hear`, in order; `run` until `finish` was called and all are understood.

    Eager finals may be given with `consider`: they are thought through at once and their cards shown. When the same
    words are heard as a final, and nothing else came between, the thought is taken up as it is.
    """

    def __init__(
        self,
        call: str,
        analysers: Mapping[str, Analyser],
        guide: Guide,
        watch: Watch,
        thinkers: Thinkers,
        publish: Publish,
        now_ms: Callable[[], int],
        written: bool = False,
    ) -> None:
        self.conversation = Conversation(call, written=written)
        self._analysers = analysers
        self._guide = guide
        self._watch = watch
        self._thinkers = thinkers
        self._publish = publish
        self._now_ms = now_ms
        self._turns: asyncio.Queue[tuple[Heard, dict[str, float]] | Exchange | None] = asyncio.Queue()
        self._eager: dict[Party, Eager] = {}
        self._working = False
        self._void: list[tuple[Guide, Guide]] = []  # cards taken back while a turn is understood on top of them
        self._tasks: set[asyncio.Task[None]] = set()

    def hear(self, heard: Heard, latency_ms: dict[str, float]) -> None:
        """A final turn with words in it, just published; `latency_ms` is that entry's."""
        self._turns.put_nowait((heard, latency_ms))

    def exchange(self) -> list[str]:
        """Whoever was heard before as the agent is the customer, and the reverse (`RolesSwapped` says so).

        Eager finals are void with what was thought of them: their utterances are returned.
        """
        void = [eager.heard.transcript.utterance for eager in self._eager.values()]
        for utterance in void:
            self.withdraw(utterance)
        self._turns.put_nowait(Exchange())
        return void

    def consider(self, heard: Heard, *, show: bool, ready: Callable[[], None]) -> None:
        """An eager final. `show`: it is likely enough that its cards need not wait for the final.

        `ready` is called when it has been thought through and its cards stand, or at once where nobody has time for it.
        """
        eager = self._eager[heard.transcript.party] = Eager(heard, show, ready)
        self._look_ahead()
        if eager.thought is None:
            ready()

    def withdraw(self, utterance: str) -> None:
        """The eager final of this utterance is void, and so are cards that it has brought (`Withdrawn` says so)."""
        for party, eager in tuple(self._eager.items()):
            if eager.heard.transcript.utterance == utterance:
                del self._eager[party]
                if eager.before and eager.thought:
                    if self._working:
                        self._void.append((eager.thought.guide, eager.before))
                    self._guide = self._guide.having_taken_back(eager.thought.guide, eager.before)
                    self._look_ahead()

    def finish(self) -> None:
        """No more turns."""
        self._turns.put_nowait(None)

    async def run(self) -> None:
        """Understand turn after turn."""
        while (item := await self._turns.get()) is not None:
            self._working = True
            if isinstance(item, Exchange):
                self.conversation = _exchanged(self.conversation)
            else:
                await self._understand(*item)
            self._working = False
            self._look_ahead()
        self._eager.clear()  # nothing is shown after the end

    def marked(self, ref: str, mark: Mark) -> None:
        """What the agent did with a suggestion: it need not come again."""
        self._guide.marked(ref, mark)

    def last_flags(self, duration_ms: int) -> list[Flag]:
        """What is only known at the end. Never raises."""
        try:
            return self._watch.ended(self.conversation, duration_ms)
        except Exception as error:  # a rule that fails must not keep the call from ending
            self._publish(Faltered("flag", "flag_failed", repr(error)[:300], ""), None)
            return []

    async def _understand(self, heard: Heard, latency_ms: dict[str, float]) -> None:
        began = time.perf_counter()

        def total(stage: str) -> dict[str, float]:
            took_ms = round((time.perf_counter() - began) * 1000, 1)
            return {stage: took_ms, "total": round(latency_ms["final"] + took_ms, 1)}

        said = heard.transcript
        eager = self._eager.get(said.party)
        if eager and eager.heard.transcript.utterance == said.utterance:
            del self._eager[said.party]
        self._void.clear()
        shown = False
        same = eager is not None and (eager.heard.transcript, eager.heard.alone) == (said, heard.alone)
        if same and eager and eager.thought and self._holds(eager.thought):
            thought, shown = eager.thought, eager.before is not None
        else:
            thought = self._think(heard)
        turn, faltered = await thought.turn
        for each in faltered:
            self._publish(each, None)
        if turn.findings:
            self._publish(Noticed(said.utterance, said.party, turn.findings), total("analyse"))
        self.conversation = thought.so_far.with_turn(turn)
        advice = await thought.advice
        for fault in advice.faltered:
            self._publish(fault, None)
        if advice.guidance is not None:
            self._go_on_with(thought.guide)
            if advice.guidance.suggestions and not shown:
                self._publish(Suggested(said.utterance, advice.guidance.suggestions), total("suggest"))
            if advice.guidance.moved:
                self._publish(advice.guidance.moved, None)
        if advice.flags is not None:
            self._watch = thought.watch
            for flag in advice.flags:
                self._publish(Flagged(flag), None)

    def _go_on_with(self, guide: Guide) -> None:
        """Less the cards that were taken back while it was at work."""
        self._guide = guide
        for ahead, before in self._void:
            self._guide = self._guide.having_taken_back(ahead, before)

    def _holds(self, thought: Thought) -> bool:
        """Nothing has been heard or shown since it was begun."""
        return thought.so_far is self.conversation and thought.root is self._guide

    def _look_ahead(self) -> None:
        """Think through eager finals, unless a final is being understood, after which everything is different."""
        if self._working or not self._turns.empty() or not self._thinkers.idle:
            return
        for eager in self._eager.values():
            if not eager.before and (eager.thought is None or not self._holds(eager.thought)):
                thought = eager.thought = self._think(eager.heard)
                thought.advice.add_done_callback(partial(self._show_ahead, eager, thought))

    def _show_ahead(self, eager: Eager, thought: Thought, done: asyncio.Future[Advice]) -> None:
        said = eager.heard.transcript
        current = self._eager.get(said.party) is eager and eager.thought is thought and self._holds(thought)
        if self._working or not current:  # a turn that is being understood forgets what is shown meanwhile
            return
        advice = None if done.cancelled() or done.exception() else done.result()
        suggestions = advice.guidance.suggestions if advice and advice.guidance else ()
        if suggestions and eager.show:
            eager.before = self._guide
            thought.root = self._guide = self._guide.having_shown(thought.guide)
            since_end_ms = float(max(0, self._now_ms() - said.end_ms))
            self._publish(Suggested(said.utterance, suggestions), {"eager": since_end_ms})
            self._look_ahead()  # what the other party is thought to have said now stands on top of these cards
        eager.ready()

    def _think(self, heard: Heard) -> Thought:
        thought = Thought(heard, self.conversation, self._guide, self._watch)
        task = asyncio.create_task(self._work(thought))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return thought

    async def _work(self, thought: Thought) -> None:
        try:
            turn, faltered = await self._judged(thought)
            thought.turn.set_result((turn, faltered))
            thought.advice.set_result(await self._advised(thought, turn))
        except Exception as error:  # a bug of ours: whoever waits must hear of it, and nobody may be left to
            for waited in (thought.turn, thought.advice):
                if not waited.done():
                    waited.set_exception(error)
                    waited.exception()

    async def _judged(self, thought: Thought) -> tuple[Turn, tuple[Faltered, ...]]:
        heard = thought.heard
        try:
            findings, faltered = await self._thinkers.think(lambda: analyse.run(self._analysers, heard, thought.so_far))
        except TimeoutError as error:
            return Turn(heard.transcript), (Faltered("mind", "timeout", str(error), heard.transcript.utterance),)
        return Turn(heard.transcript, findings), faltered

    async def _advised(self, thought: Thought, turn: Turn) -> Advice:
        at_ms, with_it, utterance = self._now_ms(), thought.so_far.with_turn(turn), turn.transcript.utterance
        faltered: list[Faltered] = []

        async def of(part: str, work: Callable[[], T]) -> T | None:
            try:
                return await self._thinkers.think(work)
            except TimeoutError as error:
                faltered.append(Faltered(part, "timeout", str(error), utterance))
            except Exception as error:  # guidance reads anybody's knowledge base: the transcript must go on without it
                faltered.append(Faltered(part, f"{part}_failed", repr(error)[:300], utterance))
            return None

        # Each by itself: who reviews calls must hear of a flag although no card was found, and in time.
        flags = await of("flag", lambda: thought.watch.after(with_it, at_ms))
        return Advice(await of("suggest", lambda: thought.guide.after(with_it)), flags, faltered)
