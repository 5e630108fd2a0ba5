"""Which language each party of each call speaks: found from the first utterances, then fixed.

It knows no recogniser: it is given what one thinks of an utterance, and remembers no more than a name for a party.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

SHORTEST_S: Final = 1.0
"""A "yes" does not tell a language: what is shorter has no vote."""
LONGEST_S: Final = 10.0
"""Nor does one long utterance count for more than this."""
SURE: Final = 0.8
SURE_S: Final = 3.0
"""Fixed when so much was heard and one language has this share of the votes, ..."""
ENOUGH_S: Final = 20.0
"""... or when so much was heard: the leading one, whatever its share."""
REMEMBERED: Final = 1_000
"""Parties. The one not heard for longest is forgotten first; of an ended call nothing more is heard."""

Speaker = tuple[str, str]
"""Call and party."""


@dataclass(slots=True)
class _Ballot:
    heard_s: float = 0.0
    votes: dict[str, float] = field(default_factory=dict)
    fixed: bool = False

    def leading(self) -> str | None:
        return max(self.votes, key=lambda language: self.votes[language]) if self.votes else None


class Tongues:
    """Thread-safe. A vote weighs what was heard in seconds, times the recogniser's probability."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ballots: OrderedDict[Speaker, _Ballot] = OrderedDict()

    def __len__(self) -> int:
        return len(self._ballots)

    def fixed(self, speaker: Speaker) -> str | None:
        """The language of `speaker` once it is settled, else None: ask the recogniser."""
        with self._lock:
            ballot = self._ballots.get(speaker)
            if ballot is None:
                return None
            self._ballots.move_to_end(speaker)
            return ballot.leading() if ballot.fixed else None

    def hear(self, speaker: Speaker, chances: Sequence[tuple[str, float]], seconds: float, *, firm: bool) -> str:
        """The language to decode this utterance in, given (language, probability), the likeliest first.

        Utterances of a call that has no name ("") and those that are not `firm` leave nothing behind: a partial
        would vote again and again for the same sound. `chances` must not be empty.
        """
        if not speaker[0] or not firm or seconds < SHORTEST_S:
            with self._lock:
                ballot = self._ballots.get(speaker)
                return (ballot.leading() if ballot else None) or chances[0][0]
        weight = min(seconds, LONGEST_S)
        with self._lock:
            ballot = self._ballots.setdefault(speaker, _Ballot())
            self._ballots.move_to_end(speaker)
            if len(self._ballots) > REMEMBERED:
                self._ballots.popitem(last=False)
            if not ballot.fixed:
                ballot.heard_s += weight
                for language, probability in chances:
                    ballot.votes[language] = ballot.votes.get(language, 0.0) + weight * probability
                self._settle(ballot)
            return ballot.leading() or chances[0][0]

    def _settle(self, ballot: _Ballot) -> None:
        leading = ballot.leading()
        total = sum(ballot.votes.values())
        sure = leading is not None and total > 0 and ballot.votes[leading] >= SURE * total
        if leading and ((sure and ballot.heard_s >= SURE_S) or ballot.heard_s >= ENOUGH_S):
            ballot.votes, ballot.fixed = {leading: 1.0}, True
