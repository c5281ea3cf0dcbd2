"""The worker's side of the jail: one child that reads file after file, replaced when it dies.

A child's death costs the one file it held; what it was recorded as says whether the file is tried again.
"""

import atexit
import logging
import os
import selectors
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from datasets_pipeline.jail import walls
from datasets_pipeline.jail.limits import MEMORY_REMEDY, Limits
from datasets_pipeline.jail.messages import LENGTH, Answer, Request, frame, pack, unpack_answer
from datasets_pipeline.sources.base import ExtractionError, ExtractionResult, FileEntry
from ingot.errors import ServiceError

logger = logging.getLogger(__name__)

_START_SECONDS = 60.0
_END_SECONDS = 2.0
_CHUNK_BYTES = 1 << 20


class Jail:
    """One jailed child at a time. `extract` may be called from any thread; calls wait for each other."""

    def __init__(
        self,
        wanted: str = walls.AUTO,
        limits: Limits | None = None,
        machine_code: Callable[[], walls.MachineCode | None] = lambda: None,
    ) -> None:
        """machine_code: compiles what parsers run compiled, once a process; a child without it does so for itself."""
        self.limits = limits or Limits()
        self._machine_code = machine_code
        self._wanted = wanted
        self._child: _Child | None = None
        self._lock = threading.Lock()

    def extract(self, source: str, values: dict[str, Any], entry: FileEntry, data: bytes) -> ExtractionResult:
        """The documents of one file, read by `extract_file` of the source in the child.

        Raises ExtractionError for whatever is wrong with the file, ServiceError when no child can be started.
        """
        most = self.limits.max_answer_bytes(len(data))
        request = Request(source, values, entry, self.limits.cpu_seconds, most)
        with self._lock:
            answer = self._ask(request, data)
            if answer.reason == "killed":
                # It may have died for a reason of its own, before it saw the file.
                answer = self._ask(request, data)
        if answer.result is not None:
            return answer.result
        if answer.reason is None:
            raise ServiceError(answer.message)
        raise ExtractionError(answer.reason, answer.message)

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._end_child()

    def _ask(self, request: Request, data: bytes) -> Answer:
        if self._child is None or not self._child.is_alive():
            self._end_child()
            self._child = _Child(walls.choose(self._wanted), self.limits, self._machine_code())
        try:
            answer = self._child.ask(request, data, self.limits.deadline_seconds)
        except BaseException:
            self._end_child()
            raise
        if answer.last:
            self._end_child()
        return answer

    def _end_child(self) -> None:
        if self._child is not None:
            self._child.end()
            self._child = None


