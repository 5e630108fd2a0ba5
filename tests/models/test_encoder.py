"""The shipped encoder: shapes, sameness, threads, and what it says when its files are wrong."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assist.errors import ModelMissing
from models import encoder


@pytest.fixture(scope="module")
def encode() -> encoder.Encoder:
    return encoder.load()


def test_vectors_are_unit_length_and_float32(encode: encoder.Encoder) -> None:
    vectors = encode(["my phone screen is cracked", "where is my parcel", ""])
    assert vectors.shape == (3, encoder.DIMENSIONS)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-4)
    assert encode([]).shape == (0, encoder.DIMENSIONS)


def test_near_meanings_are_near(encode: encoder.Encoder) -> None:
    cracked, broken, parcel = encode(
        ["my phone screen is cracked", "the display of my mobile broke", "the parcel has not arrived"]
    )
    assert cracked @ broken > cracked @ parcel + 0.2


def test_neighbours_do_not_change_a_vector() -> None:
    fresh, other = encoder.load(), encoder.load()
    long = "a much longer sentence that would have padded the short one in a batch " * 4
    assert np.array_equal(fresh(["hello there"])[0], other([long, "hello there"])[1])


def test_a_caller_cannot_spoil_the_remembered_vector(encode: encoder.Encoder) -> None:
    first = encode(["remember me"])
    kept = first.copy()
    first[:] = 0
    assert np.array_equal(encode(["remember me"]), kept)


def test_only_so_many_texts_are_remembered(encode: encoder.Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "REMEMBERED_TEXTS", 3)
    encode._remembered.clear()
    for number in range(6):
        encode([f"text {number}"])
    assert list(encode._remembered) == ["text 3", "text 4", "text 5"]


def test_text_beyond_the_limit_is_cut(encode: encoder.Encoder) -> None:
    words = "phone " * 5_000
    assert np.array_equal(encode([words])[0], encode(["phone " * 300])[0])


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(), max_size=300))
def test_any_text_has_a_vector(encode: encoder.Encoder, text: str) -> None:
    assert np.isfinite(encode([text])).all()


def test_a_lone_surrogate_has_a_vector(encode: encoder.Encoder) -> None:
    assert np.isfinite(encode(["caf\udce9 \x00 \U0001f600"])).all()


def test_threads_agree(encode: encoder.Encoder) -> None:
    texts = [f"line {n} of the call" for n in range(12)]
    expected = encoder.load()(texts)
    seen: list[bool] = []

    def work() -> None:
        seen.append(np.array_equal(encode(texts), expected))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 4


def test_name_carries_the_hash(encode: encoder.Encoder) -> None:
    raw = (encoder.WEIGHTS / "encoder.onnx").read_bytes()
    assert encode.name.endswith(hashlib.sha256(raw).hexdigest()[:8])


def test_three_readings_come_from_one_pass_and_differ(encode: encoder.Encoder) -> None:
    texts = ["The delivery was wonderful.", "The delivery was dreadful."]
    vectors, intents, tones = encode(texts), encode.intents(texts), encode.tones(texts)
    assert vectors.shape == intents.shape == tones.shape == (2, encoder.DIMENSIONS)
    assert np.allclose(np.linalg.norm(intents, axis=1), 1.0, atol=1e-5)
    directions = tones / np.linalg.norm(tones, axis=1, keepdims=True)
    # What differs is how it is said: far apart as tones, close as subjects.
    assert directions[0] @ directions[1] < vectors[0] @ vectors[1]


@pytest.mark.parametrize("file", ["encoder.onnx", "encoder-tokenizer.json", "encoder.json"])
@pytest.mark.parametrize("harm", ["missing", "truncated", "altered"])
def test_wrong_files_are_named_with_the_way_out(tmp_path: Path, file: str, harm: str) -> None:
    for name in ("encoder.onnx", "encoder-tokenizer.json", "encoder.json"):
        shutil.copy(encoder.WEIGHTS / name, tmp_path / name)
    target = tmp_path / file
    raw = target.read_bytes()
    if harm == "missing":
        target.unlink()
    else:
        target.write_bytes(raw[: len(raw) // 2] if harm == "truncated" else b"\x00" + raw[1:])
    with pytest.raises(ModelMissing, match="git checkout") as caught:
        encoder.load(tmp_path)
    assert file in str(caught.value)


def test_importing_models_costs_no_model_library() -> None:
    heavy = "{'onnxruntime', 'tokenizers', 'numpy', 'torch', 'faster_whisper'}"
    check = f"import models, sys; loaded = {heavy} & set(sys.modules); assert not loaded, loaded"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_readings_are_kept_between_starts(tmp_path: Path) -> None:
    first = encoder.load()
    first.keep_in(tmp_path / "vectors")
    expected = first(["one text", "another \ud800"])
    first.kept()
    (file,) = (tmp_path / "vectors").iterdir()
    second = encoder.load()
    second.keep_in(tmp_path / "vectors")
    assert np.array_equal(second(["one text"]), expected[:1])
    assert np.array_equal(second.intents(["one text"]), first.intents(["one text"]))
    assert second._kept is not None and second._kept.get("another \ud800") is not None
    second(["a third text"])
    second.kept()
    third = encoder.Kept(file)
    found = [third.get(text) is not None for text in ("one text", "another \ud800", "a third text", "a fourth")]
    assert found == [True, True, True, False]


def test_of_too_many_kept_readings_those_asked_for_last_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "KEPT_TEXTS", 2)
    row = np.zeros((3, encoder.DIMENSIONS), dtype=np.float32)
    first = encoder.Kept(tmp_path / "kept.npz")
    first.add("a", row)
    first.add("b", row)
    first.write()
    second = encoder.Kept(tmp_path / "kept.npz")
    assert second.get("a") is not None
    second.add("c", row)
    second.write()
    third = encoder.Kept(tmp_path / "kept.npz")
    assert [third.get(text) is not None for text in "abc"] == [True, False, True]


@pytest.mark.parametrize("content", [b"", b"not a file of numpy's", b"PK\x03\x04 cut off"])
def test_kept_readings_that_are_damaged_are_made_anew(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    encode = encoder.load()
    encode.keep_in(tmp_path)
    encode(["a text"])
    encode.kept()
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(content)
    encode.forget()
    encode.keep_in(tmp_path)
    assert "is damaged and made anew" in caplog.text
    encode(["a text"])
    encode.kept()
    assert len(file.read_bytes()) == len(whole)


def test_a_folder_that_cannot_be_written_is_no_reason_not_to_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "taken").write_text("a file where a folder should be")
    encode = encoder.load()
    encode.keep_in(tmp_path / "taken")
    encode(["a text"])
    encode.kept()
    assert "could not be written" in caplog.text
