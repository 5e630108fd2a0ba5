"""A recogniser apart keeps its contract, and outlives whatever its processes die of. All processes are real."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assist.audio import Utterance
from assist.call import LAST_FINALS_S
from assist.conversation import Transcript
from assist.errors import AssistError, ConfigError, ModelMissing, RecogniserFailed
from assist.segment import Endpointing
from assist.transcribe import Recogniser
from benchmarks.make_weights import make
from models import apart, whisper
from models.apart import Apart
from server import APART_S
from tests.contracts.recogniser import RecogniserContract, babble, utterance
from tests.models import fragile
from tests.models.fragile import ASLEEP, CHATTER, FINE, RAISE, REFUSE, SEGFAULT, SLOW, STUCK


@contextlib.contextmanager
def loaded(workers: int = 1, **options: Any) -> Iterator[Apart]:
    recogniser = apart.load("tests.models.fragile", workers=workers, **options)
    try:
        yield recogniser
    finally:
        recogniser.close()


def fated(fate: int, id: str = "u1", ms: int = 500) -> Utterance:
    """An utterance whose first sample is `fate`."""
    samples = np.ones(ms * 16, dtype=np.int16)
    samples[0] = fate
    return replace(utterance(samples, id=id), call="c")


def soon(ready: Callable[[], Any], timeout_s: float = 20.0) -> None:
    """Wait until `ready` gives something true."""
    until = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="module", params=[{"workers": 2, "together": 3}, {"processes": 3}], ids=["threads", "processes"])
def shared(request: pytest.FixtureRequest) -> Iterator[Apart]:
    with loaded(**request.param) as recogniser:
        yield recogniser


class TestApart(RecogniserContract):
    """The contract, for one process with several threads, and several with one each."""

    @pytest.fixture
    def recogniser(self, shared: Apart) -> Recogniser:
        assert shared.workers == max(2, len(set(shared.pids)))
        return shared


def test_whisper_says_the_same_apart(tmp_path: Path) -> None:
    weights = str(make("micro", tmp_path / "random-micro"))
    options: dict[str, Any] = {"weights": weights, "workers": 1, "random_tokens_per_s": 3.4}
    here = whisper.load(**options)
    there = apart.load("models.whisper", **options)
    try:
        assert (there.name, there.rough, there.workers) == (here.name, here.rough, here.workers)
        assert (there.together, there.linger_ms) == (here.together, here.linger_ms)
        for heard in (utterance(babble(2_500)), utterance(babble(9_000), stage="partial")):
            said = there.transcribe(heard)
            assert said.text and said == here.transcribe(heard)
            assert there.cost_ms(heard) > 0 and there.bucket(heard) == here.bucket(heard)
        batch = [utterance(babble(2_000 + 100 * n), id=f"u{n}") for n in range(here.together)]
        assert there.transcribe_many(batch) == here.transcribe_many(batch)
    finally:
        here.close()
        there.close()


def test_all_of_an_utterance_arrives() -> None:
    with loaded() as recogniser:
        heard = replace(fated(FINE), speech_end_ms=4_321)
        assert recogniser.transcribe(heard).text == f"c 4321 {7_999 + FINE}"


@pytest.mark.parametrize(("fate", "why"), [(RAISE, "ValueError: what a surprise"), (REFUSE, "not this one")])
def test_what_is_raised_fails_that_utterance_and_no_process(fate: int, why: str) -> None:
    with loaded() as recogniser:
        pids = recogniser.pids
        with pytest.raises(RecogniserFailed, match=why):
            recogniser.transcribe(fated(fate))
        assert recogniser.transcribe(fated(FINE)).text
        assert recogniser.pids == pids


def test_what_a_library_prints_is_no_answer() -> None:
    with loaded() as recogniser:
        assert recogniser.transcribe(fated(CHATTER)).text
        assert recogniser.transcribe(fated(FINE)).text


@pytest.mark.parametrize(
    ("fate", "why"),
    [(SEGFAULT, "died of SIGSEGV"), (fragile.ABORT, "died of SIGABRT"), (fragile.LEAVE, "left with status 3")],
)
def test_who_kills_two_processes_fails_by_name_and_the_next_is_heard(fate: int, why: str) -> None:
    with loaded() as recogniser:
        with pytest.raises(RecogniserFailed, match=f"{why} over u1"):
            recogniser.transcribe(fated(fate))
        assert recogniser.transcribe(fated(FINE, "u2")).text


def test_the_neighbours_of_a_killer_are_heard() -> None:
    heard = [fated(SEGFAULT if n == 2 else SLOW, f"u{n}") for n in range(4)]
    with loaded(workers=4) as recogniser, ThreadPoolExecutor(4) as pool:
        said = [pool.submit(recogniser.transcribe, each) for each in heard]
        for n, each in enumerate(said):
            if n == 2:
                with pytest.raises(RecogniserFailed, match="SIGSEGV over u2"):
                    each.result()
            else:
                assert each.result().utterance == f"u{n}"


def test_a_batch_with_a_killer_is_heard_without_it() -> None:
    heard = [fated(SEGFAULT if n == 1 else REFUSE if n == 2 else FINE, f"u{n}") for n in range(4)]
    with loaded(together=4) as recogniser:
        first, killer, refused, last = recogniser.transcribe_many(heard)
        assert isinstance(first, Transcript) and isinstance(last, Transcript)
        assert (first.utterance, last.utterance) == ("u0", "u3")
        assert isinstance(killer, RecogniserFailed) and "died of SIGSEGV over u1" in str(killer)
        assert isinstance(refused, RecogniserFailed) and str(refused) == "not this one"


def test_a_batch_with_one_that_hangs_is_heard_without_it() -> None:
    heard = [fated(ASLEEP if n == 1 else FINE, f"u{n}") for n in range(3)]
    with loaded(together=3, limit_s=2.0, limit_per_s=0.1) as recogniser:
        first, stuck, last = recogniser.transcribe_many(heard)
        assert isinstance(first, Transcript) and isinstance(last, Transcript)
        assert isinstance(stuck, RecogniserFailed) and "no answer" in str(stuck)


def test_a_batch_has_the_time_of_its_longest() -> None:
    heard = [fated(ASLEEP if n == 1 else FINE, f"u{n}", ms=1_000) for n in range(4)]
    with loaded(together=4, limit_s=1.0, limit_per_s=1.0) as recogniser:
        said = recogniser.transcribe_many(heard)
        assert [isinstance(each, Transcript) for each in said] == [True, False, True, True]
        assert str(said[1]) == "the recogniser's process gave no answer within 2 s over u1", "together and alone"


def test_a_hang_is_found_and_all_are_heard_anew_before_anybody_gives_up() -> None:
    """Utterances as long as speech is cut: who hangs is found in the batch, then alone; neighbours are heard alone."""
    found_s = apart.LIMIT_S + apart.LIMIT_PER_S * Endpointing().soft_cut_ms / 1000 + 2 * apart.TICK_S
    started_s, heard_s = 8.0, 4.0  # a process, and one utterance, on a machine that others keep busy
    neighbours = whisper.TOGETHER["cpu"] - 1
    assert 2 * (found_s + started_s) + neighbours * heard_s <= APART_S
    assert APART_S < LAST_FINALS_S


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="NOT TESTED: giving memory back, which only glibc can")
def test_what_it_took_to_warm_up_is_given_back() -> None:
    with loaded() as recogniser:
        (pid,) = recogniser.pids

        def held_mb() -> float:
            return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20

        soon(lambda: held_mb() < fragile.WARMING_MB)
        assert isinstance(recogniser.transcribe(fated(FINE)), Transcript), "and it listens"


def test_costs_are_known_without_asking() -> None:
    with loaded() as recogniser:
        os.kill(recogniser.pids[0], signal.SIGSTOP)
        for ms, bucket in ((20, 10), (7_980, 10), (8_000, 10), (8_020, 30), (30_000, 30), (60_000, 30)):
            heard = fated(FINE, ms=ms)
            assert recogniser.bucket(heard) == bucket
            assert min(ms, 30_000) / 50 <= recogniser.cost_ms(heard) <= ms / 50 + 10


def test_who_was_being_heard_when_a_process_was_killed_is_heard_by_the_next() -> None:
    with loaded(workers=2) as recogniser, ThreadPoolExecutor(2) as pool:
        (pid,) = recogniser.pids
        said = [pool.submit(recogniser.transcribe, fated(SLOW, f"u{n}")) for n in range(2)]
        time.sleep(fragile.SLOW_S / 2)
        os.kill(pid, signal.SIGKILL)
        assert [each.result().utterance for each in said] == ["u0", "u1"]
        assert recogniser.pids != [pid]
        # Nothing is held against them: they may be beside others again.
        began = time.monotonic()
        list(pool.map(recogniser.transcribe, [fated(SLOW, f"u{n}") for n in range(2)]))
        assert time.monotonic() - began < 1.8 * fragile.SLOW_S


def test_one_death_is_one_however_many_stages_of_an_utterance_were_being_heard() -> None:
    with loaded(workers=2) as recogniser, ThreadPoolExecutor(2) as pool:
        stages = [replace(fated(SLOW), stage="partial"), fated(SLOW)]
        said = [pool.submit(recogniser.transcribe, each) for each in stages]
        time.sleep(fragile.SLOW_S / 2)
        os.kill(recogniser.pids[0], signal.SIGKILL)
        assert [each.result().stage for each in said] == ["partial", "final"]


def test_a_process_that_dies_idle_is_replaced() -> None:
    with loaded(processes=2) as recogniser:
        first = recogniser.pids
        os.kill(first[0], signal.SIGKILL)
        soon(lambda: len(recogniser.pids) == 2 and recogniser.pids != first)
        assert first[1] in recogniser.pids
        assert recogniser.transcribe(fated(FINE)).text


@pytest.mark.parametrize("fate", [STUCK, ASLEEP])
def test_who_hangs_fails_in_time_and_the_neighbours_are_heard(fate: int) -> None:
    with loaded(workers=2, limit_s=1.0, limit_per_s=0.2) as recogniser, ThreadPoolExecutor(2) as pool:
        began = time.monotonic()
        stuck = pool.submit(recogniser.transcribe, fated(fate))
        time.sleep(0.9)  # the other one has just begun when time is up for this one, and may not be late itself
        other = pool.submit(recogniser.transcribe, fated(SLOW, "u2"))
        with pytest.raises(RecogniserFailed, match="no answer within 1 s over u1"):
            stuck.result()
        assert 1.0 < time.monotonic() - began < 3.0
        assert other.result().utterance == "u2"


def test_longer_speech_has_more_time() -> None:
    with loaded(limit_s=0.1, limit_per_s=1.0) as recogniser:
        with pytest.raises(RecogniserFailed, match="no answer"):
            recogniser.transcribe(fated(SLOW, ms=20))
        assert recogniser.transcribe(fated(SLOW, "u2", ms=2_000)).text


@pytest.mark.parametrize("fate", [SEGFAULT, ASLEEP])
def test_a_final_does_not_kill_anew_what_its_partial_killed(fate: int) -> None:
    with loaded(limit_s=0.5) as recogniser:
        with pytest.raises(RecogniserFailed):
            recogniser.transcribe(replace(fated(fate), stage="partial"))
        soon(lambda: recogniser.pids)
        pids = recogniser.pids
        with pytest.raises(RecogniserFailed, match="over u1"):
            recogniser.transcribe(fated(fate))
        assert recogniser.transcribe(replace(fated(FINE), call="another")).text, "another call has a u1 of its own"
        assert recogniser.pids == pids


@pytest.mark.parametrize(
    ("fate", "error", "says"),
    [
        ("missing", ModelMissing, "the weights of fragile are nowhere"),
        ("wrong", ConfigError, "fragile has no such option"),
        ("surprise", ModelMissing, r"tests\.models\.fragile left with status 1"),
        ("dies", ModelMissing, r"tests\.models\.fragile died of SIGKILL"),
    ],
)
def test_what_cannot_be_loaded_is_named(tmp_path: Path, fate: str, error: type[AssistError], says: str) -> None:
    (tmp_path / "fate").write_text(fate)
    with pytest.raises(error, match=says):
        apart.load("tests.models.fragile", processes=2, fate=tmp_path / "fate")


def test_what_cannot_be_started_again_says_so_until_it_can(tmp_path: Path) -> None:
    notices = ["another"]
    fate = tmp_path / "fate"
    with loaded(fate=fate, notices=notices) as recogniser:
        fate.write_text("missing")
        os.kill(recogniser.pids[0], signal.SIGKILL)
        soon(lambda: recogniser.down)
        assert notices == ["another", recogniser.down]
        with pytest.raises(RecogniserFailed, match=r"cannot be started again: the weights of fragile are nowhere"):
            recogniser.transcribe(fated(FINE))
        fate.write_text("")
        soon(lambda: not recogniser.down)
        assert recogniser.transcribe(fated(FINE)).text
        assert notices == ["another"]


def test_closing_ends_the_processes_and_what_they_hear() -> None:
    recogniser = apart.load("tests.models.fragile", processes=2)
    pids = recogniser.pids
    with ThreadPoolExecutor(1) as pool:
        stuck = pool.submit(recogniser.transcribe, fated(ASLEEP))
        time.sleep(0.2)
        recogniser.close()
        with pytest.raises(RecogniserFailed, match="closed"):
            stuck.result()
    recogniser.close()
    assert not any(map(alive, pids))
    with pytest.raises(RecogniserFailed, match="closed"):
        recogniser.transcribe(fated(FINE))


def test_signals_to_a_whole_terminal_or_unit_do_not_end_a_process() -> None:
    with loaded() as recogniser:
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(recogniser.pids[0], number)
        pids = recogniser.pids
        assert recogniser.transcribe(fated(SLOW)).text
        assert recogniser.pids == pids


def test_a_process_ends_with_the_one_that_started_it() -> None:
    script = (
        "import time; from models import apart\n"
        "print(*apart.load('tests.models.fragile', processes=2).pids, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    with parent.stdout as told:
        pids = [int(each) for each in told.readline().split()]
    assert len(pids) == 2 and all(map(alive, pids))
    parent.kill()
    parent.wait()
    soon(lambda: not any(map(alive, pids)))


def test_the_kernel_takes_the_process_before_the_server_and_keeps_no_sound() -> None:
    with loaded() as recogniser:
        place = Path(f"/proc/{recogniser.pids[0]}")
        assert int((place / "oom_score_adj").read_text()) >= 500
        (core,) = [line for line in (place / "limits").read_text().splitlines() if line.startswith("Max core file")]
        assert core.split()[4] == "0"
