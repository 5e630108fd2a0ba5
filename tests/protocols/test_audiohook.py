"""AudioHook: numbers checked both ways, the best medium chosen, what was heard told as transcript entities."""

from __future__ import annotations

import itertools
import json
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assist.conversation import Evidence, Suggestion, Transcript, Word
from assist.errors import BadEncoding, BadMessage, Busy, Unauthorized, WireError
from assist.events import AnyEvent, Entry, Paused, Resumed, Suggested, Transcribed, Withdrawn
from assist.protocols import Bye, Cut, Due, Handshake, Key, Lost, Odd, Opened, Pause, Resume, Sound, spread
from assist.protocols.audiohook import AudioHook
from tests import genesys
from tests.contracts.protocol import JSON, ProtocolContract, check_said
from tests.golden.exchange import ASKED, CORRELATION, ORGANISATION, SESSION, audiohook

CONVERSATION = "40000000-0000-4000-8000-000000000004"


def message(kind: str, seq: int, serverseq: int = 0, /, **given: Any) -> dict[str, Any]:
    return {"version": "2", "id": SESSION, "type": kind, "seq": seq, "serverseq": serverseq, "position": "PT0S",
            "parameters": given}  # fmt: skip


def opening(**more: Any) -> dict[str, Any]:
    return message("open", 1, **genesys.parameters(ORGANISATION, CONVERSATION, **more))


class Client:
    """Numbers what it says as a client does."""

    def __init__(self, **more: Any) -> None:
        self.protocol = audiohook()
        self.seq = 0
        (self.opened,) = self.say("open", **genesys.parameters(ORGANISATION, CONVERSATION, **more))
        (welcome,) = map(json.loads, self.protocol.welcome())
        self.welcome: dict[str, Any] = welcome

    def say(self, kind: str, **given: Any) -> list[Any]:
        self.seq += 1
        return self.protocol.receive(json.dumps(message(kind, self.seq, **given)))

    def tell(self, event: AnyEvent, at_ms: int = 0) -> list[dict[str, Any]]:
        texts = self.protocol.tell(Entry("c", 3, at_ms, event))
        return [entity for text in texts for entity in json.loads(text)["parameters"]["entities"]]


class TestAudioHook(ProtocolContract):
    name = "audiohook"
    most_lost_ms = 3_600_000

    def protocol(self) -> AudioHook:
        return audiohook()

    def opening(self) -> dict[str, Any]:
        return opening()

    def messages(self) -> list[dict[str, Any]]:
        span = {"start": "PT0S", "discarded": "PT1.5S"}
        return [
            message("ping", 2, rtt="PT0.05S"),
            message("paused", 2),
            message("resumed", 2, **span),
            message("discarded", 2, **span),
            message("update", 2, language="de-DE"),
            message("error", 2, code=408, message="no pong"),
            message("dtmf", 2, digit="5"),
            message("close", 2, reason="end"),
        ]


