"""Analysers: what they are, and running the list of them so that one that fails harms no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from assist.conversation import Conversation, Finding, Heard
from assist.errors import AssistError
from assist.events import Faltered


class Analyser(Protocol):
    """A judgement about one final utterance. Pure: what it must remember stands in earlier turns' findings.

    `so_far` holds the turns before this one. Returns no finding where the analyser does not apply (the
    agent's voice, say) and a finding labelled "none" where it abstains.
    """

    def __call__(self, heard: Heard, so_far: Conversation) -> Sequence[Finding]: ...


BY_SOUND: Final = frozenset({"stress"})
"""Analysers that judge a voice. What they found is void where the voice turns out to be somebody else's."""

_decoder = msgspec.json.Decoder(tuple[Finding, ...])


def run(
    analysers: Mapping[str, Analyser], heard: Heard, so_far: Conversation
) -> tuple[tuple[Finding, ...], tuple[Faltered, ...]]:
    """Findings of all analysers in order, and who faltered. Never raises."""
    findings: list[Finding] = []
    faltered: list[Faltered] = []
    for name, analyse in analysers.items():
        try:
            # Through JSON and back: a NaN or a numpy scalar must fail here, not in a log that nobody can read again.
            findings += _decoder.decode(msgspec.json.encode(list(analyse(heard, so_far))))
        except Exception as error:  # an analyser is anybody's code: whatever it raises, the others go on
            code = error.code if isinstance(error, AssistError) else "analyser_failed"
            faltered.append(Faltered(name, code, f"{type(error).__name__}: {error}"[:300], heard.transcript.utterance))
    return tuple(findings), tuple(faltered)
