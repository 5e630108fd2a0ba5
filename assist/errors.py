"""Everything that can go wrong, by name, with what the wire is told.

It knows no socket: the gateway sends `{"type": "error", "code": ..., "message": ...}` and then closes
with `close_code`; routes answer with `http_status`. Library exceptions are translated into these once,
at the door.

AssistError
├── ConfigError            config.toml or ASSIST_* is wrong (start fails)
├── KnowledgeError         knowledge_base/ is wrong (start fails)
├── ModelMissing           weights are not there, are damaged or of the wrong hash
├── RecogniserFailed       a recogniser raised or ran out of time on one utterance
├── StoreFailed            the disk or the database refused
│   └── StoreNewer         the database was written by a newer version of this software (start fails)
└── WireError              somebody's message is wrong: theirs to mend
    ├── BadMessage         not JSON, not an object, wrong types, out of order
    ├── UnknownMessage     JSON with a type we do not know
    ├── BadEncoding        an encoding, rate or channel layout we do not take
    ├── Oversize           a message above the stated size
    ├── TooFast            audio or messages faster than real time beyond the stated burst
    ├── TooLong            a call beyond 24 hours
    ├── DuplicateCall      the call id is already used
    ├── UnknownCall        no such call
    ├── FutureCursor       `after` lies beyond the log
    ├── Forbidden          another site's page asks, or a host name that is not ours
    ├── Unauthorized       no key of ours, a wrong signature, one that is too old or was used before
    ├── Idle               the peer said nothing for too long
    ├── Busy               no room for another call now
    └── Draining           the server is shutting down
"""

from __future__ import annotations


class AssistError(Exception):
    """Base of all named errors. `code` is stable and searchable; `close_code` is a websocket close code."""

    code = "internal"
    close_code = 1011
    http_status = 500


class ConfigError(AssistError):
    code = "bad_config"


class KnowledgeError(AssistError):
    code = "bad_knowledge"


class ModelMissing(AssistError):
    code = "model_missing"
    http_status = 503


class RecogniserFailed(AssistError):
    code = "recogniser_failed"


class StoreFailed(AssistError):
    code = "store_failed"


class StoreNewer(StoreFailed):
    code = "store_newer"


class WireError(AssistError):
    """Its message goes to the peer and into our log, and often quotes what came: it is cut to `MOST` characters."""

    code = "bad_message"
    close_code = 4400
    http_status = 400
    MOST = 300

    def __init__(self, message: str = "") -> None:
        super().__init__(message[: self.MOST])


class BadMessage(WireError):
    code = "bad_message"


class UnknownMessage(WireError):
    code = "unknown_message"


class BadEncoding(WireError):
    code = "bad_encoding"
    close_code = 4415
    http_status = 415


class Oversize(WireError):
    code = "oversize"
    close_code = 1009
    http_status = 413


class TooFast(WireError):
    code = "too_fast"
    close_code = 4429
    http_status = 429


class TooLong(WireError):
    code = "too_long"
    close_code = 4413
    http_status = 413


class DuplicateCall(WireError):
    code = "duplicate_call"
    close_code = 4409
    http_status = 409


class UnknownCall(WireError):
    code = "unknown_call"
    close_code = 4404
    http_status = 404


class FutureCursor(WireError):
    code = "future_cursor"
    close_code = 4416
    http_status = 416


class Forbidden(WireError):
    code = "forbidden"
    close_code = 1008
    http_status = 403


class Unauthorized(WireError):
    code = "unauthorized"
    close_code = 4401
    http_status = 401


class Idle(WireError):
    code = "idle"
    close_code = 4408
    http_status = 408


class Busy(WireError):
    """`again_s`: seconds after which a place may be free; the wire says so as `retry_after_s`."""

    code = "busy"
    close_code = 1013
    http_status = 503

    def __init__(self, message: str, again_s: int = 30) -> None:
        super().__init__(message)
        self.again_s = again_s


class Draining(WireError):
    code = "draining"
    close_code = 1012
    http_status = 503