def test_open_in_full() -> None:
    client = Client(language="en-US", customConfig={"queue": "sales", "deep": {"no": 1}}, supportedLanguages=True)
    said = client.opened
    assert isinstance(said, Opened)
    assert (said.call, said.parties, said.encoding) == (CONVERSATION, ("customer", "agent"), "mulaw")
    assert said.mixed == (), "external and internal are channels of their own"
    wanted = {"organizationId": ORGANISATION, "sessionId": SESSION, "correlationId": CORRELATION, "language": "en-US",
              "ani": "+1-9876543210", "aniName": "Jo Doe", "dnis": "+1-123456789", "queue": "sales"}  # fmt: skip
    assert {k: said.metadata[k] for k in wanted} == wanted and set(said.metadata) == {*wanted, "participantId"}
    assert client.welcome == {
        "version": "2", "type": "opened", "id": SESSION, "seq": 1, "clientseq": 1,
        "parameters": {"media": [genesys.STEREO], "startPaused": False, "supportedLanguages": ["en-US"]},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("offered", "best"),
    [
        ([genesys.LINEAR, genesys.STEREO], 1),
        ([{**genesys.STEREO, "channels": ["external"]}, genesys.LINEAR], 1),
        ([{**genesys.LINEAR, "channels": ["internal"]}, {**genesys.LINEAR, "channels": ["external"]}], 1),
        ([{**genesys.STEREO, "channels": ["internal"]}], 0),
        ([{**genesys.STEREO, "rate": 44_100}, {**genesys.STEREO, "later": True}], 1),
        ([{**genesys.STEREO, "format": ["PCMU"]}, {}, {**genesys.STEREO, "channels": ["internal", "external"]}], 2),
    ],
)
def test_the_best_medium_is_taken_unchanged(offered: list[Any], best: int) -> None:
    client = Client(media=offered)
    assert client.welcome["parameters"]["media"] == [offered[best]]
    channels = [{"external": "customer", "internal": "agent"}[name] for name in offered[best]["channels"]]
    assert list(client.opened.parties) == channels


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"media": []}, BadEncoding),
        ({"media": [{**genesys.STEREO, "format": "OPUS"}]}, BadEncoding),
        ({"media": "PCMU"}, BadMessage),
        ({"organizationId": CONVERSATION}, Unauthorized),
        ({"organizationId": "us"}, BadMessage),
        ({"conversationId": "../../etc/passwd"}, BadMessage),
        ({"conversationId": f"{CONVERSATION}\n"}, BadMessage),
        ({"participant": None}, BadMessage),
        ({"customConfig": "partials"}, BadMessage),
    ],
)
def test_a_wrong_open_is_refused_by_name(changes: dict[str, Any], refusal: type[WireError]) -> None:
    with pytest.raises(refusal):
        audiohook().receive(json.dumps(opening(**changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {"version": "1"}, {"id": CONVERSATION}, {"seq": 3}, {"seq": 1}, {"seq": "2"}, {"seq": 2**70}, {"serverseq": 2},
        {"serverseq": -1}, {"position": "1.5"}, {"position": "PT1.5S\n"}, {"parameters": []}, {"type": 7},
    ],
)  # fmt: skip
def test_a_wrong_envelope_is_refused(changes: dict[str, Any]) -> None:
    client = Client()
    with pytest.raises(BadMessage):
        client.protocol.receive(json.dumps({**message("ping", 2, 1), **changes}))
    assert client.protocol.receive(json.dumps({**message("ping", 2, 1), "later": 1})) == [Due()]


@pytest.mark.parametrize("missing", [*ASKED])
def test_the_handshake_names_who_calls(missing: str) -> None:
    headers = {name: value for name, value in ASKED.items() if name != missing}
    if missing == "host":  # no concern of the dialect
        return AudioHook(lambda _: None).greet(Handshake("/", headers, 0.0))
    with pytest.raises(BadMessage, match="Audiohook-"):
        AudioHook(lambda _: None).greet(Handshake("/", headers, 0.0))


def test_who_is_not_let_in_hears_why_before_anything_else() -> None:
    def nobody(_: Handshake) -> None:
        raise Unauthorized("no")

    with pytest.raises(Unauthorized):
        AudioHook(nobody).greet(Handshake("/", {}, 0.0))


def test_control_messages() -> None:
    client = Client()
    assert client.say("ping", rtt="PT0.1S") == [Due()]
    (pong,) = map(json.loads, client.protocol.replies())
    assert (pong["type"], pong["seq"], pong["clientseq"], pong["parameters"]) == ("pong", 2, 2, {})
    assert client.protocol.replies() == []
    assert client.say("paused") == [Pause("paused by the platform")]
    with pytest.raises(BadMessage, match="paused"):
        client.protocol.receive(b"\xff\xff")
    assert client.say("resumed", start="PT1S", discarded="PT2S") == [Resume("resumed by the platform")]
    assert client.say("discarded", start="PT3S", discarded="PT1.25S") == [Lost("customer", 1_250), Lost("agent", 1_250)]
    assert client.say("update", language="de-DE") == [Cut(), Odd("update"), Due()]
    assert json.loads(client.protocol.replies()[0])["type"] == "updated"
    assert client.say("dtmf", digit="7") == [Key("customer")]
    assert client.say("error", code=409, message="hm") == [Odd("client_error")]
    assert client.say("playback_started") == [Odd("unknown_message")]
    assert client.protocol.farewell("error", {}) == [], "closed answers a close"
    assert client.say("close", reason="end", later=1) == [Bye()]
    assert client.say("ping") == [Due()] and len(client.protocol.replies()) == 1, "the last finals may take a while"
    assert client.say("paused") == [Odd("after_close")]
    assert client.protocol.receive(b"\xff\xff") == [Odd("after_close")]
    assert client.protocol.refusal(Busy("full")) == [] and client.protocol.leave() == []
    assert [json.loads(text)["type"] for text in client.protocol.farewell("bye", {})] == ["closed"]
    assert client.protocol.farewell("bye", {}) == [] and client.tell(final("too late")) == []
    assert client.say("ping") == [Odd("after_close")]


@pytest.mark.parametrize("given", [{}, {"start": "PT0S"}, {"start": "PT0S", "discarded": "PT3601S"},
                                   {"start": "PT0S", "discarded": "PT-1S"}])  # fmt: skip
def test_a_loss_that_cannot_be_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(BadMessage, match="discarded"):
        Client().say("discarded", **given)


def test_ends_that_are_ours() -> None:
    client = Client()
    (busy,) = map(json.loads, client.protocol.refusal(Busy("99 calls are live", 12)))
    assert busy["type"] == "disconnect" and busy["parameters"] == {
        "reason": "error", "info": "503 busy: 99 calls are live; retry after 12 s",
    }  # fmt: skip
    (wrong,) = map(json.loads, client.protocol.refusal(Unauthorized("no")))
    assert wrong["parameters"]["reason"] == "unauthorized"
    (leaving,) = map(json.loads, client.protocol.leave())
    assert leaving["type"] == "reconnect"
    assert [busy["seq"], wrong["seq"], leaving["seq"]] == [2, 3, 4]


def test_a_probe_opens_and_is_no_call() -> None:
    protocol = audiohook()
    assert protocol.receive(json.dumps(message("open", 1, **genesys.probe(ORGANISATION)))) == [Due()]
    (opened,) = map(json.loads, protocol.replies())
    assert opened["type"] == "opened" and opened["parameters"]["media"] == [genesys.STEREO]
    assert protocol.receive(b"\xff" * 3_200) == []
    assert protocol.receive(json.dumps(message("close", 2, 1, reason="end"))) == [Bye()]
    assert [json.loads(text)["type"] for text in protocol.farewell("bye", {})] == ["closed"]


@settings(max_examples=100, deadline=None)
@given(linear=st.booleans(), mono=st.booleans(), data=st.binary(max_size=600), cuts=st.lists(st.integers(0, 600)))
def test_samples_go_to_their_party_however_they_are_cut(linear: bool, mono: bool, data: bytes, cuts: list[int]) -> None:
    media = {**(genesys.LINEAR if linear else genesys.STEREO)} | ({"channels": ["internal"]} if mono else {})
    client = Client(media=[media])
    parties = ["agent"] if mono else ["customer", "agent"]
    edges = [0, *sorted(min(c, len(data)) for c in cuts), len(data)]
    got = dict.fromkeys(parties, b"")
    for begin, end in itertools.pairwise(edges):
        for said in client.protocol.receive(data[begin:end]):
            if isinstance(said, Sound):
                got[said.party] += said.payload
    width = 2 if linear else 1
    whole = len(data) // (width * len(parties)) * width * len(parties)
    for n, party in enumerate(parties):
        assert got[party] == b"".join(data[a : a + width] for a in range(n * width, whole, width * len(parties)))
    assert client.protocol.flush() == ([Odd("odd_bytes")] if whole < len(data) else [])


KINDS = ["open", "ping", "paused", "resumed", "discarded", "update", "error", "dtmf", "close", "sing"]
SPANS = st.sampled_from(["PT0S", "PT1.5S", "PT.5S", "PT99999999999S", "1", ""])
GIVEN = st.dictionaries(st.sampled_from(["start", "discarded", "language", "reason", "media", "rtt"]), JSON | SPANS)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(KINDS), GIVEN) | st.binary(max_size=40) | st.just("welcome"), max_size=20),
    st.dictionaries(st.sampled_from(["media", "customConfig", "language", "continuedSessions"]), JSON),
)
def test_any_messages_in_right_order_are_said_or_refused_by_name(steps: list[Any], changes: dict[str, Any]) -> None:
    """And what goes back is numbered without a hole."""
    protocol, seq, sent = audiohook(), 1, []
    try:
        protocol.receive(json.dumps(opening(**changes)))
    except WireError:
        return
    for step in steps:
        if step == "welcome":
            sent += protocol.replies()
            continue
        seq += isinstance(step, tuple)
        try:
            given = step if isinstance(step, bytes) else json.dumps({**message(step[0], seq), "parameters": step[1]})
            check_said(protocol.receive(given), 3_600_000)
        except WireError as error:
            assert 0 < len(str(error)) < 400
    sent += [*protocol.replies(), *protocol.refusal(WireError("x")), *protocol.farewell("bye", {})]
    assert [json.loads(text)["seq"] for text in sent] == list(range(1, len(sent) + 1))


