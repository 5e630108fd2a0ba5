"""Tells a receiver what was kept: a reader of the logs, in a thread of its own, that nobody waits for.

In order within a call, at least once: a call's next event goes out when the one before was taken (2xx) or given up.
What was taken is remembered in the outbox; a restart goes on where the last one stopped. It knows no socket of ours.

    python -m assist.webhooks replay     sends dead letters again, and a receiver that had said 410 is tried again
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import httpx

from assist import config
from assist.config import LOOPBACK
from assist.errors import AssistError, ConfigError, UnknownCall
from assist.events import Entry
from assist.exports.cloudevent import KINDS, body, event_id, keys, kind_of, signed
from assist.hub import CallSummary, Store
from assist.metrics import Metrics
from assist.stores.outbox import Dead, Outbox

log = logging.getLogger("assist.webhooks")
logging.getLogger("httpx").setLevel(logging.WARNING)  # it would write down every address that is told

FILE: Final = "webhooks.db"
POLL_S: Final = 0.25
LAST_S: Final = 5.0
"""How long a server that stops still tells; the rest is told by the next one."""
AT_ONCE: Final = 8
MOST_CALLS: Final = 1_000
"""Calls with something to send that are held in memory; beyond that the logs are looked through again later."""
LONGEST_AGAIN_S: Final = 3600.0
MOST_REPLY_BYTES: Final = 65_536
PAGE: Final = 200


class Reply(NamedTuple):
    """What came of one try. `why`: "" where it was taken. `again_s`: when the receiver wants to be asked again."""

    why: str
    again_s: float = 0.0

    @property
    def gone(self) -> bool:
        return self.why == "410"


class Sender:
    """One address, its keys and one client. Follows no redirect and asks no proxy: it talks to whom it was told to."""

    def __init__(self, settings: config.Webhooks, try_s: float) -> None:
        """Raises ConfigError."""
        try:
            parts = httpx.URL(settings.url)
        except httpx.InvalidURL as error:
            raise ConfigError(f"webhooks.url: {error}") from None
        if not (parts.scheme == "https" and parts.host) and not (parts.scheme == "http" and parts.host in LOOPBACK):
            raise ConfigError("webhooks.url: https, or http on this machine, is expected")
        unknown = set(settings.events) - KINDS.keys()
        if unknown:
            raise ConfigError(f"webhooks.events: unknown {', '.join(sorted(unknown))}: {', '.join(KINDS)}")
        self.url = settings.url
        self._try_s = try_s
        self._keys = keys(settings.secret)
        self._client = httpx.AsyncClient(
            verify=ssl.create_default_context(),
            trust_env=False,
            follow_redirects=False,
            timeout=try_s,
            limits=httpx.Limits(max_connections=AT_ONCE),
            headers={"user-agent": "assist"},
        )

    async def post(self, message_id: str, content: bytes) -> Reply:
        """One try."""
        headers = signed(self._keys, message_id, int(time.time()), content)
        try:
            async with (
                asyncio.timeout(self._try_s),
                self._client.stream("POST", self.url, content=content, headers=headers) as reply,
            ):
                size = 0
                async for chunk in reply.aiter_raw():  # read, so that the connection can be used again
                    size += len(chunk)
                    if size > MOST_REPLY_BYTES:
                        break
        except TimeoutError:
            return Reply("timeout")
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            log.debug("no answer: %r", error)
            return Reply("timeout" if isinstance(error, httpx.TimeoutException) else "connection")
        if reply.is_success:
            return Reply("")
        again = reply.headers.get("retry-after", "")
        return Reply(str(reply.status_code), min(float(again), LONGEST_AGAIN_S) if again.isdecimal() else 0.0)

    async def close(self) -> None:
        await self._client.aclose()


def off(path: Path) -> None:
    """Nobody is to be told: forget who was, where anybody ever was. Raises StoreFailed, StoreNewer."""
    if path.exists():
        outbox = Outbox(path)
        outbox.rest()
        outbox.close()


class Pace(NamedTuple):
    """`try_s`: a receiver has so long to answer, all in all; what it takes longer for is sent again. Pauses between
    tries: twice as long each time, up to `longest_s`. `look_s`: how often all logs may be looked through.
    """

    try_s: float = 15.0
    first_s: float = 1.0
    longest_s: float = 60.0
    look_s: float = 60.0

    def after(self, tries: int) -> float:
        """The pause after so many tries; a random part of it, so that calls do not march."""
        return min(self.longest_s, self.first_s * 2.0 ** min(tries - 1, 30)) * random.uniform(0.5, 1.0)


PACE: Final = Pace()


class Webhooks:
    """`open`, `kept` and `close` are called by the house; everything else happens in the thread."""

    def __init__(
        self, settings: config.Webhooks, store: Store, outbox: Outbox, metrics: Metrics, pace: Pace = PACE
    ) -> None:
        """Raises ConfigError."""
        self._sender = Sender(settings, pace.try_s)
        self._wanted = frozenset(settings.events)
        self._give_up_s = settings.give_up_h * 3600
        self._store = store
        self._outbox = outbox
        self._metrics = metrics
        self._pace = pace
        self._lock = threading.Lock()
        self._fresh: set[str] = set()
        self._missed = True  # what an earlier run left
        self._looked = -pace.look_s
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._gone = False
        self._halt = asyncio.Event()
        """Nobody waits for the next try any longer."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    @property
    def notice(self) -> str:
        """What an operator should know, or ""."""
        host = httpx.URL(self._sender.url).host  # the rest of an address may be a secret
        return (
            f"{host} wants no more webhooks (410): `python -m assist.webhooks replay` tries again" if self._gone else ""
        )

    def open(self) -> None:
        """Start telling."""
        url = self._sender.url
        past = ((summary.call, summary.last_seq) for summary in self._summaries())
        self._outbox.begin(url, past if self._outbox.is_new(url) else ())
        self._thread.start()

    def kept(self, entry: Entry) -> None:
        """The store has this entry. Called by the live path: it only leaves a note."""
        if kind_of(entry.event) in self._wanted:
            with self._lock:
                self._fresh.add(entry.call)
                if len(self._fresh) > MOST_CALLS:
                    self._fresh.clear()
                    self._missed = True

    def close(self) -> None:
        """Tell what can be told at once, stop."""
        self._stopping.set()
        self._thread.join(2 * LAST_S)
        self._outbox.close()

    def _run(self) -> None:
        try:
            asyncio.run(self._follow())
        except Exception:
            log.exception("nobody is told any more, until the next start")

    async def _follow(self) -> None:
        places = asyncio.Semaphore(AT_ONCE)
        self._gone = self._outbox.is_gone(self._sender.url)
        try:
            while not self._stopping.is_set():
                if self._gone:
                    self._ask_again()
                else:
                    self._start(places)
                self._metrics.telling.set(len(self._tasks))
                await asyncio.sleep(POLL_S)
            self._halt.set()
            if not self._gone:
                self._start(places)
            if self._tasks:
                await asyncio.wait(self._tasks.values(), timeout=LAST_S)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            await self._sender.close()

    def _ask_again(self) -> None:
        """A replay may have taken back that the receiver is gone."""
        with suppress(AssistError):
            if not self._outbox.is_gone(self._sender.url):
                self._gone, self._missed, self._looked = False, True, -self._pace.look_s
                self._halt.clear()

    def _start(self, places: asyncio.Semaphore) -> None:
        """A task for each call that has something new, while there is room."""
        with self._lock:
            fresh, self._fresh = self._fresh, set()
        busy = fresh & self._tasks.keys()
        for call in fresh - busy:
            self._begin(call, places)
        with self._lock:
            self._fresh |= busy  # their tasks may have read the log before
        if self._missed and len(self._tasks) < MOST_CALLS and time.monotonic() - self._looked >= self._pace.look_s:
            self._missed = False
            self._looked = time.monotonic()
            with suppress(AssistError):
                for summary in self._summaries():
                    if summary.last_seq > self._outbox.position(summary.call)[0]:
                        self._begin(summary.call, places)
                return
            self._missed = True

    def _begin(self, call: str, places: asyncio.Semaphore) -> None:
        if call in self._tasks:
            return
        if len(self._tasks) >= MOST_CALLS:
            self._missed = True
            return
        task = self._tasks[call] = asyncio.create_task(self._tell(call, places))
        task.add_done_callback(lambda _: self._tasks.pop(call, None))

    async def _tell(self, call: str, places: asyncio.Semaphore) -> None:
        """Everything of one call that is not told yet."""
        tries = 0
        while not self._gone:
            async with places:
                try:
                    progress, reply = await self._page(call)
                except UnknownCall:  # erased meanwhile
                    return
                except Exception:  # a damaged log, a disk that refuses: it is this call's trouble and no other's
                    log.exception("call %r cannot be told now", call)
                    progress, reply = False, Reply("log")
            if reply is None:
                return
            if reply.why:
                tries = 1 if progress else tries + 1
                if not await self._pause(max(reply.again_s, self._pace.after(tries))):
                    return

    async def _pause(self, length_s: float) -> bool:
        """False where it ended early, because nothing more is to be told."""
        with suppress(TimeoutError):
            async with asyncio.timeout(length_s):
                await self._halt.wait()
                return False
        return True

    async def _page(self, call: str) -> tuple[bool, Reply | None]:
        """Tell the next entries: was any done with, and the reply that stopped it. Without `why`: there may be more.

        None instead of a reply: there is nothing more.
        """
        seq, since_s = self._outbox.position(call)
        lines = self._store.read(call, seq, PAGE)
        if not lines:
            return False, None
        started_at = self._store.call(call).started_at
        progress = False
        for line in lines:
            entry = line.entry
            kind = kind_of(entry.event)
            if self._gone:
                return progress, Reply("410")
            if kind in self._wanted:
                letter = Dead(event_id(started_at, entry), call, entry.seq, kind, body(started_at, entry), "")
                reply = await self._sender.post(letter.id, letter.body)
                if reply.why:
                    return self._refused(letter, seq, since_s, reply) or progress, reply
                self._metrics.delivered.labels(kind).inc()
                self._outbox.reached(call, entry.seq)
                progress, since_s = True, None
            seq = entry.seq
        self._outbox.reached(call, seq)
        return progress, Reply("")

    def _refused(self, letter: Dead, seq: int, since_s: float | None, reply: Reply) -> bool:
        """Note it. True where it was given up, and the next one may be tried."""
        self._metrics.undelivered.labels(reply.why).inc()
        if reply.gone:
            self._gone = True
            self._halt.set()
            log.error("%s", self.notice)
            self._outbox.gone(self._sender.url, True)
            return False
        since_s = time.time() if since_s is None else since_s
        if time.time() - since_s < self._give_up_s:
            self._outbox.refused(letter.call, seq, since_s)
            return False
        log.error("call %r, entry %d: given up: %s", letter.call, letter.seq, reply.why)
        self._metrics.dead.inc()
        self._outbox.bury(letter._replace(why=reply.why), since_s)
        return True

    def _summaries(self) -> Iterator[CallSummary]:
        offset = 0
        while page := self._store.calls(PAGE, offset):
            yield from page
            offset += len(page)


