"""Words of this business for a recogniser that takes hints: from a knowledge base, the most telling first.

It knows no recogniser: how many tokens a text is, is the recogniser's to say.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from models.spoken import spoken

OWN_DICTIONARY: Final = "pronunciations.dict"


class Hint(NamedTuple):
    """Keywords, the most telling first, and how many tokens may be spent on them (0: none)."""

    keywords: tuple[str, ...]
    tokens: int

    def spent(self, encode: Callable[[str], Sequence[int]]) -> list[int]:
        """Tokens of as many keywords, whole and in their order, as may be spent; `encode` is the recogniser's."""
        kept: list[int] = []
        for n in range(1, len(self.keywords) + 1):
            tokens = encode(" " + ", ".join(self.keywords[:n]))
            if len(tokens) > self.tokens:
                break
            kept = list(tokens)
        return kept


NO_HINT: Final = Hint((), 0)


def keywords(folder: Path) -> tuple[str, ...]:
    """Terms in the order in which they should be spent, each once; none where `folder` holds no articles.

    First words that no dictionary has (`pronunciations.dict`), as the articles write them; then names and
    abbreviations, written with a capital inside a sentence; then the articles' own keywords, those of most articles
    first. Raises OSError, TOMLDecodeError.
    """
    fronts, bodies = [], []
    for path in sorted(folder.glob("articles/*.md")):
        _, front, body = path.read_text(encoding="utf-8").split("+++", 2)
        fronts.append(tomllib.loads(front))
        bodies.append(body)
    written = Counter(word for body in bodies for word in re.findall(r"[A-Za-z][\w'-]*", body))
    ordered = [*_own(folder / OWN_DICTIONARY, written), *_names(bodies), *_said(fronts)]
    return tuple(
        {term.lower(): term for term in reversed(ordered)}[key] for key in dict.fromkeys(map(str.lower, ordered))
    )


def _own(path: Path, written: Counter[str]) -> list[str]:
    """Words of the knowledge base's own dictionary in the spelling that is written most."""
    if not path.exists():
        return []
    words = (line.split()[0].lower() for line in path.read_text("utf-8").splitlines() if line.strip())
    listed = [word for word in words if "'" not in word]
    forms: dict[str, Counter[str]] = {word: Counter() for word in listed}
    for word, times in written.items():
        if (plain := word.lower().replace("-", "")) in forms:
            forms[plain][word] += times
    return [found.most_common(1)[0][0] if found else word for word, found in forms.items()]


def _names(bodies: list[str]) -> list[str]:
    """Words with a capital that does not come from the beginning of a sentence, in at least two articles."""
    articles: Counter[str] = Counter()
    for body in bodies:
        articles.update(set(re.findall(r"(?<=[a-z,] )([A-Z][\w-]*[A-Za-z])", body)))
    return [word for word, times in articles.most_common() if times > 1]


def _said(fronts: list[dict[str, Any]]) -> list[str]:
    """The articles' keywords, without those of numbers or marks alone."""
    articles = Counter(term for front in fronts for term in front.get("keywords", ()) if spoken(term))
    return [term for term, _ in articles.most_common()]