def final(text: str, **changes: Any) -> Transcribed:
    words = (Word("good", 1_000, 1_200, 0.9), Word("morning", 1_200, 1_600, 0.8))
    given: dict[str, Any] = {"words": words, "stage": "final", "probability": 0.85, **changes}
    return Transcribed(Transcript("c-7", "customer", 1_000, 1_600, text, **given))


def test_a_final_is_a_transcript_with_tokens() -> None:
    (entity,) = Client().tell(final("good morning"))
    data = entity["data"]
    assert entity["type"] == "transcript" and str(uuid.UUID(data["id"])) == data["id"]
    assert (data["channelId"], data["isFinal"], data["offset"], data["duration"]) == (0, True, "PT1.000S", "PT0.600S")
    (told,) = data["alternatives"]
    (shown,) = told["interpretations"]
    assert (told["confidence"], told["languages"], shown["type"], shown["transcript"]) == (
        0.85, ["en-US"], "display", "good morning",
    )  # fmt: skip
    assert shown["tokens"][0] == {
        "type": "word", "value": "good", "confidence": 0.9, "offset": "PT1.000S", "duration": "PT0.200S",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("said", "opened", "told"),
    [("en", "en-GB", "en-GB"), ("de", "en-GB", "de-DE"), ("en", "", "en-US"), ("da", "da", "da-DK"), ("", "en-GB", "")],
)
def test_languages_are_told_as_genesys_writes_them(said: str, opened: str, told: str) -> None:
    (entity,) = Client(language=opened).tell(final("good morning", language=said))
    assert entity["data"]["alternatives"][0]["languages"] == ([told] if told else [])


