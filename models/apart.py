"""Any recogniser in processes of its own, so that one that hangs or dies in native code takes no call with it.

It knows no model and no server: the module whose `load` makes the recogniser is named to it.

A process is started, not forked (the threads of a native library do not survive a fork), and gets one end of a socket
pair as its standard input, which serves both ways: what a library prints goes elsewhere, and the end of the server is
the end of that socket. Downwards go pickled values; upwards only JSON, which is checked, because native code may have
trampled on whoever writes it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import itertools
import logging
import math
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from assist import heap
from assist.audio import RATE_HZ, SAMPLES_PER_MS, Utterance
from assist.conversation import Transcript
from assist.errors import AssistError, ConfigError, ModelMissing, RecogniserFailed

log = logging.getLogger("assist.apart")

ROOT: Final = Path(__file__).resolve().parent.parent
LIMIT_S: Final = 8.0
LIMIT_PER_S: Final = 2.0
"""More time for longer speech. With more of either, `APART_S` in server.py must grow."""
START_S: Final = 300.0  # large weights from a slow disk
TICK_S: Final = 0.25  # how often somebody looks for what is overdue
STEP_S: Final = 0.5
STEPS: Final = 60
LONGEST_PAUSE_S: Final = 30.0
NICE: Final = 3
"""So much behind the server, which answers and hears in between: a recogniser takes all it gets."""
TRIM_S: Final = 60.0
"""How often a process gives back the memory that it has freed; the next utterances need most of it again."""
REMEMBERED: Final = 1_000  # utterances that were there when a process died
FIRST_VICTIM: Final = "500"  # where memory ends, the kernel should take this process, not the server

Heard = Transcript | RecogniserFailed


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The recogniser is loaded; what it says of itself."""

    name: str
    rough: bool
    workers: int
    together: int
    linger_ms: float
    costs: tuple[tuple[int, float], ...]
    """`bucket` and `cost_ms` of an utterance for every STEP_S of its length, from one such step on."""


class Refused(msgspec.Struct, frozen=True, tag=True):
    """It cannot be loaded."""

    code: str
    message: str


class Answer(msgspec.Struct, frozen=True, tag=True):
    """To request `number`: a transcript for each utterance, or why there is none."""

    number: int
    heard: tuple[Transcript | str, ...]


_FROM_CHILD: Final = msgspec.json.Decoder(Ready | Refused | Answer)
_NAMED: Final = {error.code: error for error in (ConfigError, ModelMissing)}


class Gone(Exception):
    """The process ended before it answered."""


class Request:
    """Utterances that one process works on together, for `limit_s` at the most."""

    def __init__(self, number: int, utterances: Sequence[Utterance], limit_s: float) -> None:
        self.number = number
        self.utterances = tuple(utterances)
        self.limit_s = limit_s
        self.due = time.monotonic() + limit_s
        self.answer: Future[tuple[Heard, ...]] = Future()


