"""A small HTTP client for hostile servers: one request a connection, everything bounded.

The connection goes to an address that was checked (`web_addresses`), with the name in SNI and Host; certificates are
verified against the system's, or SSL_CERT_FILE. No proxy of the environment, no cookie, no cache. Time, head, body and
redirects are limited; every redirect is checked like the first address.
"""

import base64
import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from datasets_pipeline.sources import http_messages, web_addresses
from datasets_pipeline.sources.base import ExtractionError
from ingot import credentials

MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_BLOCK_BYTES = 64 * 1024
_PORTS = {"http": 80, "https": 443}


class NoAnswer(Exception):
    """A server that could not be reached, or broke off. The message names the kind of fault only.

    `reached`: whether a connection had been made and verified.
    """

    def __init__(self, message: str, *, reached: bool) -> None:
        super().__init__(message)
        self.reached = reached


@dataclass(frozen=True)
class Access:
    """What a client may do: hosts as `name` or `name:port`, limits, and who it says it is."""

    hosts: tuple[str, ...]
    user_agent: str
    max_body_bytes: int
    connect_seconds: float = 10.0
    read_seconds: float = 30.0
    total_seconds: float = 120.0
    credential: str | None = None
    credential_kind: str = "bearer"


@dataclass(frozen=True)
class Response:
    """An answer: where it came from in the end, and its body without encodings."""

    url: str
    status: int
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class Client:
    """`wait(host)` is called before every request, for politeness; `may_read(url)` before every redirect."""

    def __init__(
        self,
        access: Access,
        *,
        wait: Callable[[str], None] = lambda host: None,
        resolver: web_addresses.Resolver = web_addresses.resolve,
    ) -> None:
        self._access, self._wait, self._resolver = access, wait, resolver

    def get(self, url: str, method: str = "GET", may_read: Callable[[str], None] = lambda url: None) -> Response:
        """The answer behind a url, with redirects followed. Raises ExtractionError and NoAnswer."""
        first = url
        for _ in range(MAX_REDIRECTS + 1):
            host_of(url, self._access.hosts)
            may_read(url)
            response = self._once(url, method)
            target = response.headers.get("location")
            if response.status not in _REDIRECTS or not target:
                return response
            url = normalized(urljoin(url, target))
            if url.startswith("http:") and first.startswith("https:"):
                raise ExtractionError("unreadable", f"{first}: redirects from https to http; it is not followed")
        raise ExtractionError(
            "unreadable", f"{first}: redirects more than {MAX_REDIRECTS} times; look at it in a browser"
        )

    def _once(self, url: str, method: str) -> Response:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        self._wait(parts.netloc)
        deadline = time.monotonic() + self._access.total_seconds
        headers = self._headers(url, host, port)
        connection = self._connect(host, port, parts.scheme == "https", deadline)
        try:
            sent = _Stream(connection, min(self._access.read_seconds, self._access.total_seconds), deadline)
            return self._exchange(sent, url, method, headers)
        except ExtractionError:
            raise
        except (http.client.HTTPException, OSError, ValueError) as error:
            failure = type(error).__name__
        finally:
            connection.close()
        raise NoAnswer(f"{url}: the server's answer broke off or is none ({failure})", reached=True)

    def _connect(self, host: str, port: int, secure: bool, deadline: float) -> socket.socket:
        failure = ""
        try:
            for address in web_addresses.checked_addresses(host, port, self._resolver):
                try:
                    seconds = max(0.01, min(self._access.connect_seconds, deadline - time.monotonic()))
                    connection = socket.create_connection((address, port), timeout=seconds)
                except OSError as error:
                    failure = type(error).__name__
                    continue
                return self._secured(connection, host) if secure else connection
        except web_addresses.RefusedAddress as error:
            raise ExtractionError("unreadable", f"{error}; not connected") from None
        except ssl.SSLCertVerificationError as error:
            failure = f"its certificate is not trusted: {error.verify_message}; SSL_CERT_FILE names who is"
        except (OSError, UnicodeError) as error:
            failure = type(error).__name__
        raise NoAnswer(f"{host}:{port} cannot be reached ({failure})", reached=False)

    def _secured(self, connection: socket.socket, host: str) -> socket.socket:
        try:
            return ssl.create_default_context().wrap_socket(connection, server_hostname=host)
        except BaseException:
            connection.close()
            raise

    def _headers(self, url: str, host: str, port: int) -> dict[str, str]:
        headers = {
            "Host": urlsplit(url).netloc, "User-Agent": self._access.user_agent, "Accept-Encoding": "gzip",
            "Accept": "text/html,*/*;q=0.8", "Connection": "close",
        }  # fmt: skip
        is_safe = url.startswith("https:") or web_addresses.is_private_allowed(host, port)
        if self._access.credential and is_safe:
            secret = credentials.secret(self._access.credential)
            if self._access.credential_kind == "basic":
                secret = base64.b64encode(secret.encode()).decode()
            headers["Authorization"] = f"{self._access.credential_kind.title()} {secret}"
        return headers

    def _exchange(self, stream: "_Stream", url: str, method: str, headers: dict[str, str]) -> Response:
        parts = urlsplit(url)
        target = urlunsplit(("", "", parts.path or "/", parts.query, ""))
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        if any("\r" in line or "\n" in line for line in lines):
            raise ExtractionError("unreadable", f"{parts.netloc}: a header or address has a line break in it")
        stream.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        answer = http.client.HTTPResponse(stream, method=method)  # type: ignore[arg-type]
        answer.begin()
        received: dict[str, str] = {}
        for name, value in answer.getheaders():
            name = name.lower()
            between = "\n" if name == "x-robots-tag" else ", "  # where one line ends says whom it is for
            received[name] = f"{received[name]}{between}{value}" if name in received else value
        if method == "HEAD" or answer.status in _REDIRECTS or not 200 <= answer.status < 300:
            return Response(url, answer.status, received, b"")
        body = self._body(answer, url)
        return Response(url, answer.status, received, self._decoded(body, received, url))

    def _body(self, answer: http.client.HTTPResponse, url: str) -> bytes:
        most = self._access.max_body_bytes
        if (answer.length or 0) > most:
            raise _too_large(url, most)
        pieces: list[bytes] = []
        num_bytes = 0
        while block := answer.read(_BLOCK_BYTES):
            num_bytes += len(block)
            if num_bytes > most:
                raise _too_large(url, most)
            pieces.append(block)
        if answer.length:  # what is still missing of Content-Length
            raise http.client.IncompleteRead(b"", answer.length)
        return b"".join(pieces)

    def _decoded(self, body: bytes, headers: dict[str, str], url: str) -> bytes:
        return http_messages.decoded(body, headers.get("content-encoding", ""), self._access.max_body_bytes, url)


