"""The jailed process: reads a file from its standard input, answers with its documents, and again.

Started by `walls`; its own output is closed, so that whatever a parser prints goes nowhere.
"""

import atexit
import ctypes
import json
import os
import shutil
import sys
import tempfile
from contextlib import suppress
from typing import Any

from datasets_pipeline.jail.limits import MEMORY_REMEDY, Limits, allow_cpu_seconds, end_with_parent, limit_this_process
from datasets_pipeline.jail.messages import Answer, Request, frame, pack, read_frame, unpack_request
from datasets_pipeline.sources.base import ExtractionError
from ingot import registry
from ingot.line_logs import describe_error

_MAX_FILES = 1000
"""After so many files a child makes room for a new one: parsers leak."""


def main() -> None:
    """Answer requests until the input ends."""
    options = json.loads(sys.argv[1])
    limits = Limits(**options["limits"])
    end_with_parent()
    if options["machine_code"] is not None:
        _bring(*options["machine_code"])
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(nowhere, descriptor)
    limit_this_process(limits, count_processes=options["count_processes"])
    answers.write(frame(b"ready"))
    answers.flush()
    os.dup2(nowhere, 2)  # until here it says why it could not start
    sources: dict[str, tuple[Any, Any]] = {}
    for number in range(1, _MAX_FILES + 1):
        header = read_frame(requests)
        data = read_frame(requests) if header is not None else None
        if header is None or data is None:
            return
        request = unpack_request(header)
        allow_cpu_seconds(request.cpu_seconds)
        answer, healthy = _answer(request, data, sources)
        last = number == _MAX_FILES or not healthy or _is_bloated(limits)
        payload = pack(Answer(answer.result, answer.reason, answer.message, last))
        if len(payload) > request.max_answer_bytes:
            payload = pack(Answer(None, "too_large", _too_much(request, len(payload)), last))
        answers.write(frame(payload))
        answers.flush()
        if last:
            return
        # Idle, it would else stay as large as its largest file made it: 250 MB after one of 32 MB.
        del data, answer, payload
        ctypes.CDLL(None).malloc_trim(0)


def _bring(folder: str, name: str) -> None:
    """Copy what numba compiled to a place of this process: numba asks for one that it may write to."""
    own = tempfile.mkdtemp(prefix="ingot-machine-code-")
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    with suppress(OSError):  # another process may be writing there; without the code this one compiles for itself
        shutil.copytree(folder, os.path.join(own, name), ignore=_not_machine_code)
    os.environ["NUMBA_CACHE_DIR"] = own


def _not_machine_code(_: str, names: list[str]) -> list[str]:
    return [name for name in names if not name.endswith((".nbi", ".nbc"))]


def _answer(request: Request, data: bytes, sources: dict[str, tuple[Any, Any]]) -> tuple[Answer, bool]:
    """What became of the file, and whether this process is still good for another."""
    uri = request.entry.uri
    try:
        key = json.dumps([request.source, request.values], sort_keys=True)
        if key not in sources:
            module = registry.load("source", request.source)
            sources[key] = module, module.Config.model_validate(request.values)
        module, config = sources[key]
    except Exception as error:
        return Answer(None, None, f"source {request.source} cannot be used in the jail: {describe_error(error)}"), False
    try:
        return Answer(module.extract_file(config, request.entry, data)), True
    except ExtractionError as error:
        return Answer(None, error.reason, error.message), error.reason != "memory_limit"
    except MemoryError:
        return Answer(None, "memory_limit", f"{uri}: {MEMORY_REMEDY}"), False
    except BaseException as error:  # also SystemExit: a document must not end the process that read it
        return Answer(None, "parser_error", f"{uri}: reading it failed: {describe_error(error)}; report it"), True


def _too_much(request: Request, num_bytes: int) -> str:
    return (
        f"{request.entry.uri}: its text is {num_bytes:,} bytes, more than a file of its size may give "
        f"({request.max_answer_bytes:,}); split or exclude the file"
    )


def _is_bloated(limits: Limits) -> bool:
    """Whether so much address space is taken that the next file would have too little."""
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE") > limits.memory_bytes // 2


if __name__ == "__main__":
    main()
