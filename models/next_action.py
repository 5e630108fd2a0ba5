"""What the agent would best do next: a small recurrent network reads the conversation's events and ranks actions.

It knows neither playbook nor screen: whoever asks decides what becomes of the ranking.

One event after the other goes through a gated recurrent unit (Cho et al. 2014; gates as in cuDNN), then the newest
words, what was done and what was looked up are read beside its memory (`s` below are hash slots of tokens, see
models/history.py, v the encoder's readings of what a
speaker wants, * elementwise):

    x_t = levelled(sum E[s_t] / sqrt(#s_t) + 10 v_t A + a), of mean 0 and spread 1 (Ba et al. 2016)
    r, z = sigmoid(x_t I + m_{t-1} M + ...);  f = tanh(x_t I' + r * (m_{t-1} M' + ...));  m_t = (1 - z) f + z m_{t-1}
    q = relu(2 sum S[s] / sqrt(#s) + 10 [v newest customer turn, v the one before] B + m C + c)
    P(action) = softmax([q, m] W / temperature)

W is the sum of a part of each action's own and of one read from the vector of the action's text.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from assist.conversation import Evidence, Finding
from assist.errors import ModelMissing
from models import history

Floats = NDArray[np.float32]

WEIGHTS: Final = Path(__file__).resolve().parent / "weights" / "next_action.npz"
VECTOR_SCALE: Final = np.float32(10.0)  # a unit vector's numbers are small beside those of a bag of words
RANKED: Final = 3
REMEMBERED_EVENTS: Final = 1_024  # 2 kB each, and where they led: up to 6 kB
REMEMBERED_BACK: Final = 8  # events that may have happened since the memory was last asked for
LAYERS: Final = (
    "event_rows", "event_vector", "event_bias", "input", "input_bias", "memory", "memory_bias",
    "state_rows", "state_vector", "state_memory", "state_bias",
)  # fmt: skip
MEND: Final = "restore it with `git checkout -- models/weights` or train it with `python -m models.train next_action`"


class Encode(Protocol):
    """What is asked of the encoder: here what a speaker wants, and for the texts of actions what they are about."""

    @property
    def name(self) -> str: ...

    def __call__(self, texts: Sequence[str]) -> Floats: ...

    def intents(self, texts: Sequence[str]) -> Floats: ...


def sigmoid(values: Floats) -> Floats:
    """1 / (1 + exp(-x)), by way of tanh, which does not overflow."""
    share: Floats = np.float32(0.5) * np.tanh(np.float32(0.5) * values) + np.float32(0.5)
    return share


def levelled(rows: Floats) -> tuple[Floats, Floats]:
    """Each row less its mean and over its spread, and the spreads (n, 1)."""
    around = rows - rows.mean(axis=1, keepdims=True)
    spread = np.sqrt((around**2).mean(axis=1, keepdims=True) + np.float32(1e-5))
    return around / spread, spread


class Remembered:
    """What was worked out for the events met last, since each comes again with every later turn. Callable from any
    thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: OrderedDict[Hashable, Floats] = OrderedDict()

    def find(self, keys: Sequence[Hashable]) -> list[Floats | None]:
        """The row of each key, None where there is none."""
        with self._lock:
            for key in keys:
                if key in self._rows:
                    self._rows.move_to_end(key)
            return [self._rows.get(key) for key in keys]

    def keep(self, rows: Mapping[Hashable, Floats]) -> None:
        """Note them; of more than REMEMBERED_EVENTS the longest unused go."""
        with self._lock:
            self._rows.update(rows)
            while len(self._rows) > REMEMBERED_EVENTS:
                self._rows.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Network:
    """Everything up to the layer that names actions. `layers`: the arrays of LAYERS, float32."""

    layers: Mapping[str, Floats]
    _remembered: Remembered = field(default_factory=Remembered, compare=False, repr=False)

    @property
    def width(self) -> int:
        """Length of what `read` gives."""
        return int(self.layers["state_bias"].shape[0] + self.layers["memory"].shape[0])

    def read(self, encode: Encode, events: Iterable[Any]) -> Floats:
        """[q, m] of the newest 64 events, shape (width,)."""
        known = history.known(events)
        memory = self._memory(encode, known)
        heard = [event["text"] for event in known if history.kind(event) == "c"][:-3:-1]
        newest = np.zeros(self.layers["state_vector"].shape[0], np.float32)
        if heard:
            vectors = encode.intents(heard) * VECTOR_SCALE
            newest[: vectors.size] = vectors.ravel()
        state = (
            2 * self._bag("state_rows", history.state_tokens(known))
            + newest @ self.layers["state_vector"]
            + memory @ self.layers["state_memory"]
            + self.layers["state_bias"]
        )
        return np.concatenate([np.maximum(state, 0), memory]).astype(np.float32)

    def _bag(self, table: str, tokens: Iterable[str]) -> Floats:
        slots = history.slots(tokens)
        rows: Floats = self.layers[table][slots].sum(axis=0) / np.sqrt(max(len(slots), 1)).astype(np.float32)
        return rows

    def _memory(self, encode: Encode, events: Sequence[history.Event]) -> Floats:
        """m after `events`; what a turn before was told of them is not read again."""
        keys = [(encode.name, *history.key(event)) for event in events]
        for at in range(len(keys) - 1, max(0, len(keys) - REMEMBERED_BACK), -1):
            (memory,) = self._remembered.find([tuple(keys[:at])])
            if memory is not None:
                break
        else:
            at, memory = 0, np.zeros(len(self.layers["memory"]), np.float32)
        memory = self._read_on(self._given(encode, keys[at:], events[at:]), memory)
        self._remembered.keep({tuple(keys): memory})
        return memory

    def _given(self, encode: Encode, keys: Sequence[Hashable], events: Sequence[history.Event]) -> Sequence[Floats]:
        """What each event gives the memory to read: x_t I and the bias."""
        rows = dict(zip(keys, self._remembered.find(keys), strict=True))
        missing = {key: event for key, event in zip(keys, events, strict=True) if rows[key] is None}
        if missing:
            new: dict[Hashable, Floats] = dict(zip(missing, self._told(encode, list(missing.values())), strict=True))
            self._remembered.keep(new)
            rows.update(new)
        return [row for key in keys if (row := rows[key]) is not None]

    def _told(self, encode: Encode, events: Sequence[history.Event]) -> Floats:
        """The same for events met for the first time, shape (n, 3 memory)."""
        vectors = np.zeros((len(events), self.layers["event_vector"].shape[0]), np.float32)
        spoken = [number for number, event in enumerate(events) if history.kind(event) in "ca"]
        if spoken:
            vectors[spoken] = encode.intents([events[number]["text"] for number in spoken]) * VECTOR_SCALE
        rows = np.stack([self._bag("event_rows", history.event_tokens(event)) for event in events])
        x, _ = levelled(rows + vectors @ self.layers["event_vector"] + self.layers["event_bias"])
        given: Floats = x @ self.layers["input"] + self.layers["input_bias"]
        return given

    def _read_on(self, given: Iterable[Floats], memory: Floats) -> Floats:
        """The memory after one event more for each row of `given`."""
        weights, bias = self.layers["memory"], self.layers["memory_bias"]
        width = len(weights)
        for step in given:
            recalled = memory @ weights + bias
            both = sigmoid(step[: 2 * width] + recalled[: 2 * width])
            fresh = np.tanh(step[2 * width :] + both[:width] * recalled[2 * width :])
            memory = fresh + both[width:] * (memory - fresh)
        return memory


