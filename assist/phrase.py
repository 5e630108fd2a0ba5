"""Words in recognised speech: tokens, loose matching of phrases, and the few words worth quoting.

It knows no rule, playbook or article, and no recogniser.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from itertools import groupby
from typing import Final, NamedTuple

_WORD: Final = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_SENTENCE_END: Final = re.compile(r"(?<=[.!?…])\s|\n")
_SPACE: Final = re.compile(r"\s")
_SUFFIXES: Final = ("ing", "ed", "es", "s")

_FILLERS: Final = (
    "uh uhm um umm er erm hmm hm mm mhm ah oh eh huh yeah yep yes yup okay ok alright right well like actually "
    "basically literally anyway sort kind mean know guess see hi hello hey please thanks thank sorry sir madam"
)
# Negations are not here: "not working" without "not" says the opposite.
_STOPS: Final = (
    "a an the this that these those it its i im ive id ill me my mine we our us you your youre yours he him his she "
    "her they them their theyre is am are was were be been being do does did doing done have has had having will "
    "would could should can may might must shall to of in on at by for from with about into over up out off and or "
    "but if so as than then there here what whats which who when where why how all any some just really very too "
    "also only even still now again because got get gets getting go goes going went let lets thing things one said "
    "say says tell told want wanted need thats theres hes shes wed weve bit lot much many more most keep keeps quite"
)
_NEGATIVES: Final = "no not never nothing none nobody cannot cant dont didnt doesnt wont isnt wasnt"
NEGATIONS: Final = frozenset(_NEGATIVES.split())
STOP_WORDS: Final = frozenset(f"{_FILLERS} {_STOPS}".split())
_SPOKEN_NUMBERS: Final = (
    "zero nought double triple two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred"
)
_NUMBERS: Final = frozenset(_SPOKEN_NUMBERS.split())
_STOP_WEIGHT: Final = 0.3
_ENOUGH: Final = 0.7  # of a phrase's weight: "speak ... manager" is enough of "speak to a manager"
_SLACK: Final = 2  # words a speaker or a recogniser may put between those of a phrase


class Token(NamedTuple):
    """One word of a text; `start`..`end` are characters of that text, `stem` is what is compared."""

    word: str
    stem: str
    start: int
    end: int


class Span(NamedTuple):
    """Characters `start`..`end` of a text."""

    start: int
    end: int


def pieces(text: str, most: int) -> list[str]:
    """The text cut into pieces of at most `most` characters: between paragraphs, sentences or words where there are.

    Nothing but white space at the cuts is lost, and no piece is empty.
    """
    found: list[str] = []
    rest = text.strip()
    while len(rest) > most:
        window = rest[: most + 1]
        ends = [match.end() for match in _SENTENCE_END.finditer(window)] or [m.end() for m in _SPACE.finditer(window)]
        cut = min(ends[-1] if ends else most, most)
        found.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return [*found, rest] if rest else found


def stem(word: str) -> str:
    """A lower-case word without apostrophes and without a common English ending."""
    plain = word.replace("'s", "").replace("’s", "").replace("'", "").replace("’", "")
    for suffix in _SUFFIXES:
        if plain.endswith(suffix) and len(plain) - len(suffix) >= 3 and not plain.endswith("ss"):
            return plain[: -len(suffix)]
    return plain[:-1] if plain.endswith("e") and len(plain) > 3 else plain  # "take" as "taking"


@lru_cache(maxsize=1024)
def tokens(text: str) -> tuple[Token, ...]:
    """The words of a text in order, with where they stand."""
    return tuple(
        Token(word := match.group().lower(), stem(word), match.start(), match.end()) for match in _WORD.finditer(text)
    )


def is_content(word: str) -> bool:
    """True where the word carries meaning by itself."""
    return word.replace("'", "").replace("’", "") not in STOP_WORDS and (len(word) > 1 or word.isdigit())


def is_number(word: str) -> bool:
    """True for digits and the words numbers are spoken in."""
    return word.isdigit() or word in _NUMBERS


@lru_cache(maxsize=1024)
def content(text: str) -> tuple[Token, ...]:
    """The words of a text that carry meaning, in order."""
    return tuple(token for token in tokens(text) if is_content(token.word))


@lru_cache(maxsize=16384)
def _same(one: str, other: str) -> bool:
    """Equal stems, or long words that differ by an ending or by one letter as a recogniser would mishear them."""
    if one == other:
        return True
    short, long = sorted((one, other), key=len)
    if len(short) < 5 or short[0] != long[0] or len(long) - len(short) > 2:
        return False
    if long.startswith(short):
        return True
    if len(long) < 7 or len(long) - len(short) > 1:  # six letters: "change" is not "charge"
        return False
    at = next(i for i, letter in enumerate(short) if letter != long[i])
    return short[at + (len(short) == len(long)) :] == long[at + 1 :]


@lru_cache(maxsize=64)
def _by_letter(text: str) -> dict[str, frozenset[str]]:
    """The stems of a text by their first letter."""
    stems = sorted({token.stem for token in tokens(text)})
    return {letter: frozenset(group) for letter, group in groupby(stems, key=lambda stem: stem[:1])}


def _present(wanted: str, text: str) -> bool:
    """Whether a word like `wanted` is anywhere in `text`."""
    near = _by_letter(text).get(wanted[:1], frozenset())
    return wanted in near or (len(wanted) >= 5 and any(_same(wanted, other) for other in near))


@lru_cache(maxsize=8192)
def find(phrase: str, text: str) -> Span | None:
    """Where `phrase` is said in `text`, loosely: most of its weight, in order, a few words between; else None.

    Content words weigh 1 and stop-words 0.3, and 0.7 of the weight is enough, so that a recogniser's or a
    speaker's small change does not hide a phrase. One of stop-words and negations alone must be said in full.
    """
    wanted = tokens(phrase)
    spoken = tokens(text)
    if not wanted or not spoken:
        return None
    weights = [1.0 if is_content(token.word) else _STOP_WEIGHT for token in wanted]
    total = sum(weights)
    loose = any(is_content(token.word) and token.stem not in NEGATIONS for token in wanted)
    enough = total * (_ENOUGH if loose else 1.0) - 1e-9
    if sum(weight for weight, token in zip(weights, wanted, strict=True) if _present(token.stem, text)) < enough:
        return None
    best: tuple[float, int, int, int] | None = None  # weight, minus length, first, last
    for first, token in enumerate(spoken):
        if any(_same(want.stem, token.stem) for want in wanted):
            window = spoken[first : first + len(wanted) + _SLACK]
            weight, last = _aligned(wanted, weights, window)
            if weight >= enough and (best is None or (weight, -last) > best[:2]):
                best = (weight, -last, first, first + last)
    return Span(spoken[best[2]].start, spoken[best[3]].end) if best else None


def _aligned(wanted: tuple[Token, ...], weights: list[float], window: tuple[Token, ...]) -> tuple[float, int]:
    """Weight of the heaviest common subsequence, and the index in `window` of its last word."""
    row = [(0.0, 0)] * (len(window) + 1)
    for want, weight in zip(wanted, weights, strict=True):
        above, row = row, [(0.0, 0)]
        for index, token in enumerate(window):
            options = [above[index + 1], row[index]]
            if _same(want.stem, token.stem):
                options.append((above[index][0] + weight, index))
            row.append(max(options, key=lambda option: option[0]))
    return row[-1]


def find_any(phrases: tuple[str, ...], text: str) -> Span | None:
    """Where the first of `phrases` that is said stands in `text`, or None."""
    return next((span for phrase in phrases if (span := find(phrase, text))), None)


def gist(text: str, telling: Collection[str] = (), most_words: int = 8) -> Span | None:
    """The stretch of at most `most_words` words that says most: the speaker's own words for a reason.

    `telling` holds stems that matter; where the text has any of them the other words matter little. None where no
    word carries meaning.
    """
    words = tokens(text)
    others = 0.25 if any(token.stem in telling for token in words) else 1.0
    worth = [(1.0 if token.stem in telling else others) if is_content(token.word) else 0.0 for token in words]
    best, at = 0.0, None
    for first in range(len(words)):
        if not worth[first]:
            continue
        heap = 0.0
        seen: set[str] = set()
        for last in range(first, min(first + most_words, len(words))):
            if words[last].stem not in seen:
                heap += worth[last]
                seen.add(words[last].stem)
            value = heap - 0.05 * (last - first)  # of two that say as much, the shorter
            if worth[last] and value > best:
                best, at = value, Span(words[first].start, words[last].end)
    return at
