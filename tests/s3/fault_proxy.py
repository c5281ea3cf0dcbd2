"""An S3 service between a client and a real one that loses, refuses, cuts and changes what it is told to.

It understands HTTP, so that a fault hits a chosen request at a chosen moment: before it is sent on, after the service
has done it, or in the middle of an answer.
"""

import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Request:
    """What a client asked; `number` counts from 1."""

    number: int
    method: str
    path: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Answer:
    """Answer with an error of the service, without asking it."""

    status: int
    code: str


@dataclass(frozen=True)
class CutBefore:
    """Reset the connection; the service hears nothing."""


@dataclass(frozen=True)
class CutAfter:
    """Let the service do it, then reset the connection instead of handing on its answer."""


@dataclass(frozen=True)
class CutBody:
    """Hand on this share of the answer's body, then reset the connection."""

    share: float = 0.5


@dataclass(frozen=True)
class Without:
    """Hand the request on without a header: a service that does not know it."""

    header: str


@dataclass(frozen=True)
class Stall:
    """Say nothing for some seconds, then reset the connection."""

    seconds: float


@dataclass(frozen=True)
class Trickle:
    """Hand on the answer's body in pieces with pauses, and reset the connection before the last one."""

    pieces: int
    seconds: float


@dataclass(frozen=True)
class Damage:
    """Flip one bit of the request's body on its way."""


Fault = Answer | CutBefore | CutAfter | CutBody | Without | Stall | Trickle | Damage
Rule = Callable[[Request], Fault | None]

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect"}
_ERROR = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{code} of a test</Message></Error>'


class FaultProxy:
    """Runs in threads of this process; `rule` decides each request's fault and may be replaced at any time."""

    def __init__(self, upstream: str, rule: Rule = lambda request: None) -> None:
        self.upstream = urlsplit(upstream)
        self.rule = rule
        self.done: Counter[str] = Counter()
        """Faults by name, and `passed`."""
        self._count, self._lock = 0, threading.Lock()
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def decide(self, method: str, path: str, headers: dict[str, str]) -> Fault | None:
        with self._lock:
            self._count += 1
            fault = self.rule(Request(self._count, method, path, headers))
            self.done[type(fault).__name__ if fault else "passed"] += 1
        return fault

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def fault_proxy(upstream: str, rule: Rule = lambda request: None) -> Iterator[FaultProxy]:
    """A proxy before a service, closed afterwards."""
    proxy = FaultProxy(upstream, rule)
    try:
        yield proxy
    finally:
        proxy.close()


def first(number: int, fault: Fault, *, method: str, path: str = "") -> Rule:
    """The fault for the first so many requests of a kind, and nothing after."""
    left = [number]

    def rule(request: Request) -> Fault | None:
        if left[0] > 0 and request.method == method and path in request.path:
            left[0] -= 1
            return fault
        return None

    return rule


def storm(seed: int, *, refused: float, cut: float) -> Rule:
    """A share of requests is refused with 503 or 500, a share is cut before, after or amid the answer."""
    chosen = random.Random(seed)

    def rule(request: Request) -> Fault | None:
        draw = chosen.random()
        if draw < refused:
            return chosen.choice([Answer(503, "SlowDown"), Answer(503, "ServiceUnavailable"),
                                  Answer(500, "InternalError")])  # fmt: skip
        if draw < refused + cut:
            return chosen.choice([CutBefore(), CutAfter(), CutBody(0.3)])
        return None

    return rule


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is what this is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultProxy

    def log_message(self, *arguments: Any) -> None:
        """Quiet."""

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        fault = self.proxy.decide(self.command, self.path, headers)
        match fault:
            case Answer():
                self._refuse(fault)
            case CutBefore():
                self._reset()
            case Stall():
                time.sleep(fault.seconds)
                self._reset()
            case _:
                if isinstance(fault, Damage) and body:
                    body = bytes([body[0] ^ 1]) + body[1:]
                if isinstance(fault, Without):
                    headers.pop(fault.header.lower(), None)
                self._pass_on(headers, body, fault)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle  # noqa: N815

    def _pass_on(self, headers: dict[str, str], body: bytes, fault: Fault | None) -> None:
        upstream = self.proxy.upstream
        connection = http.client.HTTPConnection(str(upstream.hostname), int(upstream.port or 80), timeout=60)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                if name not in _HOP_BY_HOP:
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            data = answer.read()
        except OSError:
            self._reset()
            return
        finally:
            connection.close()
        if isinstance(fault, CutAfter):
            self._reset()
            return
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP_BY_HOP | {"content-length"}:
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        if isinstance(fault, CutBody):
            self.wfile.write(data[: int(len(data) * fault.share)])
            self.wfile.flush()
            self._reset()
            return
        if isinstance(fault, Trickle):
            step = -(-len(data) // fault.pieces)
            for start in range(0, len(data) - step, step):
                self.wfile.write(data[start : start + step])
                self.wfile.flush()
                time.sleep(fault.seconds)
            self._reset()
            return
        self.wfile.write(data)

    def _refuse(self, answer: Answer) -> None:
        body = _ERROR.format(code=answer.code).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _reset(self) -> None:
        """RST instead of FIN, as a dying load balancer sends it."""
        self.close_connection = True
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
