"""Every judgement in one line of Python: `models.load("sentiment")("this is the third time that I call")`.

It knows which module answers for which task and imports that one only when it is asked for; it judges nothing itself.

| task | options | what `load` gives |
|---|---|---|
| topic | topics, others, weights, encode | text or turns (oldest first) → Finding; of turns the customer's count |
| sentiment | weights, encode | the same; of them the last one is judged, the call's score stands in `detail` |
| satisfaction | weights, encode | a call's turns → Finding |
| stress | | samples, rate_hz, baseline=None → Finding |
| next_action | head, weights, encode | events → findings, best first |
| search | knowledge, limit, weights, encode | text or turns → findings, best first; none where nothing answers |
| transcribe | kind, weights | samples (int16, 16 kHz) → Transcript |

`topics`: a knowledge base's folder, whose articles teach them too, a topics.toml, objects with id, label, description
and examples, or id → examples. `others`: sentences that belong to no topic. `knowledge`: a knowledge base's folder, or
a file with one article a line ({"id", "title", "text"} in JSON). `weights`: the folder of the encoder (of the
recogniser, for transcribe); `encode`: an encoder loaded before. `head`: the file of the policy. All have defaults: what
is shipped. A turn is a text, the customer's, or {"party", "text"} as in a line of JSON.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from assist.errors import ConfigError

if TYPE_CHECKING:
    from models.encoder import Encoder

ROOT: Final = Path(__file__).resolve().parent.parent
KNOWLEDGE: Final = ROOT / "knowledge_base"

Judge = Callable[..., Any]
Place = Path | str


def load(task: str, **options: Any) -> Judge:
    """A judge for `task`; see the table above. Whatever is said or heard, it answers or abstains ("none"); what is no
    text, turns, samples or events it refuses with BadMessage, or abstains on.

    Raises ConfigError for a task or an option that is not there or is not what it must be, ModelMissing where a
    model's file is absent or damaged, KnowledgeError where articles cannot be read.
    """
    make = _MAKERS.get(task) if isinstance(task, str) else None
    if make is None:
        raise ConfigError(f"no task {task!r}; there are {', '.join(_MAKERS)}")
    known = inspect.signature(make).parameters
    unknown = [name for name in options if name not in known]
    if unknown:
        takes = ", ".join(known) or "none"
        raise ConfigError(f"{task} has no option {', '.join(map(repr, unknown))}; it takes {takes}")
    return make(**options)


def tasks() -> tuple[str, ...]:
    """What `load` knows."""
    return tuple(_MAKERS)


def takes(task: str) -> tuple[str, ...]:
    """The options of a task. Raises KeyError."""
    return tuple(inspect.signature(_MAKERS[task]).parameters)


@cache
def shared_encoder(folder: Path | None = None) -> Encoder:
    """The encoder in `folder` (default: the shipped one), the same for all who ask. Raises ModelMissing."""
    from models.encoder import load as loaded

    return loaded(folder)


def _place(name: str, given: Any) -> Path:
    if not isinstance(given, Path | str):
        raise ConfigError(f"{name} is a {type(given).__name__}; it must be a path")
    return Path(given)


def _encode(encode: Any, weights: Place | None) -> Any:
    """The encoder that was given, or one per folder and process."""
    if encode is not None:
        if not callable(encode):
            raise ConfigError(f"encode is a {type(encode).__name__}; it must be what models.encoder.load gives")
        return encode
    return shared_encoder(None if weights is None else _place("weights", weights).expanduser().resolve())


def _of_turns(judge: Judge, party: str = "") -> Judge:
    """`judge` for whatever `models.given.said` takes: of everybody's turns, or of the texts of one party's."""
    from models.given import said

    def found(given: Any) -> Any:
        turns = said(given)
        return judge([turn.text for turn in turns if turn.party == party] if party else turns)

    return found


def _topic(
    topics: Place | Sequence[Any] | Mapping[str, Sequence[str]] | None = None,
    others: Place | Sequence[str] | None = None,
    weights: Place | None = None,
    encode: Any = None,
) -> Judge:
    from models.given import sentences
    from models.topic import judge

    learnt = KNOWLEDGE if topics is None else topics
    return _of_turns(judge(_encode(encode, weights), learnt, None if others is None else sentences(others)), "customer")


def _sentiment(weights: Place | None = None, encode: Any = None) -> Judge:
    from models.sentiment import judge

    return _of_turns(judge(_encode(encode, weights)), "customer")


def _satisfaction(weights: Place | None = None, encode: Any = None) -> Judge:
    from models.satisfaction import judge

    return _of_turns(judge(_encode(encode, weights)))


def _stress() -> Judge:
    from models.stress import judge

    return judge()


def _next_action(head: Place | None = None, weights: Place | None = None, encode: Any = None) -> Judge:
    from models.next_action import judge

    return judge(_encode(encode, weights), None if head is None else _place("head", head))


def _search(knowledge: Place | None = None, limit: int = 3, weights: Place | None = None, encode: Any = None) -> Judge:
    from models.finder import judge

    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ConfigError(f"limit is {limit!r}; it must be a whole number from 1 on")
    return judge(_encode(encode, weights), _place("knowledge", KNOWLEDGE if knowledge is None else knowledge), limit)


def _transcribe(kind: str = "pocketsphinx", weights: Place | None = None) -> Judge:
    from models.given import recogniser

    return recogniser(str(kind), None if weights is None else str(_place("weights", weights)))


_MAKERS: Final[dict[str, Callable[..., Judge]]] = {
    "topic": _topic,
    "sentiment": _sentiment,
    "satisfaction": _satisfaction,
    "stress": _stress,
    "next_action": _next_action,
    "search": _search,
    "transcribe": _transcribe,
}
