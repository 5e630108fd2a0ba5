"""Recorded calls for the pages' tests: logs of real entries, and tones where words were spoken.

It knows no server and no browser.
"""

from __future__ import annotations

import io
import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from assist.audio import Party
from assist.conversation import Evidence, Finding, Flag, PlaybookStep, Severity, Suggestion, SuggestionKind, Transcript
from assist.events import (
    AnyEvent,
    CallEnded,
    CallStarted,
    Entry,
    Flagged,
    Ledger,
    Noticed,
    PlaybookMoved,
    SpeechStarted,
    Suggested,
    Transcribed,
    Withdrawn,
)

TONE_RATE_HZ: Final = 8_000
WORD_MS: Final = 300
PEAK_MS: Final = 50
STARTED: Final = "2026-03-02T09:30:00Z"
METADATA: Final = {"customer_name": "Maria Lopez", "agent": "Sam Field", "queue": "Repairs", "language": "en"}

Card = tuple[SuggestionKind, str, str, str, str]
"""kind, ref, title, why, quote"""

STEPS: Final = (
    ("greet", "Greeted"),
    ("verify", "Verified"),
    ("diagnose", "Diagnose"),
    ("offer", "Offer"),
    ("close", "Close"),
)


@dataclass(frozen=True)
class Line:
    """One turn and what follows from it. `sentiment` is the turn's, -1..1; `stress` 0..1; `steps` done by then."""

    party: Party
    text: str
    sentiment: float | None = None
    stress: float | None = None
    topic: str = ""
    cards: tuple[Card, ...] = ()
    flag: tuple[str, Severity, str] | None = None
    steps: int | None = None
    pause_ms: int = 500


_SCREEN: Final[Card] = (
    "article",
    "camera-black-screen-video-calls",
    "Camera shows black screen in video calls",
    "because: “it shows a black screen”",
    "Allow the camera under Settings, Apps, then the name of the app; then restart the phone.",
)
_DIAGNOSE: Final[Card] = (
    "step",
    "camera_fault/diagnose",
    "Find the cause",
    "next after: Verified",
    "Does the camera work outside video calls?",
)
_OFFER: Final[Card] = (
    "action",
    "offer_replacement",
    "Offer replacement within 30 days",
    "because: “bought it seven days ago”",
    "I can replace the phone today, in the shop or by post.",
)
_SUPERVISOR: Final[Card] = (
    "alert",
    "escalation",
    "Customer asks for a supervisor",
    "because: “speak to a supervisor”",
    "I want to speak to a supervisor.",
)
_APP: Final[Card] = (
    "article",
    "camera-app-freezes-or-closes",
    "Camera app freezes or closes",
    "because: “freezes when I open the camera”",
    "Clear the camera app's cache: no photo is lost by it.",
)
_REPLACE: Final[Card] = (
    "article",
    "replacement-within-30-days",
    "Replacing a faulty device within 30 days",
    "because: “bought it seven days ago”",
    "A device that fails within 30 days is replaced by a new one, in the shop or by post.",
)

