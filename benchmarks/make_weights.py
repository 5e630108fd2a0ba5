"""Whisper-shaped CTranslate2 models with random weights, for speed and for tests.

It knows no speech: what these weights say is noise, and only their cost is that of the real ones. Written with numpy
straight into CTranslate2's own model specification, so neither torch nor a download is needed. The tokenizer is made
up as well (a byte-level alphabet and nonsense syllables) with Whisper's vocabulary size and Whisper's special tokens
at Whisper's ids. A `random.json` marks the directory, so that no recogniser can pass it off as trained.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
import tokenizers
from ctranslate2.specs import WhisperSpec
from faster_whisper.tokenizer import _LANGUAGE_CODES

ROOT: Final = Path(__file__).parent.parent
TOKENS_PER_S: Final = 3.4
"""What English speech makes of Whisper's tokens, and what random weights are told to say."""
MELS: Final = 80
POSITIONS: Final = 1500  # encoder positions of 30 s at 20 ms
TOKENS: Final = 448  # decoder positions
STAMPS: Final = 1501  # <|0.00|> to <|30.00|> in steps of 20 ms
SPREAD: Final = 0.02  # standard deviation of the weights, as transformers initialises Whisper


@dataclass(frozen=True, slots=True)
class Shape:
    """Layers of encoder and decoder (as many each), heads, width, and text tokens before `<|endoftext|>`."""

    layers: int
    heads: int
    width: int
    text_tokens: int = 50_257


SHAPES: Final = {
    "micro": Shape(2, 2, 64, 1_024),
    "tiny": Shape(4, 6, 384),
    "base": Shape(6, 8, 512),
    "small": Shape(12, 12, 768),
}


def vocabulary(text_tokens: int) -> tuple[list[str], list[str]]:
    """Text tokens (bytes, then syllables, three of four opening a word) and special tokens in Whisper's order."""
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    syllables = [c + v for c, v in product("bdfghjklmnprstvwyzčš", "aeiou")]
    text = list(letters)
    number = 0
    while len(text) < text_tokens - 1:
        word, rest = "", number
        while not word or rest:
            word, rest = syllables[rest % 100] + word, rest // 100
        text.append(word if number % 4 == 3 else "Ġ" + word)
        number += 1
    text.append("")  # real multilingual Whisper has it, and CTranslate2 knows a multilingual model by it
    codes = [f"<|{code}|>" for code in _LANGUAGE_CODES if code != "yue"]  # Cantonese came with large-v3
    tasks = ["translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps"]
    special = ["<|endoftext|>", "<|startoftranscript|>", *codes, *(f"<|{task}|>" for task in tasks)]
    return text, special + [f"<|{i * 0.02:.2f}|>" for i in range(STAMPS)]


def tokenizer(text: list[str], special: list[str]) -> tokenizers.Tokenizer:
    """A byte-level tokenizer without merges: it decodes any token and encodes any text byte by byte."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab={t: i for i, t in enumerate(text)}, merges=[]))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    # In real Whisper the timestamps are tokens beyond the tokenizer's text, and special to it all the same.
    made.add_special_tokens(special)
    return made


class _Filler:
    """Fills the layers of a specification with seeded noise."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def noise(self, *shape: int) -> Any:
        return self._rng.standard_normal(shape, dtype=np.float32) * np.float32(SPREAD)

    def linear(self, spec: Any, out: int, into: int, *taps: int) -> None:
        spec.weight = self.noise(out, into, *taps)
        spec.bias = self.noise(out)

    def norm(self, spec: Any, width: int) -> None:
        spec.gamma = 1 + self.noise(width)
        spec.beta = self.noise(width)

    def attention(self, spec: Any, width: int, *, to_itself: bool) -> None:
        self.norm(spec.layer_norm, width)
        # CTranslate2 joins query, key and value of self-attention, and key and value of cross-attention.
        for linear, parts in zip(spec.linear, (3, 1) if to_itself else (1, 2, 1), strict=True):
            self.linear(linear, parts * width, width)

    def layer(self, spec: Any, width: int) -> None:
        self.attention(spec.self_attention, width, to_itself=True)
        if hasattr(spec, "attention"):
            self.attention(spec.attention, width, to_itself=False)
        self.norm(spec.ffn.layer_norm, width)
        self.linear(spec.ffn.linear_0, 4 * width, width)
        self.linear(spec.ffn.linear_1, width, 4 * width)

    def whisper(self, spec: Any, shape: Shape, tokens: int) -> None:
        width = shape.width
        self.linear(spec.encoder.conv1, width, MELS, 3)
        self.linear(spec.encoder.conv2, width, width, 3)
        spec.encoder.position_encodings.encodings = self.noise(POSITIONS, width)
        spec.decoder.position_encodings.encodings = self.noise(TOKENS, width)
        spec.decoder.embeddings.weight = self.noise(tokens, width)
        spec.decoder.projection.weight = spec.decoder.embeddings.weight
        for half in (spec.encoder, spec.decoder):
            self.norm(half.layer_norm, width)
            for layer in half.layer:
                self.layer(layer, width)


def make(size: str, to: Path, *, seed: int = 1) -> Path:
    """Write a random Whisper of `size` ("micro", "tiny", "base", "small"), int8, to the directory `to`; returns it."""
    shape = SHAPES[size]
    text, special = vocabulary(shape.text_tokens)
    first = len(text)
    spec = WhisperSpec(shape.layers, shape.heads, shape.layers, shape.heads)
    _Filler(seed).whisper(spec, shape, len(text) + len(special))
    spec.register_vocabulary(text + special)
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = [text.index("Ġ"), first]
    spec.config.lang_ids = list(range(first + 2, first + 2 + special.index("<|translate|>") - 2))
    # Real weights name the heads that follow the sound; here the later half stands in for them.
    spec.config.alignment_heads = list(product(range(shape.layers // 2, shape.layers), range(shape.heads)))
    spec.validate()
    spec.optimize(quantization="int8")
    if to.exists():
        shutil.rmtree(to)
    to.mkdir(parents=True)
    spec.save(str(to))
    tokenizer(text, special).save(str(to / "tokenizer.json"))
    (to / "random.json").write_text(json.dumps({"size": size, "seed": seed, "shape": asdict(shape)}, indent=1) + "\n")
    return to


def found(weights: str) -> str:
    """`weights` as the server can take it: a name, or a directory in full. Random ones that are not there are made."""
    path = Path(weights)
    if not path.exists() and path.name.removeprefix("random-") in SHAPES and path.name.startswith("random-"):
        print(f"making {path}", flush=True)
        make(path.name.removeprefix("random-"), path)
    return str(path.resolve()) if path.is_dir() else weights


def main() -> None:
    """Parse the command line and write the models asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.make_weights", description=__doc__)
    parser.add_argument("size", nargs="+", choices=[*SHAPES, "all"])
    parser.add_argument("--to", type=Path, default=ROOT / "weights", help="parent directory (default: weights/)")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    sizes = list(SHAPES) if "all" in asked.size else asked.size
    for size in sizes:
        made = make(size, asked.to / f"random-{size}", seed=asked.seed)
        print(f"{made}  {sum(f.stat().st_size for f in made.iterdir()) / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
