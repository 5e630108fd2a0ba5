"""Whisper weights on this machine: where they lie, whether they are whole, and how they are fetched.

It knows no recogniser, and it touches the network in `fetch` alone: `find` only ever looks at this machine's disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Final, NamedTuple

from assist.errors import ModelMissing

WEIGHTS: Final = Path(__file__).parent.parent / "weights"
LOCK: Final = "fetched.json"
NEEDED: Final = ("model.bin", "config.json", "tokenizer.json")
WANTED: Final = (*NEEDED, "preprocessor_config.json", "vocabulary.txt", "vocabulary.json")
BLOCK: Final = 1 << 20
PROBES: Final = 16


class Source(NamedTuple):
    """A CTranslate2 conversion on the hub, fixed to a commit, with size in bytes and SHA-256 of its `model.bin`."""

    repo: str
    revision: str
    size: int
    sha256: str


# Revisions and hashes as published in many independent lock files; every download is also held against
# what the hub itself states for the commit.
SOURCES: Final = {
    "whisper-tiny": Source(
        "Systran/faster-whisper-tiny",
        "d90ca5fe260221311c53c58e660288d3deb8d356",
        75_538_270,
        "dcb76c6586fc06cbdac6dd21f14cfd129cc4cdd9dce19bf4ffa62e59cbe6e6d1",
    ),
    "whisper-base": Source(
        "Systran/faster-whisper-base",
        "ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66",
        145_217_532,
        "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    ),
    "whisper-small": Source(
        "Systran/faster-whisper-small",
        "536b0662742c02347bc0e980a01041f333bce120",
        483_546_902,
        "3e305921506d8872816023e4c273e75d2419fb89b24da97b4fe7bce14170d671",
    ),
    "whisper-medium": Source(
        "Systran/faster-whisper-medium",
        "08e178d48790749d25932bbc082711ddcfdfbc4f",
        1_527_906_378,
        "9b45e1009dcc4ab601eff815b61d80e60ce3fd8c74c1a14f4a282258286b51ae",
    ),
    "whisper-large-v3": Source(
        "Systran/faster-whisper-large-v3",
        "edaa852ec7e145841d8ffdb056a99866b5f0a478",
        3_087_284_237,
        "69f74147e3334731bc3a76048724833325d2ec74642fb52620eda87352e3d4f1",
    ),
    "whisper-large-v3-turbo": Source(
        "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
        "0a363e9161cbc7ed1431c9597a8ceaf0c4f78fcf",
        1_617_884_929,
        "e76620f83d5f5b69efd3d87e3dc180c1bd21df9fbebacfd4335e5e1efcc018da",
    ),
}


def _missing(weights: str, looked: str) -> ModelMissing:
    name = weights if weights in SOURCES else "whisper-base"
    return ModelMissing(
        f"no Whisper weights for {weights!r} ({looked}). Three ways out: "
        f"(1) on a machine with a network: python -m models fetch {name}; "
        f"(2) point recogniser.weights at a directory that holds {', '.join(NEEDED)}; "
        '(3) use the embedded recogniser: recogniser.kind = "pocketsphinx".'
    )


def find(weights: str, *, within: Path = WEIGHTS) -> Path:
    """The directory of `weights`: a name of SOURCES (looked up in `within`, then in the hub's cache) or a path.

    Raises ModelMissing where it is not on this machine, misses a file or differs from what was fetched.
    """
    source = SOURCES.get(weights)
    if source is None:
        path = Path(weights).expanduser()
        if not path.is_dir():
            raise _missing(weights, f"no such directory, and no name among {', '.join(SOURCES)}")
    else:
        path = within / weights
        if not path.is_dir():
            # Imported here, because it is slow and a directory needs none of it. This call never asks the network.
            from huggingface_hub import try_to_load_from_cache

            cached = try_to_load_from_cache(source.repo, "model.bin", revision=source.revision)
            if not isinstance(cached, str):
                raise _missing(weights, f"neither in {within} nor in the hub's cache")
            path = Path(cached).parent
    lacking = [name for name in NEEDED if not (path / name).is_file()]
    if lacking:
        raise _missing(weights, f"{path} lacks {', '.join(lacking)}")
    _compare(path, whole=False)
    return path


def check(path: Path) -> dict[str, str]:
    """Every recorded file's SHA-256 read anew. Raises ModelMissing where one differs or nothing was recorded."""
    if not (path / LOCK).is_file():
        raise ModelMissing(f"{path} has no {LOCK}: it was not fetched by this program, so there is nothing to check by")
    return _compare(path, whole=True)


def _compare(path: Path, *, whole: bool) -> dict[str, str]:
    """Sizes, and a sample of the bytes or all of them, against the lock file; nothing where there is none."""
    lock = path / LOCK
    if not lock.is_file():
        return {}
    try:
        files = json.loads(lock.read_text(encoding="utf-8"))["files"]
        found = {}
        for name, said in files.items():
            digest = sha256(path / name) if whole else sample(path / name)
            if (path / name).stat().st_size != said["size"] or digest != said["sha256" if whole else "sample"]:
                raise ModelMissing(f"{path / name} differs from what was fetched: remove {path} and fetch it again")
            found[name] = digest
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelMissing(f"{path} cannot be held against its {LOCK}: {error}") from error
    return found


def sha256(path: Path) -> str:
    """SHA-256 of a file, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sample(path: Path) -> str:
    """SHA-256 of a file's size and of 16 evenly spread 64 KiB pieces: milliseconds where the whole takes seconds."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for i in range(PROBES):
            file.seek(max(0, size - BLOCK // 16) * i // (PROBES - 1))
            digest.update(file.read(BLOCK // 16))
    return digest.hexdigest()


def fetch(name: str, *, to: Path | None = None, source: Source | None = None, endpoint: str | None = None) -> Path:
    """Download the weights called `name` into the directory `to` (default `weights/<name>`); returns it.

    Downloads go to a neighbouring `.part` directory, which a later try continues; only when every file has the size
    and hash stated by the hub, and `model.bin` the one pinned here, does it take its place, with a `fetched.json`.
    `endpoint` defaults to HF_ENDPOINT or the public hub. Raises ModelMissing: unknown name, no network, wrong hash.
    """
    source = source or SOURCES.get(name)
    if source is None:
        raise ModelMissing(f"no weights called {name!r}; there are {', '.join(SOURCES)}")
    to = to or WEIGHTS / name
    if to.exists():
        if (to / LOCK).is_file():
            check(to)
            return to
        raise ModelMissing(f"{to} is there already and was not fetched by this program; remove it or give another --to")
    part = to.with_name(f".{to.name}.part")
    try:
        stated = _download(source, part, endpoint)
    except OSError as error:  # the hub's own errors and full disks alike
        where = endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelMissing(
            f"{name} could not be fetched from {where}: {reason}. Without a network, fetch it on another machine "
            f"and copy the directory to {to}."
        ) from error
    files = {}
    for file, (size, kind, expected) in stated.items():
        path = part / file
        if path.stat().st_size != size or _digest(path, kind) != expected:
            path.unlink()
            raise ModelMissing(f"{file} of {name} came with the wrong bytes (expected {kind} {expected}); fetch again")
        files[file] = {"size": size, "sha256": sha256(path), "sample": sample(path)}
    lock = {"name": name, "repo": source.repo, "revision": source.revision, "files": files}
    (part / LOCK).write_text(json.dumps(lock, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(part / ".cache", ignore_errors=True)
    part.rename(to)
    return to


def _download(source: Source, part: Path, endpoint: str | None) -> dict[str, tuple[int, str, str]]:
    """Fetch the wanted files; returns what they must be: size, "sha256" or "git", hash. Raises OSError."""
    from huggingface_hub import HfApi, hf_hub_download

    try:
        told = HfApi(endpoint=endpoint).model_info(source.repo, revision=source.revision, files_metadata=True)
    except Exception as error:  # whichever HTTP library the hub's client is made with has errors of its own
        raise OSError(str(error) or type(error).__name__) from error
    stated = {}
    for file in told.siblings or []:
        if file.rfilename not in WANTED or file.size is None:
            continue
        if file.rfilename != "model.bin":
            kind, expected = ("sha256", file.lfs.sha256) if file.lfs else ("git", file.blob_id or "")
        elif (file.size, file.lfs and file.lfs.sha256) == (source.size, source.sha256):
            kind, expected = "sha256", source.sha256
        else:
            raise OSError(f"the hub states another model.bin for {source.revision} than the one pinned here")
        stated[file.rfilename] = (file.size, kind, expected)
    lacking = [name for name in NEEDED if name not in stated]
    if lacking:
        raise OSError(f"{source.repo} at {source.revision} lacks {', '.join(lacking)}")
    try:
        for name in stated:
            hf_hub_download(source.repo, name, revision=source.revision, local_dir=part, endpoint=endpoint)
    except Exception as error:
        raise OSError(str(error) or type(error).__name__) from error
    return stated


def _digest(path: Path, kind: str) -> str:
    if kind == "sha256":
        return sha256(path)
    # Small files are kept in git itself, whose hash covers a header and the bytes.
    raw = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(raw) + raw, usedforsecurity=False).hexdigest()