class _Child:
    """A started child that has said that it is ready."""

    def __init__(self, kind: str, limits: Limits, machine_code: walls.MachineCode | None) -> None:
        command, environment = walls.command(kind, limits, machine_code)
        with tempfile.TemporaryFile() as words:
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words,
                start_new_session=True,
            )  # fmt: skip
            assert self._process.stdin is not None and self._process.stdout is not None
            self._input, self._output = self._process.stdin.fileno(), self._process.stdout.fileno()
            os.set_blocking(self._input, False)
            ready = self._exchange(b"", time.monotonic() + _START_SECONDS, LENGTH.size)
            if ready != b"ready":
                self.end()
                words.seek(0)
                lines = words.read().decode(errors="replace").strip().splitlines()
                raise ServiceError(
                    f"the process that parses documents did not start ({lines[-1] if lines else 'it said nothing'}); "
                    "`ingot doctor` says what works here"
                )

    def is_alive(self) -> bool:
        return not self._has_ended(0.0)

    def _has_ended(self, seconds: float) -> bool:
        """Whether the child ends within so many seconds. It is not reaped: its number stays its own until `end`."""
        deadline = time.monotonic() + seconds
        while self._process.returncode is None:
            if os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None:
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.01)
        return True

    def ask(self, request: Request, data: bytes, deadline_seconds: float) -> Answer:
        """What became of a file; `last` when this child cannot be used again."""
        message = frame(pack(request)) + LENGTH.pack(len(data))
        deadline = time.monotonic() + deadline_seconds
        payload = self._exchange(message, deadline, request.max_answer_bytes + 4096, data)
        if isinstance(payload, bytes):
            answer = unpack_answer(payload)
            if answer is not None:
                return answer
            return _failed(request, "parser_crashed", "its parser answered what is no answer")
        if payload == "too_large":
            return _failed(request, "too_large", "its parser answers with more than a file of its size may give")
        if payload == "timeout":
            return _failed(request, "timeout", f"its parser was not done after {deadline_seconds:.0f} s")
        return self._death(request)

    def _death(self, request: Request) -> Answer:
        if not self._has_ended(_END_SECONDS):
            return _failed(request, "parser_crashed", "its parser closed its end and lives on; exclude it or report it")
        self.end()
        status = self._process.returncode
        number = -status if status < 0 else status - 128 if status > 128 else 0
        if number == signal.SIGXCPU:
            return _failed(
                request, "cpu_limit",
                f"its parser needs more than {request.cpu_seconds} s of processor time; raise max_cpu_seconds in the "
                "source, or split or exclude the file",
            )  # fmt: skip
        if number in (signal.SIGKILL, signal.SIGTERM):
            return _failed(request, "killed", "its parser was killed from outside, perhaps for want of memory")
        if number == signal.SIGABRT:
            # What C++ and Rust do when an allocation fails; other causes look the same from here.
            return _failed(request, "parser_crashed", f"its parser gave up (SIGABRT); perhaps {MEMORY_REMEDY}")
        told = signal.Signals(number).name if number in signal.valid_signals() and number else f"status {status}"
        return _failed(request, "parser_crashed", f"its parser died of it ({told}); exclude it or report it")

    def _exchange(self, message: bytes, deadline: float, most: int, data: bytes = b"") -> bytes | str | None:
        """Send and receive one frame. None: the child has ended; `timeout` or `too_large`: it was ended."""
        waiting = [memoryview(part) for part in (message, data) if part]
        received = bytearray()
        size: int | None = None
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            if waiting:
                selector.register(self._input, selectors.EVENT_WRITE)
            while size is None or len(received) < size:
                left = deadline - time.monotonic()
                events = selector.select(left) if left > 0 else []
                if not events:
                    self.end()
                    return "timeout"
                for key, _ in events:
                    if key.fd == self._input:
                        if not self._send(waiting):
                            selector.unregister(self._input)
                        continue
                    chunk = os.read(self._output, _CHUNK_BYTES)
                    if not chunk:
                        return None
                    received += chunk
                    if size is None and len(received) >= LENGTH.size:
                        size = LENGTH.unpack(received[: LENGTH.size])[0]
                        del received[: LENGTH.size]
                        if size > most:
                            self.end()
                            return "too_large"
        return bytes(received)

    def _send(self, waiting: list[memoryview]) -> bool:
        """Write what the pipe takes; whether more is waiting."""
        try:
            sent = os.write(self._input, waiting[0][:_CHUNK_BYTES])
        except BlockingIOError:
            return True
        except BrokenPipeError:  # it has ended: the reading side learns how
            return False
        waiting[0] = waiting[0][sent:]
        if not waiting[0]:
            waiting.pop(0)
        return bool(waiting)

    def end(self) -> None:
        """Kill the child and everything it started."""
        if self._process.returncode is None:
            # Inside walls of either kind the rest dies with it; without walls the session is ours to end, also that of
            # a child that has ended. Not reaped yet, its number names no other session.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()


def _failed(request: Request, reason: str, what: str) -> Answer:
    return Answer(None, reason, f"{request.entry.uri}: {what}", last=True)


_jails: dict[tuple[int, str, Limits], Jail] = {}
_jails_lock = threading.Lock()


def jail_of_this_process(
    wanted: str, limits: Limits, machine_code: Callable[[], walls.MachineCode | None] = lambda: None
) -> Jail:
    """The jail that this process uses for such walls and limits; ended when the process ends."""
    with _jails_lock:
        key = (os.getpid(), wanted, limits)  # after a fork the child of the parent is not ours
        if key not in _jails:
            _jails[key] = Jail(wanted, limits, machine_code)
            atexit.register(_jails[key].close)
        return _jails[key]