@dataclass(frozen=True, slots=True)
class Policy:
    """Ranks `labels`. `least`: below this probability the best one is not named.

    `independent`: labels do not exclude each other and each has its own probability, sigmoid in place of softmax: that
    the agent uses it once it is shown. `rate` is then that of a label it does not know.
    """

    network: Network
    labels: tuple[str, ...]
    out: Floats  # (width, k)
    bias: Floats  # (k,)
    temperature: float
    least: float
    name: str
    independent: bool = False
    rate: float = 0.0

    def probabilities(self, encode: Encode, events: Iterable[Any]) -> Floats:
        """P(label is what an agent would do next, or uses), shape (k,)."""
        logits = (self.network.read(encode, events) @ self.out + self.bias) / np.float32(self.temperature)
        if self.independent:
            return sigmoid(logits)
        powers = np.exp(logits - logits.max())
        shares: Floats = powers / powers.sum()
        return shares

    def __call__(self, encode: Encode, events: Iterable[Any]) -> list[Finding]:
        """The three likeliest, best first; where the best is too unlikely one finding "none", with them in `detail`.

        What was said without a Latin letter or a digit has not happened: nothing here can read it.
        """
        events = [event for event in history.known(events) if _legible(event)]
        shares = self.probabilities(encode, events)
        best = np.argsort(-shares, kind="stable")[:RANKED]
        evidence = Evidence(quote=_newest(events)[:200], source=self.name)
        detail = {self.labels[k]: round(float(shares[k]), 4) for k in best}
        if shares[best[0]] < self.least or not events:
            return [Finding("next_action", "none", round(1 - float(shares[best[0]]), 4), evidence, detail)]
        return [Finding("next_action", label, share, evidence, detail) for label, share in detail.items()]