CAMERA: Final = (
    Line("agent", "Good morning, Northgate, this is Sam. How can I help you today?", steps=1),
    Line("customer", "Hi, the camera on my new phone is not working at all.", -0.35, 0.2, "camera_fault"),
    Line("agent", "I am sorry to hear that. May I have your postcode and your date of birth?"),
    Line("customer", "Yes, it is the one you have on file, the fourth of May eighty eight.", 0.0, 0.22),
    Line("agent", "Thank you, Maria, I have your account here.", steps=2),
    Line("customer", "In video calls it shows a black screen, nobody sees me.", -0.4, 0.3, "camera_fault", (_SCREEN,)),
    Line(
        "agent",
        "I understand. Does the camera work in the camera app itself?",
        cards=(_DIAGNOSE,),
    ),
    Line("customer", "Sometimes, but it freezes when I open the camera again.", -0.3, 0.34, "camera_fault", (_APP,)),
    Line("agent", "Let us try something. Please open settings, then apps, then the camera, and tell me what it says."),
    Line("customer", "It says allowed, I looked at that twice already.", -0.45, 0.42),
    Line("agent", "Good. Could you restart the phone for me, please?"),
    Line("customer", "I did restart it, twice, and still a black screen.", -0.6, 0.5, "camera_fault", (_SCREEN,)),
    Line("agent", "Just a moment, I am looking into what else there is.", pause_ms=300),
    Line("customer", "Hello? Are you still there?", -0.3, 0.55, pause_ms=6_500),
    Line("agent", "Yes, I am here, thank you for waiting. When did you buy the phone?"),
    Line(
        "customer",
        "I bought it seven days ago and it cost me eight hundred pounds, this is ridiculous.",
        -0.85,
        0.72,
        "camera_fault",
        (
            _OFFER,
            _REPLACE,
        ),
        ("very_negative", "medium", "The customer is very unhappy"),
        steps=3,
    ),
    Line("agent", "You are right to be annoyed, that should not happen with a new phone.", pause_ms=-400),
    Line(
        "customer",
        "If this is not solved today I want to speak to a supervisor.",
        -0.8,
        0.8,
        "complaint",
        (_SUPERVISOR,),
        ("escalation", "high", "The customer asked for a supervisor"),
    ),
    Line("agent", "I can replace it today. Shall I send a new one by post, or do you prefer the shop?", steps=4),
    Line("customer", "Oh. By post would be fine. How long does it take?", 0.1, 0.55, "camera_fault"),
    Line("agent", "Two to three working days, and you send the old one back in the same box."),
    Line("customer", "That is good, thank you.", 0.55, 0.4),
    Line("agent", "You will have a message with the number within the hour. Is there anything else?"),
    Line("customer", "No, that was all, thanks for your help.", 0.6, 0.28),
    Line("agent", "Thank you for calling Northgate, goodbye.", steps=5),
)


@dataclass
class Recorder:
    """Writes a log as a server would: speech, partials, speculative and final texts, findings, cards."""

    call: str
    partials: bool = True
    entries: list[Entry] = field(default_factory=list)
    cards: int = 0
    mood: float = 0.0

    def tell(self, at_ms: int, event: AnyEvent, latency_ms: dict[str, float] | None = None) -> None:
        self.entries.append(Entry(self.call, len(self.entries) + 1, at_ms, event, latency_ms or {}))

    def start(self, metadata: dict[str, str], rough: bool = False) -> None:
        name = "pocketsphinx en-us + kb" if rough else "whisper-base int8"
        parties: tuple[Party, ...] = ("agent", "customer")
        self.tell(0, CallStarted(STARTED, "plain", parties, "mulaw", 8000, name, rough, metadata))

    def say(self, number: int, line: Line, start_ms: int) -> int:
        """One line; returns when its speech ends, in ms."""
        words = line.text.split()
        end_ms = start_ms + WORD_MS * len(words)
        utterance = f"{line.party[0]}{number}"

        def transcript(count: int, stage: Literal["partial", "speculative", "final"]) -> Transcribed:
            text, until_ms = " ".join(words[:count]), start_ms + WORD_MS * count
            return Transcribed(Transcript(utterance, line.party, start_ms, until_ms, text, stage=stage))

        if self.partials:
            self.tell(start_ms + 100, SpeechStarted(line.party, start_ms))
            for count in range(3, len(words), 3):
                at_ms = start_ms + WORD_MS * count + 120
                self.tell(at_ms, transcript(count, "partial"), {"queue": 3.0, "asr": 88.0})
                if count == 6:
                    self.tell(at_ms + 30, transcript(count, "speculative"), {"queue": 2.0, "asr": 140.0})
                    self.tell(at_ms + 60, Withdrawn(utterance))
            self.tell(end_ms + 250, transcript(len(words), "speculative"), {"queue": 2.0, "asr": 140.0, "final": 250.0})
        stages = {"queue": 4.0, "asr": 212.0, "final": 560.0}
        self.tell(end_ms + 560, transcript(len(words), "final"), stages)
        self._follow(line, utterance, start_ms, end_ms)
        return end_ms

    def _follow(self, line: Line, utterance: str, start_ms: int, end_ms: int) -> None:
        at_ms = end_ms + 575
        evidence = Evidence(utterance, start_ms, end_ms, quote=line.text, source="test")
        findings = []
        if line.sentiment is not None:
            self.mood = round(0.6 * self.mood + 0.4 * line.sentiment, 3)
            label = "negative" if line.sentiment < -0.2 else "positive" if line.sentiment > 0.2 else "neutral"
            findings.append(Finding("sentiment", label, line.sentiment, evidence, {"call": self.mood}))
        if line.stress is not None:
            findings.append(Finding("stress", "tense" if line.stress >= 0.5 else "calm", line.stress, evidence))
        if line.topic:
            findings.append(Finding("topic", line.topic, 0.83, evidence))
        if findings:
            self.tell(at_ms, Noticed(utterance, line.party, tuple(findings)), {"analyse": 11.0, "total": 571.0})
        if line.cards:
            suggestions = []
            for kind, ref, title, why, quote in line.cards:
                self.cards += 1
                source = {"article": f"article:{ref}", "alert": f"rule:{ref}"}.get(kind, f"playbook:{ref}")
                suggestions.append(Suggestion(f"s{self.cards}", kind, ref, title, why, 0.8, quote, source, evidence))
            self.tell(at_ms + 8, Suggested(utterance, tuple(suggestions)), {"suggest": 8.0, "total": 583.0})
        if line.steps is not None:
            now = line.steps
            steps = tuple(
                PlaybookStep(name, title, "done" if i < now else "now" if i == now else "next")
                for i, (name, title) in enumerate(STEPS)
            )
            self.tell(at_ms + 9, PlaybookMoved("camera_fault", "Camera fault", steps))
        if line.flag:
            rule, severity, reason = line.flag
            self.tell(at_ms + 10, Flagged(Flag(rule, severity, reason, evidence)))

    def end(self, at_ms: int, reason: str = "bye") -> None:
        ledger = {party: Ledger(at_ms, at_ms / 2, at_ms / 2, {}, 0.0, 0.0) for party in ("agent", "customer")}
        self.tell(at_ms, CallEnded(reason, at_ms, ledger, {}))


