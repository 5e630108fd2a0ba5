"""The frame path's measure runs, small, and its bare sockets speak the protocol. No figure is judged here."""

from __future__ import annotations

from pathlib import Path

from benchmarks import flood, frames


def test_messages_are_read_whole_and_the_rest_is_left() -> None:
    long = b"x" * 300
    said = b"\x81\x02hi" + b"\x82\x7e\x01\x2c" + long + b"\x81\x05par"
    assert list(flood.messages(said)) == [b"hi", long]


def test_calls_are_shared_out() -> None:
    assert frames.counts(250, 100) == [100, 100, 50]


def test_stacks_are_summed_up() -> None:
    raw = ["main (a.py:1);hear (b.py:7) 3", "main (a.py:2);hear (b.py:9);push (c.py:1) 1"]
    assert frames.stacks(raw) == [("main (a.py", 0, 100), ("hear (b.py", 75, 100), ("push (c.py", 25, 25)]


def test_a_few_calls(short_call: Path, tmp_path: Path) -> None:
    document = frames.run(frames.Asked(calls=3, each=2, hold_s=1.0, call=short_call, profile=None, seed=1), tmp_path)
    frames.show(document)
    assert (document["live"], document["calls_without_books"]) == (3, 0)
    assert (document["gap_ms"], document["unreceived_ms"]) == (0, 0)
    assert document["server_cores"] > 0
