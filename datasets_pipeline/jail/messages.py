"""What passes between a worker and its jailed child: frames of JSON and of raw bytes.

JSON and not pickle, because a parser that was taken over could send anything; types are checked on arrival.
"""

import struct
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from pydantic import TypeAdapter, ValidationError

from datasets_pipeline.normalize import normalize_text
from datasets_pipeline.sources.base import REASONS, ExtractionResult, FileEntry

LENGTH = struct.Struct(">Q")
"""Stands before each frame: how many bytes follow."""

_MAX_PLACE = 1 << 62
_MAX_TOLD_CHARACTERS = 100_000


@dataclass(frozen=True)
class Request:
    """One file; its bytes follow in a frame of their own. values: the source's configuration."""

    source: str
    values: dict[str, Any]
    entry: FileEntry
    cpu_seconds: int
    max_answer_bytes: int


@dataclass(frozen=True)
class Answer:
    """What became of one file: a result, or a reason with its message. last: the child ends after it.

    Neither result nor reason: the child could not even begin, which is no fault of the file.
    """

    result: ExtractionResult | None = field(default=None, repr=False)
    reason: str | None = None
    message: str = ""
    last: bool = False


_REQUEST = TypeAdapter(Request)
_ANSWER = TypeAdapter(Answer)


def pack(value: Request | Answer) -> bytes:
    """As JSON bytes."""
    adapter: TypeAdapter[Any] = _REQUEST if isinstance(value, Request) else _ANSWER
    try:
        return adapter.dump_json(value)
    except ValueError:  # lone surrogates, which no UTF-8 holds; storing a text does the same to them
        return adapter.dump_json(adapter.validate_python(_without_surrogates(adapter.dump_python(value))))


def unpack_request(payload: bytes) -> Request:
    """A request as the worker sent it."""
    return _REQUEST.validate_json(payload)


def unpack_answer(payload: bytes) -> Answer | None:
    """An answer; None when the bytes are none, which only a parser that was taken over sends."""
    try:
        answer = _ANSWER.validate_json(payload, strict=True)
    except ValidationError:
        return None
    if not _is_sound(answer):
        return None
    reasons = {reject.reason for reject in answer.result.rejects} if answer.result is not None else {answer.reason}
    return answer if reasons - {None} <= REASONS.keys() else None


def _is_sound(answer: Answer) -> bool:
    """Whether places are places and what is told is short: it goes into tables and to the screen."""
    documents = answer.result.documents if answer.result is not None else []
    rejects = answer.result.rejects if answer.result is not None else []
    parts: list[Any] = [*documents, *rejects]
    told = [answer.message, *(reject.detail for reject in rejects), *(part.uri or "" for part in parts)]
    return all(0 <= part.start <= part.end < _MAX_PLACE for part in parts) and all(
        len(text) <= _MAX_TOLD_CHARACTERS for text in told
    )


def read_frame(stream: BinaryIO) -> bytes | None:
    """The next frame of a stream; None at its end."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (size,) = LENGTH.unpack(head)
    payload = stream.read(size)
    return payload if len(payload) == size else None


def frame(payload: bytes) -> bytes:
    """The payload with its length before it."""
    return LENGTH.pack(len(payload)) + payload


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return normalize_text(value)
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return [_without_surrogates(item) for item in value] if isinstance(value, list | tuple) else value