class Child:
    """One process. One thread calls `start`, then `listen`; any thread calls `ask`."""

    def __init__(self) -> None:
        """Raises OSError."""
        self._pipe, theirs = Pipe()
        self._sending = threading.Lock()
        self._known = threading.Lock()
        self._running: dict[int, Request] | None = None
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "models.apart"],
                stdin=theirs.fileno(),
                stdout=2,
                # One thread for each utterance: the cores are for other utterances.
                env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        except OSError:
            self._pipe.close()
            raise
        finally:
            theirs.close()
        self.pid = self._process.pid
        self.kill = self._process.kill

    @property
    def listens(self) -> bool:
        """Does it take requests? From `start` until it has ended, or must."""
        return self._running is not None

    def start(self, module: str, options: dict[str, Any], *, warm: bool) -> Ready:
        """Wait until the recogniser is loaded. Raises ConfigError, ModelMissing; the process has ended then."""
        said = None
        with contextlib.suppress(EOFError, OSError, msgspec.MsgspecError):
            self._pipe.send((module, options, warm))
            said = _FROM_CHILD.decode(self._pipe.recv_bytes()) if self._pipe.poll(START_S) else None
        if isinstance(said, Ready):
            self._running = {}
            return said
        how = self._end()
        if isinstance(said, Refused):
            raise _NAMED.get(said.code, ModelMissing)(said.message)
        raise ModelMissing(f"the process that should load {module} {how}")

    def ask(self, request: Request) -> tuple[Heard, ...]:
        """Raises Gone."""
        with self._known:
            if self._running is None:
                raise Gone
            self._running[request.number] = request
        # A process that dies of this, or before, is seen by `listen`.
        with contextlib.suppress(OSError), self._sending:
            self._pipe.send((request.number, request.utterances))
        return request.answer.result()

    def listen(self) -> tuple[str, Request | None, list[Request]]:
        """Hand out answers until the process ends or must: how it ended, the request that was late, all unanswered."""
        late = None
        with contextlib.suppress(EOFError, OSError, msgspec.MsgspecError):
            while late is None:
                if self._pipe.poll(TICK_S):
                    answer = _FROM_CHILD.decode(self._pipe.recv_bytes())
                    if isinstance(answer, Answer):
                        self._hand_out(answer)
                late = self._late()
        with self._known:
            unanswered, self._running = list((self._running or {}).values()), None
        how = self._end(at_once=late is not None)
        return f"gave no answer within {late.limit_s:.0f} s" if late else how, late, unanswered

    def _hand_out(self, answer: Answer) -> None:
        with self._known:
            request = self._running.pop(answer.number, None) if self._running else None
        if request:
            heard = (RecogniserFailed(each) if isinstance(each, str) else each for each in answer.heard)
            request.answer.set_result(tuple(heard))

    def _late(self) -> Request | None:
        now = time.monotonic()
        with self._known:
            return next((each for each in (self._running or {}).values() if each.due < now), None)

    def _end(self, *, at_once: bool = False) -> str:
        """See the process to its end; how it came, in words."""
        if at_once:
            self._process.kill()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with self._sending:  # the number of a closed pipe is soon another's
            self._pipe.close()
        status = self._process.returncode
        known = -status in signal.Signals.__members__.values()
        return f"died of {signal.Signals(-status).name}" if known else f"left with status {status}"


class Place:
    """Where one process runs after the other. Belongs to the condition of its Apart."""

    def __init__(self) -> None:
        self.child: Child | None = None
        self.ready: Ready | None = None
        """What the first process said of itself."""
        self.refused: AssistError | None = None
        """Why the first process could not start."""
        self.down = ""
        """Why there is no process and will be none soon."""
        self.running = 0
        self.alone = False
        """What runs has the process to itself."""