class Taste:
    """What a house's agents make of suggestions: `models/train/house_log.py` learns it. Callable from any thread."""

    def __init__(self, encode: Encode, policy: Policy) -> None:
        self.least = policy.least
        """Below this a suggestion is not worth its place."""
        self._encode = encode
        self._policy = policy

    def __call__(self, events: Sequence[history.Event], refs: Sequence[str]) -> list[float]:
        """P(used, if shown now) of each of `refs`, action ids or "playbook/step", after `events`."""
        known = dict(zip(self._policy.labels, self._policy.probabilities(self._encode, events).tolist(), strict=True))
        return [known.get(ref, self._policy.rate) for ref in refs]


def load(encode: Any, path: Path | str) -> Taste:
    """The taste learnt from a house's log, in `path`. Raises ModelMissing; also where it is the policy of STAR.

    `encode` is the encoder; one by another name than that in the file is refused.
    """
    policy = read(encode, Path(path))
    if not policy.independent:
        raise ModelMissing(
            f"{path} ranks the actions of the data it was trained on, not this house's: make the house's own with "
            "`python -m models.train next_action --from-log data/assist.db --to FILE`"
        )
    return Taste(encode, policy)


def _legible(event: history.Event) -> bool:
    return history.kind(event) not in ("c", "a") or any(word.strip("'") for word in history.words(event["text"]))


def _newest(events: Sequence[history.Event]) -> str:
    """The customer's newest words."""
    return next((str(event["text"]) for event in reversed(events) if history.kind(event) == "c"), "")


def judge(encode: Encode, weights: Path | str | None = None) -> Callable[[Iterable[Any]], list[Finding]]:
    """A callable that ranks what to do next after events (models/history.py says what an event is), at most three.

    Of no events, and where nothing is likely enough, it gives one finding "none". Raises ModelMissing where the file
    is absent, damaged or made for another encoder.
    """
    policy = read(encode, Path(weights) if weights is not None else WEIGHTS)
    return lambda events: policy(encode, events if isinstance(events, Iterable) else ())


def read(encode: Encode, file: Path) -> Policy:
    """The policy in `file`. Raises ModelMissing."""
    stored, name = opened(encode, file)
    try:
        labels = tuple(str(label) for label in stored["labels"])
        out, bias = (stored[key].astype(np.float32) for key in ("out", "out_bias"))
        network = Network({key: stored[key].astype(np.float32) for key in LAYERS})
        if out.shape != (network.width, len(labels)) or bias.shape != (len(labels),):
            raise ValueError(f"{len(labels)} labels, but weights for {out.shape}")
        independent, rate = bool(stored.get("independent", False)), float(stored.get("rate", 0.0))
        numbers = float(stored["temperature"]), float(stored["least"])
        policy = Policy(network, labels, out, bias, *numbers, name, independent, rate)
        policy.probabilities(encode, [{"party": "customer", "text": "hello"}])
    except Exception as error:  # a key that is not there, shapes that do not fit: all of them damage
        raise ModelMissing(
            f"{file} is not a policy this version reads ({type(error).__name__}: {error}): {MEND}"
        ) from error
    return policy


def opened(encode: Encode, file: Path) -> tuple[dict[str, Any], str]:
    """The arrays in `file` and a name for it. Raises ModelMissing where it cannot be read or is for another encoder."""
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise ModelMissing(f"next_action needs {file}, which cannot be read ({error.strerror}): {MEND}") from error
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
        made_for = str(arrays["encoder"])
    except Exception as error:  # numpy and zipfile raise half a dozen kinds for damaged files
        raise ModelMissing(f"{file} is damaged ({type(error).__name__}: {error}): {MEND}") from error
    ours = getattr(encode, "name", "an encoder without a name")
    if made_for != ours:
        raise ModelMissing(
            f"{file} was learnt over the vectors of {made_for}, and the encoder here is {ours}: train it anew with "
            "`python -m models.train next_action` (one made with --from-log: the same way)"
        )
    return arrays, f"next_action {hashlib.sha256(raw).hexdigest()[:8]}"
