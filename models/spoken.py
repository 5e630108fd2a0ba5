"""Written English as it is said: sentences of lower-case words, numbers in words, no marks.

It knows no model and no knowledge base.
"""

from __future__ import annotations

import re
from typing import Final

Sentence = tuple[str, ...]
ONES: Final = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
TENS: Final = ("ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def number_words(number: int) -> list[str]:
    """A number 0..999999 as it is said: 230 -> two hundred and thirty."""
    if number < 20:
        return [ONES[number]]
    if number < 100:
        return [TENS[number // 10 - 1], *(number_words(number % 10) if number % 10 else [])]
    if number < 1000:
        rest = ["and", *number_words(number % 100)] if number % 100 else []
        return [ONES[number // 100], "hundred", *rest]
    rest = number_words(number % 1000) if number % 1000 else []
    return [*number_words(number // 1000), "thousand", *rest]


def spoken(text: str) -> list[Sentence]:
    """Written text as spoken sentences: lower-case words, numbers said, marks gone."""
    text = (
        re.sub(r"\bok\b", "okay", text.lower())
        .replace("’", "'")
        .replace("%", " percent ")
        .replace("&", " and ")
        .replace("+", " plus ")
    )
    text = re.sub(r"£(\d+)\.(\d\d)", r"\1 pounds \2", text)
    text = re.sub(r"£(\d+)", r"\1 pounds", text)
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text)
    text = re.sub(r"\d+", lambda digits: f" {_digits(digits.group())} ", text)
    sentences = []
    for part in re.split(r"[.!?;:\n()›|]+", text):
        words = [word.strip("'") for word in re.findall(r"[a-z']+", part)]
        if sentence := tuple(word for word in words if word):
            sentences.append(sentence)
    return sentences


def _digits(digits: str) -> str:
    if len(digits) > 4 or digits.startswith("0"):
        return " ".join(ONES[int(digit)] for digit in digits)
    return " ".join(number_words(int(digits)))