class Apart:
    """A Recogniser whose work is done by other processes. Thread-safe.

    Who was being heard when a process died is heard once more by the next one, with nobody beside: if that dies as
    well, this was the cause, and fails with RecogniserFailed. So does who is not heard in time, whose process is ended.
    It is remembered of an utterance through all its stages: what its partials killed its final does not kill anew.
    """

    def __init__(
        self,
        module: str,
        options: dict[str, Any],
        places: int,
        limits_s: tuple[float, float],
        notices: list[str],
    ) -> None:
        """See `load`. Raises ConfigError, ModelMissing."""
        self._made_of = module, options
        self._limits_s = limits_s
        self._notices = notices
        self._numbers = itertools.count(1)
        self._closed = False
        self._suspects = 0  # that wait
        self._deaths: OrderedDict[tuple[str, str], list[str]] = OrderedDict()
        self._turn = threading.Condition()
        self._places = [Place() for _ in range(places)]
        self._keepers = [threading.Thread(target=self._keep, args=(each,), daemon=True) for each in self._places]
        for keeper in self._keepers:
            keeper.start()
        with self._turn:
            self._turn.wait_for(lambda: all(each.ready or each.refused for each in self._places))
        for place in self._places:
            if place.refused:
                self.close()
                raise place.refused
        ready = self._places[0].ready
        assert ready
        self.name, self.rough = ready.name, ready.rough
        self.together, self.linger_ms = ready.together, ready.linger_ms
        self.workers = places * ready.workers
        self._threads, self._costs = ready.workers, ready.costs

    @property
    def down(self) -> str:
        """Why nothing can be heard now; "" where all is well."""
        return self._places[0].down if all(each.down for each in self._places) else ""

    @property
    def pids(self) -> list[int]:
        """Of the processes that hear now."""
        with self._turn:
            return [each.child.pid for each in self._places if each.child and each.child.listens]

    def warm(self) -> None:
        """Nothing to do: a process warms itself before it is first ready."""

    def close(self) -> None:
        """End the processes; what they were hearing raises RecogniserFailed."""
        with self._turn:
            self._closed = True
            for place in self._places:
                if place.child:
                    place.child.kill()
            self._turn.notify_all()
        for keeper in self._keepers:
            keeper.join()

    def transcribe(self, utterance: Utterance) -> Transcript:
        """As the recogniser does. Raises RecogniserFailed also where its process died of it or took too long."""
        heard = self._hear(utterance)
        if isinstance(heard, RecogniserFailed):
            raise heard
        return heard

    def transcribe_many(self, utterances: Sequence[Utterance]) -> Sequence[Heard]:
        """As the recogniser does, in one process; where that dies of it each is heard by itself."""
        well = [each for each in utterances if (each.call, each.id) not in self._deaths]
        heard: dict[int, Heard] = {}
        if len(well) > 1:
            with contextlib.suppress(Gone, RecogniserFailed):
                heard = dict(zip(map(id, well), self._ask(well, alone=False), strict=True))
        return [heard.get(id(each)) or self._hear(each) for each in utterances]

    def bucket(self, utterance: Utterance) -> int:
        """As the recogniser said when it was loaded, for every half second of length."""
        return self._costs[self._step(utterance)][0]

    def cost_ms(self, utterance: Utterance) -> float:
        """As the recogniser said when it had warmed, for every half second of length, up to 30 s."""
        return self._costs[self._step(utterance)][1]

    def _step(self, utterance: Utterance) -> int:
        return min(max(0, math.ceil(utterance.length_s / STEP_S) - 1), STEPS - 1)

    def _hear(self, utterance: Utterance) -> Heard:
        who = utterance.call, utterance.id
        while len(deaths := self._deaths.get(who, [])) < 2:
            try:
                (heard,) = self._ask((utterance,), alone=bool(deaths))
            except RecogniserFailed as error:
                return error
            except Gone:
                continue
            self._deaths.pop(who, None)
            return heard
        return RecogniserFailed(f"the recogniser's process {', then '.join(dict.fromkeys(deaths))} over {utterance.id}")

    def _ask(self, utterances: Sequence[Utterance], *, alone: bool) -> tuple[Heard, ...]:
        """Raises Gone, and RecogniserFailed where there is no process to ask."""
        # A batch has the time of its longest: with the sum of all, who is in it would wait longer than the gate does.
        seconds = max(each.length_s for each in utterances)
        limit_s, limit_per_s = self._limits_s
        with self._turn_of(alone) as child:
            return child.ask(Request(next(self._numbers), utterances, limit_s + limit_per_s * seconds))

    @contextlib.contextmanager
    def _turn_of(self, alone: bool) -> Iterator[Child]:
        """A process with a thread to spare; for a suspect (`alone`), one that does nothing else. Suspects go first."""

        def found() -> Place | None:
            if self._closed:
                raise RecogniserFailed("the recogniser is closed")
            if self.down:
                raise RecogniserFailed(self.down)
            if self._suspects and not alone:
                return None
            most = 0 if alone else self._threads - 1
            listening = [each for each in self._places if each.child and each.child.listens]
            free = [each for each in listening if not each.alone and each.running <= most]
            return min(free, key=lambda each: each.running, default=None)

        with self._turn:
            self._suspects += alone
            try:
                place = self._turn.wait_for(found)
            finally:
                self._suspects -= alone
                self._turn.notify_all()
            assert place and place.child
            child = place.child
            place.running += 1
            place.alone = alone
        try:
            yield child
        finally:
            with self._turn:
                place.running -= 1
                place.alone = False
                self._turn.notify_all()

    def _keep(self, place: Place) -> None:
        """The life of a place: a process, and another when that one has ended."""
        failed = 0  # starts, one after the other
        while True:
            with self._turn:
                # The first time it may have been chance, and somebody waits.
                pause_s = min(2.0 ** (failed - 2), LONGEST_PAUSE_S) if failed > 1 else 0.0
                if self._turn.wait_for(lambda: self._closed, pause_s):
                    return
            try:
                with self._turn:  # `close` must see whatever is started
                    if self._closed:
                        return
                    child = place.child = Child()
                ready = child.start(*self._made_of, warm=place.ready is None)
            except (AssistError, OSError) as error:
                failed += 1
                if place.ready is None:
                    with self._turn:
                        place.refused = error if isinstance(error, AssistError) else ModelMissing(str(error))
                        self._turn.notify_all()
                    return
                log.error("no process for the recogniser: %s", error)
                if failed > 1:
                    self._tell(place, f"Nobody listens, the recogniser cannot be started again: {error}")
                continue
            with self._turn:
                place.ready = place.ready or ready
            self._tell(place, "")
            log.info("the recogniser's process %d listens", child.pid)
            failed = 0
            how, late, unanswered = child.listen()
            with self._turn:
                self._suspect(unanswered, how, late)
            for request in unanswered:
                request.answer.set_exception(Gone())
            if not self._closed:
                log.error("the recogniser's process %d %s; it was hearing %d", child.pid, how, len(unanswered))

    def _tell(self, place: Place, down: str) -> None:
        with self._turn:
            if place.down:
                self._notices.remove(place.down)
            place.down = down
            if down:
                self._notices.append(down)
            self._turn.notify_all()

    def _suspect(self, unanswered: Sequence[Request], how: str, late: Request | None) -> None:
        """One more death for each that was heard: for its partial and its final together one, as it died once."""
        times: dict[tuple[str, str], int] = {}
        for request in unanswered:
            # Who is late and alone in its request needs no second proof.
            proof = 2 if request is late and len(request.utterances) == 1 else 1
            for each in request.utterances:
                who = each.call, each.id
                times[who] = max(proof, times.get(who, 0))
        for who, proof in times.items():
            self._deaths.setdefault(who, []).extend([how] * proof)
            self._deaths.move_to_end(who)
        while len(self._deaths) > REMEMBERED:
            self._deaths.popitem(last=False)