def _too_large(url: str, most: int) -> ExtractionError:
    return ExtractionError("too_large", f"{url}: larger than max_file_bytes ({most:,}); raise the limit or exclude it")


class _Stream:
    """A connection whose every wait ends at the deadline, as http.client wants to see a socket."""

    def __init__(self, connection: socket.socket, read_seconds: float, deadline: float) -> None:
        self._connection, self._read_seconds, self._deadline = connection, read_seconds, deadline

    def sendall(self, data: bytes) -> None:
        self._connection.settimeout(self._seconds_left())
        self._connection.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        """A reader over what comes in."""
        assert mode == "rb"
        return io.BufferedReader(_Raw(self))

    def receive(self, buffer: memoryview) -> int:
        self._connection.settimeout(self._seconds_left())
        return self._connection.recv_into(buffer)

    def _seconds_left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the total time is over")
        return min(left, self._read_seconds)


class _Raw(io.RawIOBase):
    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        return self._stream.receive(buffer)


def host_of(url: str, hosts: tuple[str, ...]) -> str:
    """The `host` or `host:port` of a url. Raises ExtractionError for one that is not on the list, or no http(s) url."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        parts, host, port = urlsplit(""), "", None
    if parts.scheme not in _PORTS or not host or parts.username is not None or parts.password is not None:
        raise ExtractionError("unreadable", f"{http_messages.clean_uri(url)[:200]}: no plain http or https address")
    name = host if port in (None, _PORTS[parts.scheme]) else f"{host}:{port}"
    if name not in hosts:
        raise ExtractionError("unreadable", f"{name} is not in `hosts`, so it is not asked; add it if it belongs to it")
    return name


def normalized(url: str) -> str:
    """An address in one spelling: host in lower case and ASCII, no default port, no fragment, only quoted characters.

    What is no address is returned as it is; `host_of` refuses it.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = (parts.hostname or "").lower(), parts.port
        if not host.isascii():
            host = host.encode("idna").decode("ascii")
    except (ValueError, UnicodeError):
        return url
    if parts.scheme not in _PORTS or parts.username is not None or parts.password is not None:
        return url
    host = f"[{host}]" if ":" in host else host
    place = host if port in (None, _PORTS[parts.scheme]) else f"{host}:{port}"
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    return urlunsplit((parts.scheme, place, path, quote(parts.query, safe="/%:@!$&'()*+,;=~-._?[]"), ""))