def test_times_are_those_of_a_stream_that_stands_still_while_it_is_paused() -> None:
    client = Client()
    client.say("paused")
    client.tell(Paused("x"), at_ms=6_000)
    client.say("resumed", start="PT6S", discarded="PT0S")
    early = client.tell(final("before the pause"))
    client.tell(Resumed("x"), at_ms=9_000)
    client.say("paused")
    client.tell(Paused("x"), at_ms=11_000)
    client.say("resumed", start="PT8S", discarded="PT1S")
    client.tell(Resumed("x"), at_ms=13_000)
    words = (Word("good", 10_000, 10_200, 0.9),)
    between = client.tell(
        Transcribed(Transcript("c-8", "customer", 10_000, 10_600, "good", words=words, stage="final"))
    )
    late = client.tell(Transcribed(Transcript("c-9", "agent", 14_000, 14_600, "good", stage="final")))
    offsets = [entity["data"]["offset"] for (entity,) in (early, between, late)]
    assert offsets == ["PT1.000S", "PT7.000S", "PT10.000S"]


def test_partials_are_for_who_asks() -> None:
    partial, eager = final("good", stage="partial", words=()), final("good", stage="speculative")
    assert Client().tell(partial) == [] and Client(customConfig={"partials": "yes"}).tell(eager) == []
    client = Client(customConfig={"partials": True})
    told = [client.tell(each)[0]["data"] for each in (partial, eager, final("good"))]
    assert [each["isFinal"] for each in told] == [False, False, True]
    assert len({each["id"] for each in told}) == 1, "what replaces another has its id"
    assert client.tell(final("")) == [] and client.tell(Withdrawn("c-7")) == []


def test_suggestions_are_for_who_asks() -> None:
    cards = (
        Suggestion(
            "s1", "article", "refund", "Refunds", "because", 0.7, "14 days <b>", evidence=Evidence("c-7", 1_500)
        ),
        Suggestion("s2", "action", "offer", "Make an offer", "next", 1.2, "May I & so on"),
    )
    assert Client().tell(Suggested("c-7", cards)) == []
    client = Client(customConfig={"agentassist": True})
    (entity,) = client.tell(Suggested("c-7", cards))
    article, faq = entity["data"]["suggestions"]
    assert entity["type"] == "agentassist" and (article["type"], faq["type"]) == ("article", "faq")
    assert article["title"] == "Refunds" and article["excerpts"] == ["14 days &lt;b&gt;"]
    assert (article["position"], article["documentUri"]) == ("PT1.500S", "/articles/refund")
    assert faq["question"] == "Make an offer" and faq["answer"] == "May I &amp; so on" and faq["confidence"] == 1.0
    assert client.tell(Suggested("c-7", ())) == [], "an event is never empty"


@given(st.text(min_size=1, max_size=60), st.integers(0, 10_000), st.integers(0, 2_000))
def test_words_without_times_lie_within_what_was_said(text: str, start_ms: int, length_ms: int) -> None:
    said = Transcript("u", "customer", start_ms, start_ms + length_ms, text)
    words = spread(said)
    assert [word.text for word in words] == text.split()
    edges = [edge for word in words for edge in (word.start_ms, word.end_ms)]
    assert edges == sorted(edges) and all(start_ms <= edge <= start_ms + length_ms for edge in edges)
    offsets = [t["offset"] for e in Client().tell(Transcribed(said)) for t in tokens(e)]
    assert len(set(offsets)) == len(offsets), "offsets of tokens are unique"


def tokens(entity: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = entity["data"]["alternatives"][0]["interpretations"][0]["tokens"]
    return found
