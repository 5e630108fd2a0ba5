"""What is said when something is repeated, passed on, solved or refused: plain English phrases, on either side.

It knows one turn's words and no call; what follows from them is models/satisfaction.py's.
"""

from __future__ import annotations

import re
from typing import Final

from assist.audio import Party

MAX_CHARACTERS: Final = 2_000


def repeated(text: str) -> bool:
    """True where a customer says that this is not the first time."""
    return bool(_REPEATED.search(_read(text)))


def passed_on(text: str, party: Party) -> bool:
    """True where an agent passes the customer on, or the customer says that they were."""
    pattern = {"agent": _PASSED_ON, "customer": _SENT_ROUND}.get(party)
    return bool(pattern and pattern.search(_read(text)))


def news(text: str, party: Party) -> int:
    """1 where it is solved or done, -1 where it is not or is refused, 0 where nothing is said of it.

    A turn that says both ("it works but it doesn't help") is bad news; what was only promised, or is asked, is none.
    """
    good, bad = {"customer": (_SOLVED, _NOT_SOLVED), "agent": (_DONE, _REFUSED)}.get(party, (None, None))
    if good is None or bad is None:
        return 0
    read = _read(text)
    return -1 if bad.search(read) else int(bool(good.search(read)) and not _UNREAL.search(read))


def _read(text: str) -> str:
    return text[:MAX_CHARACTERS].replace("\u2019", "'").lower()


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile(r"\b(?:" + "|".join(patterns) + ")")


_TOLD: Final = "(?:told|said|explained|gave|given|asked|called|rung|written|wrote|sent|tried|done)"
_TIMES: Final = (
    r"(?:two|three|four|five|six|seven|eight|nine|ten|twenty|several|many|countless|a dozen|a hundred) times"
)
_REPEATED: Final = _any(
    rf"already (?:\w+ )?{_TOLD}",
    rf"(?:just|now) {_TOLD} (?:you|your|him|her|them|somebody|someone)",
    rf"{_TOLD}(?: \w+){{0,4}} (?:already|before|twice|again|{_TIMES})",
    r"(?:as|like) i (?:just )?said",
    r"(?:second|third|fourth|fifth|sixth|seventh|tenth) (?:time|call)\b",
    r"(?:how many|every) times? (?:do|must|i)\b",
    r"(?:start|begin)(?:ing)? (?:all over|from the beginning|from scratch)",
    r"all (?:over )?again\b",
    r"again and again",
    _TIMES,
)
_PASSED_ON: Final = _any(
    r"transfer(?:ring)? you",
    r"put(?:ting)? you (?:through|over)",
    r"pass(?:ing)? you (?:on|over|to)",
    r"connect(?:ing)? you (?:with|to)",
    r"hand(?:ing)? you over",
    r"(?:another|a different|the wrong|the right) department",
)
_SENT_ROUND: Final = _any(
    r"(?:passed|sent|pushed) (?:around|back and forth|from one|on to)",
    r"put through \w+ times",
    r"another department",
)

_WORKS: Final = r"(?:work(?:s|ing|ed)|solved|solves it|sorted|fixed|resolved|mended|did it|did the trick|helped)\b"
_SOLVED: Final = _any(
    rf"(?:it|that|this|they|everything)(?:'s| is| are| has)?(?: \w+){{0,2}}? {_WORKS}",
    r"(?:it|that|this)(?:'s| is) (?:all )?(?:back|good now|perfect|clear now|done)\b",
    r"(?:i'm|i am|we're) (?:in|back online)\b",
    r"(?:ah|oh|yes|okay)[, ]+(?:i )?(?:got|found) it",
    r"(?:answered|answers) (?:all )?my question",
    r"that(?:'s| is) (?:exactly )?what i needed",
)
_NOT: Final = r"(?:not|never|isn't|doesn't|didn't|won't|hasn't|don't|no longer)"
_NOT_SOLVED: Final = _any(
    rf"{_NOT}(?: \w+){{0,2}}? (?:work|help|solve|fix|sort|come|better)",
    r"(?:same|nothing)(?: \w+)? (?:as before|again|happened|changed)",
    r"still (?:not|no|nothing|waiting|missing|broken|out of|the same|isn't|doesn't|haven't|hasn't)\b",
    r"no (?:better|use|help|further|idea)\b",
    r"nobody (?:knows|cares|helps|listens|ever|called|can|answers)",
    r"(?:complaint|ombudsman|lawyer|compensation)\b",
    r"(?:speak|talk) to (?:your|a|the) (?:manager|supervisor|boss)",
    r"(?:close|cancel)(?: \w+)? (?:account|everything|the lot|contract please)",
    r"never (?:again|order|use|buy|book|call)\b",
    r"(?:for|thanks for) nothing\b",
)
_UNREAL: Final = _any(
    r"(?:told|said|says|promised|supposed|should|would|if|whether|until|used to|hope|hoping|thought)\b",
    r"(?:is|does|has|will|when|how) (?:it|that|this)\b",
)
_REFUSED: Final = _any(
    r"(?:i|we) (?:can't|cannot|couldn't|won't be able to|(?:am|are|'re) not able to) "
    r"(?:help|do|change|say|see|speed|offer|find|refund|tell|give)",
    r"(?:nothing|not anything) (?:else|more|earlier|i can|we can|to be done)",
    r"(?:that's|that is|these are) (?:all i can|the rules?|our policy|not possible)",
    r"not possible",
    r"(?:don't|do not) have (?:a date|any notes|any record)",
    r"no record",
    r"call (?:us )?(?:back|again) (?:later|tomorrow)",
)
_DONE: Final = _any(
    r"(?:i've|i have|we've|we have|i just|i'm) (?:just |now )?"
    r"(?:sen[td]|refund|block|book|fix|found|cancelled|chang|add|replac|reset|correct|credit|order)",
    r"(?:it's|it is|that's|that is|all) (?:now )?(?:done|booked|fixed|changed|sorted|approved|confirmed)\b",
    r"^done\b",
    r"free of charge",
)