def record(
    call: str,
    lines: Sequence[Line] = CAMERA,
    *,
    metadata: dict[str, str] | None = None,
    rough: bool = False,
    ended: bool = True,
    partials: bool = True,
) -> list[Entry]:
    """The log of a call in which these lines are spoken, as a server tells it; `seq` without holes."""
    recorder = Recorder(call, partials)
    recorder.start(METADATA if metadata is None else metadata, rough)
    end_ms = 700
    for number, line in enumerate(lines):
        end_ms = recorder.say(number, line, end_ms + line.pause_ms)
    if ended:
        recorder.end(end_ms + 1_500)
    return in_order(recorder.entries)


def in_order(entries: Sequence[Entry]) -> list[Entry]:
    """Sorted by time, numbered anew."""
    ordered = sorted(entries, key=lambda entry: entry.at_ms)
    return [Entry(e.call, seq, e.at_ms, e.event, e.latency_ms) for seq, e in enumerate(ordered, 1)]


def finals(entries: Sequence[Entry]) -> Iterator[Transcript]:
    """Final transcripts in the order of the log."""
    for entry in entries:
        if isinstance(entry.event, Transcribed) and entry.event.transcript.stage == "final":
            yield entry.event.transcript


def tones(entries: Sequence[Entry]) -> tuple[bytes, list[list[int]]]:
    """A WAV of two channels (agent left, customer right) that sounds where they spoke, and its peaks, 0..255."""
    length_ms = entries[-1].at_ms
    sound = np.zeros((length_ms * TONE_RATE_HZ // 1000, 2), dtype=np.int16)
    for said in finals(entries):
        start, end = (ms * TONE_RATE_HZ // 1000 for ms in (said.start_ms, said.end_ms))
        at = np.arange(end - start) / TONE_RATE_HZ
        hz, channel = (220, 0) if said.party == "agent" else (330, 1)
        swell = 0.35 + 0.65 * np.abs(np.sin(2 * np.pi * 1.7 * at))
        sound[start:end, channel] = (9_000 * swell * np.sin(2 * np.pi * hz * at)).astype(np.int16)[: len(sound) - start]
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(TONE_RATE_HZ)
        file.writeframes(sound.tobytes())
    per = PEAK_MS * TONE_RATE_HZ // 1000
    whole = sound[: len(sound) // per * per].astype(np.int32).reshape(-1, per, 2)
    peaks = np.abs(whole).max(axis=1) * 255 // 32_768 * 3
    return out.getvalue(), [np.minimum(peaks[:, channel], 255).tolist() for channel in (0, 1)]
