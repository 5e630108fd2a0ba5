"""What every store promises: subclass `StoreContract` and give it a `store` fixture. It knows no database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event as Signal

import pytest

from assist.audio import Party
from assist.conversation import Evidence, Finding, Flag, Severity, Stage, Transcript
from assist.errors import StoreFailed, UnknownCall
from assist.events import (
    AnyEvent,
    CallEnded,
    CallStarted,
    Entry,
    Flagged,
    Line,
    Noticed,
    Paused,
    Resumed,
    Reviewed,
    RolesSwapped,
    Skipped,
    SpeechStarted,
    Transcribed,
    line,
)
from assist.hub import CallSummary, Point, Said, Store

STARTED = CallStarted(
    "2026-11-21T20:00:00Z", "plain", ("agent", "customer"), "mulaw", 8000, "scripted", metadata={"q": "1"}
)
ENDED = CallEnded("bye", 61_000, {}, {})
REVIEWED = Reviewed("confirmed", "fair", "ann")


def spoken(seq: int) -> AnyEvent:
    return Transcribed(Transcript(f"u{seq}", "customer", seq * 100, seq * 100 + 90, f"utterance “{seq}” — £10"))


def noticed(party: str = "customer", topic: str = "none", call_score: float | None = None) -> Noticed:
    detail = {} if call_score is None else {"call": call_score}
    findings = (Finding("sentiment", "none", 0.0, Evidence(), detail), Finding("topic", topic, 0.5, Evidence()))
    return Noticed("u1", "agent" if party == "agent" else "customer", findings)


def flagged(severity: Severity) -> Flagged:
    return Flagged(Flag("rule", severity, "because", Evidence()))


def lines(call: str, *events: AnyEvent, first: int = 1) -> list[Line]:
    return [line(Entry(call, seq, seq * 10, event)) for seq, event in enumerate(events, first)]


class StoreContract:
    @pytest.fixture
    def store(self) -> Store:
        raise NotImplementedError

    def test_gives_back_what_it_was_given_in_order(self, store: Store) -> None:
        log = lines("a", STARTED, *(spoken(seq) for seq in range(2, 30)), ENDED)
        store.append(log[:10])
        store.append(log[10:])
        assert store.read("a") == log
        assert [kept.raw for kept in store.read("a")] == [given.raw for given in log]

    def test_calls_in_one_batch_keep_their_own_logs(self, store: Store) -> None:
        one, two = lines("a", STARTED, spoken(2)), lines("b", STARTED, spoken(2))
        store.append([two[0], one[0], two[1], one[1]])
        assert (store.read("a"), store.read("b")) == (one, two)
        assert [summary.call for summary in store.calls()] == ["a", "b"]  # b arrived first, so a is newer

    def test_the_same_line_twice_is_kept_once(self, store: Store) -> None:
        log = lines("a", STARTED, flagged("low"), noticed(topic="roaming"))
        store.append(log)
        before = store.call("a")
        store.append(log)
        store.append([*log[1:], *log[1:], *lines("a", spoken(4), first=4)])
        assert [kept.entry.seq for kept in store.read("a")] == [1, 2, 3, 4]
        assert store.call("a").flags == before.flags == (Flag("rule", "low", "because", Evidence()),)

    def test_the_first_of_two_different_lines_with_one_seq_stays(self, store: Store) -> None:
        first, second = lines("a", spoken(1)), lines("a", ENDED)
        store.append(first + second)
        store.append(second)
        assert store.read("a") == first
        assert store.unfinished() == ["a"]

    def test_a_hole_is_kept_and_may_be_filled_later(self, store: Store) -> None:
        log = lines("a", STARTED, spoken(2), spoken(3))
        store.append([log[0], log[2]])
        assert store.read("a") == [log[0], log[2]]
        store.append([log[1]])
        assert store.read("a") == log
        assert store.call("a").last_seq == 3

    def test_nothing_is_a_batch(self, store: Store) -> None:
        store.append([])
        assert store.calls() == []

    def test_reads_after_and_up_to(self, store: Store) -> None:
        log = lines("a", STARTED, *(spoken(seq) for seq in range(2, 11)))
        store.append(log)
        assert store.read("a", after=7) == log[7:]
        assert store.read("a", after=2, limit=3) == log[2:5]
        assert store.read("a", limit=0) == []
        assert store.read("a", after=-5) == log
        assert store.read("a", after=10) == store.read("a", after=10**30) == []
        assert store.read("a", limit=10**30) == log

    def test_an_unknown_call_is_named(self, store: Store) -> None:
        store.append(lines("a", STARTED))
        for ask in (store.read, store.call):
            with pytest.raises(UnknownCall, match="nobody"):
                ask("nobody")
        with pytest.raises(UnknownCall):
            store.read("a' OR 1=1 --")

    def test_the_summary_follows_the_entries(self, store: Store) -> None:
        store.append(lines("a", STARTED))
        started = CallSummary("a", STARTED.started_at, "plain", {"q": "1"}, "scripted", last_seq=1)
        assert store.call("a") == started
        store.append(lines("a", noticed(topic="roaming", call_score=-0.5), flagged("high"), REVIEWED, ENDED, first=2))
        assert store.call("a") == CallSummary(
            "a",
            STARTED.started_at,
            "plain",
            {"q": "1"},
            "scripted",
            last_seq=5,
            ended=True,
            reason="bye",
            duration_ms=61_000,
            topic="roaming",
            topics={"roaming": 0.5},
            sentiment=-0.5,
            flags=(Flag("rule", "high", "because", Evidence()),),
            reviews=(REVIEWED,),
        )

    def test_the_summary_knows_the_last_words_and_who_speaks(self, store: Store) -> None:
        count = 0

        def said(text: str, party: Party, start_ms: int, end_ms: int, stage: Stage = "final") -> Transcribed:
            return Transcribed(Transcript(f"{party}{start_ms}", party, start_ms, end_ms, text, stage=stage))

        def known(*events: AnyEvent) -> tuple[Said | None, dict[Party, int]]:
            nonlocal count
            store.append(lines("a", *events, first=count + 1))
            count += len(events)
            return store.call("a").said, store.call("a").speaking

        assert known(STARTED, SpeechStarted("customer", 100)) == (None, {"customer": 100})
        assert known(said("hello", "customer", 100, 900, "speculative")) == (None, {"customer": 100})
        hello = Said("customer", "hello", 900)
        both = known(SpeechStarted("customer", 950), SpeechStarted("agent", 960), said("hello", "customer", 100, 900))
        assert both == (hello, {"customer": 950, "agent": 960}), "who has begun anew is not silenced by a late final"
        assert known(Skipped("agent", 960, 990, "too_short")) == (hello, {"customer": 950})
        assert known(said("", "customer", 950, 1_200)) == (hello, {}), "a noise says nothing"
        last = Said("agent", "…" + "x" * 97 + "yz", 2_000)
        assert known(said("x" * 99 + "yz", "agent", 1_900, 2_000)) == (last, {})
        assert known(said("well", "customer", 1_500, 1_980)) == (last, {}), "it ended before, its silence took longer"
        assert known(said("and", "agent", 2_000, 2_600, "partial"))[1] == {"agent": 2_000}, "cut, and goes on"
        turned = known(RolesSwapped("u", "hello", ()))
        assert turned == (Said("customer", last.text, 2_000), {"customer": 2_000})
        blip = Skipped("agent", 2_000, 2_700, "too_short")
        assert known(blip)[1] == {}, "which names the channel, as the platform did"
        assert known(Paused("card"))[0] and store.call("a").paused
        assert known(Resumed("card"))[0] and not store.call("a").paused
        assert known(SpeechStarted("agent", 3_000), ENDED) == (None, {}), "for calls that go on"

    def test_the_summary_knows_what_is_written(self, store: Store) -> None:
        written = CallStarted("2026-11-21T20:00:00Z", "text", ("agent", "customer"), "text", 0, "")
        store.append(lines("a", STARTED) + lines("b", written))
        assert (store.call("a").written, store.call("b").written) == (False, True)

    def test_the_summary_keeps_the_newest_points_of_the_customers_charts(self, store: Store) -> None:
        def judged(analyser: str, label: str, score: float, party: Party = "customer") -> Noticed:
            return Noticed("u", party, (Finding(analyser, label, score, Evidence(), {"call": score}),))

        events = [judged("sentiment", "negative", n / 100) for n in range(30)]
        events += [
            judged("stress", "tense", 0.5),
            judged("stress", "tense", 0.9, "agent"),
            judged("stress", "none", 0.0),
        ]
        events += [judged("sentiment", "none", 0.4)]
        store.append(lines("a", *events))
        found = store.call("a")
        assert found.moods == tuple(Point(n * 10, (n - 1) / 100) for n in range(7, 31)), "no news is no point"
        assert (found.voices, found.sentiment) == ((Point(310, 0.5),), 0.4)
        store.append(lines("a", RolesSwapped("u", "hello", ()), first=35))
        assert (store.call("a").moods, store.call("a").voices, store.call("a").sentiment) == ((), (), None)
        store.append(lines("a", judged("sentiment", "negative", -0.5), ENDED, first=36))
        assert (store.call("a").moods, store.call("a").sentiment) == ((), -0.5)

    def test_the_topic_is_the_heaviest_and_the_sentiment_the_last(self, store: Store) -> None:
        store.append(lines("a", noticed(topic="roaming", call_score=0.25), noticed(topic="none")))
        assert (store.call("a").topic, store.call("a").sentiment) == ("roaming", 0.25)
        store.append(lines("a", noticed("agent", "cancellation", call_score=0.9), first=3))
        assert (store.call("a").topic, store.call("a").sentiment) == ("roaming", 0.25)
        store.append(lines("a", noticed("customer", "cancellation", call_score=-0.5), first=4))
        assert store.call("a").topics == {"roaming": 0.5, "cancellation": 1.0}
        assert (store.call("a").topic, store.call("a").sentiment) == ("cancellation", -0.5)

    def test_a_log_without_its_start_still_has_a_summary(self, store: Store) -> None:
        store.append(lines("a", spoken(4), first=4))
        said = Said("customer", "utterance “4” — £10", 490)
        assert store.call("a") == CallSummary("a", "", "", {}, "", last_seq=4, said=said)

    def test_calls_come_newest_first_in_pages(self, store: Store) -> None:
        for call in "abcde":
            store.append(lines(call, STARTED))
        store.append(lines("a", spoken(2), first=2))  # talking on makes a call no newer
        assert [summary.call for summary in store.calls()] == list("edcba")
        assert [summary.call for summary in store.calls(limit=2, offset=1)] == ["d", "c"]
        store.append(lines("d", ENDED, first=2))
        assert [summary.call for summary in store.calls(live=True)] == list("ecba")
        assert [summary.call for summary in store.calls(limit=2, offset=1, live=True)] == ["c", "b"]
        assert store.calls(limit=0) == store.calls(offset=99) == store.calls(offset=10**30) == []

    def test_flagged_calls_come_in_the_order_of_need(self, store: Store) -> None:
        store.append(lines("none", STARTED))
        store.append(lines("reviewed-high", STARTED, flagged("high"), REVIEWED))
        store.append(lines("old-low", STARTED, flagged("low")))
        store.append(lines("old-high", STARTED, flagged("low"), flagged("high"), flagged("medium")))
        store.append(lines("new-high", STARTED, flagged("high")))
        store.append(lines("medium", STARTED, flagged("medium")))
        store.append(lines("reviewed-low", STARTED, flagged("low"), REVIEWED))
        wanted = ["new-high", "old-high", "medium", "old-low", "reviewed-high", "reviewed-low"]
        assert [summary.call for summary in store.flagged()] == wanted
        assert [summary.call for summary in store.flagged(limit=2)] == wanted[:2]
        store.append(lines("new-high", REVIEWED, first=3))
        assert [summary.call for summary in store.flagged()][:2] == ["old-high", "medium"]

    def test_unfinished_calls_come_oldest_first(self, store: Store) -> None:
        for call in "abc":
            store.append(lines(call, STARTED))
        store.append(lines("b", ENDED, first=2))
        assert store.unfinished() == ["a", "c"]

    def test_readers_see_whole_batches_while_the_writer_writes(self, store: Store) -> None:
        store.append(lines("a", *(spoken(seq) for seq in range(1, 6))))
        done = Signal()

        def follow() -> int:
            seen = 0
            while True:
                finished = done.is_set()
                fresh = [kept.entry.seq for kept in store.read("a", after=seen)]
                assert fresh == list(range(seen + 1, seen + 1 + len(fresh)))
                seen += len(fresh)
                assert seen % 5 == 0
                assert store.call("a").last_seq >= seen
                if finished:
                    return seen

        with ThreadPoolExecutor(3) as pool:
            readers = [pool.submit(follow) for _ in range(3)]
            try:
                for first in range(6, 306, 5):
                    store.append(lines("a", *(spoken(seq) for seq in range(first, first + 5)), first=first))
            finally:
                done.set()
            assert [reader.result(timeout=30) for reader in readers] == [305] * 3

    def test_two_writers_wait_for_each_other(self, store: Store) -> None:
        def write(call: str) -> None:
            for seq in range(1, 41):
                store.append(lines(call, spoken(seq), first=seq))

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(write, "ab"))
        assert [len(store.read(call)) for call in "ab"] == [40, 40]

    def test_a_closed_store_says_so(self, store: Store) -> None:
        store.close()
        store.close()
        for ask in (lambda: store.append(lines("a", STARTED)), store.calls, store.flagged, store.unfinished):
            with pytest.raises(StoreFailed, match="closed"):
                ask()
