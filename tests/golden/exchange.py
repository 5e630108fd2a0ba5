"""Recorded exchanges: one JSON line per message with what it said. `python -m tests.golden.exchange` records anew.

A line is {"in": text} or {"in_hex": bytes}, with "out": what was said, or "error": the code of the refusal. The last
line, {"in": null}, is what `flush` gives. After recording, the difference in version control is what is to be judged.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from assist.errors import WireError
from assist.protocols import Protocol, Said
from assist.protocols.plain import Plain
from assist.protocols.twilio import Twilio

HERE = Path(__file__).parent
DIALECTS: dict[str, Callable[[], Protocol]] = {"plain": Plain, "twilio": Twilio}
"""By the first word of the file's name."""


def shown(said: Said) -> dict[str, Any]:
    """Something said as JSON can hold it, bytes as hex."""
    fields = {k: v.hex() if isinstance(v, bytes) else v for k, v in asdict(said).items()}
    return json.loads(json.dumps({"said": type(said).__name__, **fields}))  # type: ignore[no-any-return]


def answer(protocol: Protocol, line: dict[str, Any]) -> dict[str, Any]:
    """The line with what `protocol` makes of its message now."""
    asked: dict[str, Any] = {k: line[k] for k in ("in", "in_hex") if k in line}
    try:
        if line.get("in", "") is None:
            said = protocol.flush()
        else:
            said = protocol.receive(bytes.fromhex(line["in_hex"]) if "in_hex" in line else line["in"])
    except WireError as error:
        return {**asked, "error": error.code}
    return {**asked, "out": [shown(each) for each in said]}


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a recording."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line]


def protocol_of(path: Path) -> Protocol:
    """A new protocol of the dialect the file is named after."""
    return DIALECTS[path.stem.split("_")[0]]()


def main() -> None:
    """Play every recording again and write down what comes out now."""
    for path in sorted(HERE.glob("*.jsonl")):
        protocol = protocol_of(path)
        lines = [json.dumps(answer(protocol, line), ensure_ascii=False) for line in read(path)]
        path.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
