"""The keys of the final JSON line, which task measures each, and what was set out to be reached.

It knows no model and measures nothing.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Target(NamedTuple):
    """What a figure should reach: at least `value`, or at most where `most` is set."""

    value: float
    most: bool = False

    def met(self, value: float) -> bool:
        return value <= self.value if self.most else value >= self.value

    def __str__(self) -> str:
        return f"{'≤' if self.most else '≥'} {self.value:g}"


TASKS: Final = ("topic", "sentiment", "satisfaction", "stress", "next_action", "search", "mind", "words")
"""Modules of this package, in the order in which they run."""

TARGETS: Final[dict[str, Target]] = {
    "topic.banking77": Target(0.935),
    "topic.banking77_10shot": Target(0.87),
    "topic.clinc150": Target(0.96),
    "topic.clinc150_oos_recall": Target(0.80),
    "topic.multidogo_turn1": Target(0.45),
    "topic.multidogo_turn2": Target(0.94),
    "topic.multidogo_turn3": Target(0.98),
    "topic.natcs": Target(0.97),
    "sentiment.tweets_f1": Target(0.70),
    "sentiment.goemotions_f1": Target(0.68),
    "sentiment.ece": Target(0.05, most=True),
    "stress.emodb_auc": Target(0.87),
    "stress.emodb_neutral_auc": Target(0.96),
    "stress.emodb_noise10_auc": Target(0.83),
    "stress.emodb_loso_auc": Target(0.94),
    "stress.emodb_loso_uar": Target(0.86),
    "next_action.star_acc1": Target(0.75),
    "next_action.star_acc3": Target(0.93),
    "next_action.star_top_half_acc1": Target(0.93),
    "search.stackfaq_ndcg10": Target(0.97),
    "search.kb_r3": Target(0.92),
    "search.kb_r3_asr": Target(0.80),
    "search.kb_abstain": Target(0.80),
    "mind.p50_ms": Target(8.0, most=True),
    "mind.p95_ms": Target(20.0, most=True),
    "stress.ms_3s_p50": Target(15.0, most=True),
}
"""Every key that `--all` owes, but for `wer.<recogniser>.<condition>`, of which there are as many as recognisers."""

MEASURED_BY: Final = {"stress.ms_3s_p50": "mind"}
"""Keys that another task than their first part measures."""

LESS_IS_BETTER: Final = ("ece", "_ms", "ms_3s_p50", "ms_3s_p95", "_taken", "_wrong", "_false_alarm")


def task_of(key: str) -> str:
    """Which task owes `key`."""
    first = key.split(".", 1)[0]
    return MEASURED_BY.get(key, "words" if first == "wer" else first)


def owed(task: str) -> tuple[str, ...]:
    """The keys that `task` must fill, or say why not."""
    return tuple(key for key in TARGETS if task_of(key) == task)


def less_is_better(key: str) -> bool:
    """Errors and times."""
    return key.startswith("wer.") or key.endswith(LESS_IS_BETTER)