def load(
    module: str,
    *,
    processes: int = 1,
    limit_s: float = LIMIT_S,
    limit_per_s: float = LIMIT_PER_S,
    notices: list[str] | None = None,
    **options: Any,
) -> Apart:
    """What `load(**options)` of `module` ("models.whisper") makes, in `processes` (0: one per core), and warm.

    An utterance is given `limit_s` and `limit_per_s` for every second of its sound, several together as much as the
    longest of them. `notices` says why, for as long as
    a process cannot be started again. Raises ConfigError and ModelMissing, with the recogniser's own words.
    """
    places = processes or len(os.sched_getaffinity(0))
    return Apart(module, options, places, (limit_s, limit_per_s), [] if notices is None else notices)


def _answer(recogniser: Any, number: int, utterances: Sequence[Utterance]) -> bytes:
    heard: list[Transcript | str]
    try:
        said = recogniser.transcribe_many(utterances)
        heard = [str(each) if isinstance(each, RecogniserFailed) else each for each in said]
    except Exception as error:  # native code and weights: whatever it raises fails these utterances alone
        heard = [f"{type(error).__name__}: {error}"[:300]] * len(utterances)
    return msgspec.json.encode(Answer(number, tuple(heard)))


def _ready(made: Any) -> Ready:
    """What a recogniser says of itself, and of silence as long as any utterance may be."""
    step = round(STEP_S * RATE_HZ)
    lengths = [np.zeros(n * step, dtype=np.int16) for n in range(1, STEPS + 1)]
    costs = [
        (made.bucket(each), made.cost_ms(each))
        for each in (Utterance("", "customer", 0, len(s) // SAMPLES_PER_MS, 0, s) for s in lengths)
    ]
    return Ready(made.name, made.rough, made.workers, made.together, made.linger_ms, tuple(costs))


def _serve(pipe: Connection) -> None:
    """Load what is asked for, then answer until the other end closes, by whatever end of whoever held it."""
    sending = threading.Lock()

    def send(said: bytes) -> None:
        with contextlib.suppress(OSError), sending:
            pipe.send_bytes(said)

    module, options, warm = pipe.recv()
    try:
        recogniser = importlib.import_module(module).load(**options)
        if warm:
            recogniser.warm()
    except AssistError as error:
        return send(msgspec.json.encode(Refused(error.code, str(error))))
    send(msgspec.json.encode(_ready(recogniser)))
    pool = ThreadPoolExecutor(recogniser.workers, thread_name_prefix="hear")
    trim_at = time.monotonic()  # at once: what was needed to warm up is more than a call ever needs
    while True:
        if pipe.poll(max(0.0, trim_at - time.monotonic())):
            number, utterances = pipe.recv()
            pool.submit(lambda *asked: send(_answer(recogniser, *asked)), number, utterances)
        if time.monotonic() >= trim_at:
            heap.trim()
            trim_at = time.monotonic() + TRIM_S


def main() -> None:
    """One process of an Apart."""
    # Signals to a whole terminal or service are for the server, which ends us, or whose end we see.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    faulthandler.enable()
    heap.few_arenas()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it would hold what callers said, and take time
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(FIRST_VICTIM, "ascii")
    with contextlib.suppress(EOFError, ConnectionError):
        os.nice(NICE)
        _serve(Connection(sys.stdin.fileno()))
    os._exit(0)  # Python would wait for every thread, and one that hangs in native code never ends


if __name__ == "__main__":
    main()