async def replay(settings: config.Webhooks, outbox: Outbox) -> tuple[int, str]:
    """Send dead letters, oldest first, until one is refused again. How many were taken, and why it ended."""
    sender = Sender(settings, PACE.try_s)
    taken = number = 0
    try:
        outbox.gone(sender.url, False)
        while found := outbox.dead(number):
            number, letter = found
            reply = await sender.post(letter.id, letter.body)
            if reply.why:
                return taken, reply.why
            outbox.delivered(letter)
            taken += 1
    finally:
        await sender.close()
    return taken, ""


def main() -> int:
    """Exit 0 where nothing is left, 1 where the receiver still refuses, 2 where settings or files are wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["replay"])
    parser.add_argument("--config", type=Path, default=None, help="default: config.toml here, if there is one")
    arguments = parser.parse_args()
    path = arguments.config or (Path("config.toml") if Path("config.toml").exists() else None)
    try:
        settings = config.load(path, os.environ)
        outbox = Outbox(Path(settings.server.data_dir) / FILE)
        taken, why = asyncio.run(replay(settings.webhooks, outbox))
    except AssistError as error:
        print(f"{error.code}: {error}", file=sys.stderr)
        return 2
    print(f"{taken} dead letters were taken" + (f"; the next was refused: {why}" if why else ""))
    return 1 if why else 0


if __name__ == "__main__":
    sys.exit(main())
