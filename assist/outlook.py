"""Whether words sound finished: what the text of an eager final says about whether its speaker will go on.

It knows no audio and no clock; how long an end waits for which outlook is the segmenter's business.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from assist.conversation import Transcript
from assist.segment import Outlook

SURE: Final = 0.6
"""Mean probability of a token from which a text is believed: exp(-0.5), the usual bar for Whisper's log probability."""
DIGITS: Final = 2
"""So many digits or letters in a row are a number or a spelling under way."""

_WORD: Final = re.compile(r"[\w']+")
_UNFINISHED: Final = frozenset(
    re.findall(
        r"\S+",
        """
        a an the my your his its our their this these some any every
        and or but so because if when while that which who than as although though unless until
        of to in on at by for from with about into over under between without
        is are was were am be been has have had will would can could should must may might do does did not
        i we they he she you it's i'm you're we're they're i've we've i'd i'll
        um uh er erm hmm mm well like very really just also
        """,
    )
)
_DIGIT: Final = frozenset(re.findall(r"\S+", "zero oh one two three four five six seven eight nine double triple"))


def outlook(said: Transcript, before: str, *, rough: bool) -> Outlook:
    """What `said`, an eager final, sounds like. `before`: the last partial of the same utterance, "" where none was.

    A text ends where it ends like a sentence, is sure, and only goes on from where the last partial stood. English
    words decide whether it is open, so other languages never are. A rough recogniser's last word proves nothing.
    """
    words = _WORD.findall(said.text.lower())
    if rough or not words:
        return "unknown"
    if said.language == "en" and _reading_out(words):
        return "open"
    text = said.text.rstrip(" \"'”’)")
    if text.endswith((".", "?", "!")) and not text.endswith(("...", "…")):
        sure = said.probability is not None and said.probability >= SURE
        return "ended" if sure and _goes_on_from(words, _WORD.findall(before.lower())) else "unknown"
    return "open" if said.language == "en" and words[-1] in _UNFINISHED else "unknown"


def _reading_out(words: Sequence[str]) -> bool:
    """The last words are digits or letters in a row: "four seven", "47 11", "b a"."""
    run = 0
    for word in reversed(words):
        if not (word in _DIGIT or word.isdigit() or (len(word) == 1 and word.isalpha() and word not in "ai")):
            break
        run += len(word) if word.isdigit() else 1
    return run >= DIGITS


def _goes_on_from(words: Sequence[str], before: Sequence[str]) -> bool:
    # The last word of a partial is cut off more often than not.
    settled = before[:-1]
    return list(words[: len(settled)]) == list(settled)
