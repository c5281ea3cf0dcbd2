"""Servers that mislead, stall or flood: where a connection may go, and that every answer is bounded."""

import datetime
import gzip
import ipaddress
import os
import random
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from datasets_pipeline.sources import web_addresses, web_client, web_pace
from datasets_pipeline.sources.base import ExtractionError
from datasets_pipeline.sources.web_client import Access, Client, NoAnswer
from ingot.errors import RecipeError
from tests.sources.web_server import Answer, Site, serving


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with serving() as found:
        monkeypatch.setenv("INGOT_WEB_ALLOW_PRIVATE", found.host)
        yield found


def client(site: Site, *more: str, resolver: web_addresses.Resolver = web_addresses.resolve,
           max_body_bytes: int = 1 << 20, total_seconds: float = 5.0, read_seconds: float = 5.0,
           credential: str | None = None, kind: str = "bearer") -> Client:  # fmt: skip
    access = Access((site.host, *more), "Ingot/test", max_body_bytes, 2.0, read_seconds, total_seconds,
                    credential, kind)  # fmt: skip
    return Client(access, resolver=resolver)


def reason(found: Client, url: str) -> str:
    with pytest.raises(ExtractionError) as told:
        found.get(url)
    return told.value.reason


# --- where a connection may go -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1", "loopback"), ("::1", "loopback"), ("::ffff:127.0.0.1", "loopback"), ("::127.0.0.1", "loopback"),
        ("10.1.2.3", "private"), ("192.168.0.1", "private"), ("172.16.9.9", "private"), ("100.64.0.1", "private"),
        ("fd12::1", "private"), ("::ffff:10.0.0.1", "private"), ("2002:0a00:0001::", "private"),
        ("64:ff9b::a00:1", "private"), ("64:ff9b::808:808", None),
        ("169.254.169.254", "link-local"), ("fe80::1%eth0", "link-local"),
        ("::ffff:169.254.169.254", "link-local"), ("168.63.129.16", "metadata"), ("fd00:ec2::254", "metadata"),
        ("224.0.0.1", "multicast"), ("ff02::1", "multicast"), ("0.0.0.0", "reserved"), ("240.0.0.1", "reserved"),
        ("255.255.255.255", "reserved"), ("fec0::1", "reserved"), ("localhost", "reserved"),
        ("8.8.8.8", None), ("2606:4700::1111", None), ("::ffff:8.8.8.8", None),
    ],
)  # fmt: skip
def test_addresses_are_told_apart(address: str, kind: str | None) -> None:
    assert web_addresses.refused_kind(address) == kind


def test_a_private_address_needs_the_setting_and_a_metadata_address_is_never_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("INGOT_WEB_ALLOW_PRIVATE", "intranet.example:80, cloud.example:80")
    places = {"intranet.example": ["10.0.0.7"], "cloud.example": ["169.254.169.254"], "other.example": ["10.0.0.7"]}

    def resolver(host: str, port: int) -> list[str]:
        return places[host]

    assert web_addresses.checked_addresses("intranet.example", 80, resolver) == ["10.0.0.7"]
    for host, port in (("intranet.example", 443), ("cloud.example", 80), ("other.example", 80)):
        with pytest.raises(web_addresses.RefusedAddress):
            web_addresses.checked_addresses(host, port, resolver)
    with pytest.raises(RecipeError, match="host:port"):
        web_addresses.allowed_private({"INGOT_WEB_ALLOW_PRIVATE": "intranet.example"})


def test_without_the_setting_nothing_on_this_machine_is_asked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INGOT_WEB_ALLOW_PRIVATE")
    site.page("/a", "one")
    for host in ("127.0.0.1", "localhost", "0x7f.1", "2130706433"):
        assert reason(client(site, f"{host}:{site.port}"), f"http://{host}:{site.port}/a") == "unreadable"
    assert not site.asked


def test_a_name_with_one_private_address_among_public_ones_is_refused(site: Site) -> None:
    found = client(site, "two.example", resolver=lambda host, port: ["8.8.8.8", "10.0.0.1"])
    assert reason(found, "http://two.example/") == "unreadable"


def test_a_name_that_is_rebound_between_two_requests_is_refused_the_second_time(site: Site) -> None:
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])
    asked: list[str] = []

    def resolver(host: str, port: int) -> list[str]:
        asked.append(host)
        return next(answers)

    site.answers["/a"] = Answer(status=302, headers={"Location": "/b"})
    assert reason(client(site, resolver=resolver), site.url("/a")) == "unreadable"
    assert len(asked) == 2 and site.asked == [("GET", "/a")]


def test_the_connection_goes_to_the_checked_address_with_the_name_in_host(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's resolver would not know this name: only the checked address can have been used."""
    name = f"docs.invalid:{site.port}"
    monkeypatch.setenv("INGOT_WEB_ALLOW_PRIVATE", name)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    site.page("/a", "one")
    found = client(site, name, resolver=lambda host, port: ["127.0.0.1"])
    assert found.get(f"http://{name}/a").status == 200
    assert site.headers[-1]["host"] == name


@pytest.mark.parametrize(
    "target",
    ["http://169.254.169.254/latest/meta-data/", "http://other.example/", "file:///etc/passwd", "ftp://127.0.0.1/",
     "http://[::1]/", "http://user:pw@{host}/b", "//other.example/x", "http://{host}:99999/", "gopher://x"],
)  # fmt: skip
def test_a_redirect_elsewhere_is_not_followed(site: Site, target: str) -> None:
    site.answers["/a"] = Answer(status=302, headers={"Location": target.format(host=site.host)})
    assert reason(client(site), site.url("/a")) == "unreadable"
    assert site.asked == [("GET", "/a")]


def test_a_redirect_to_a_listed_metadata_address_is_refused(site: Site) -> None:
    site.answers["/a"] = Answer(status=302, headers={"Location": "http://169.254.169.254/latest/"})
    assert reason(client(site, "169.254.169.254"), site.url("/a")) == "unreadable"


def test_redirects_end(site: Site) -> None:
    site.answers["/loop"] = Answer(status=301, headers={"Location": "/loop"})
    assert reason(client(site), site.url("/loop")) == "unreadable"
    assert len(site.asked) == web_client.MAX_REDIRECTS + 1
    for number in range(5):
        site.answers[f"/{number}"] = Answer(status=307, headers={"Location": f"/{number + 1}"})
    site.page("/5", "there")
    assert client(site).get(site.url("/0")).url == site.url("/5")


# --- what comes back -----------------------------------------------------------------------------


def raw(site: Site, path: str, *pieces: bytes, pause: float = 0.0) -> None:
    def write(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        try:
            for piece in pieces:
                handler.wfile.write(piece)
                handler.wfile.flush()
                time.sleep(pause)
        except OSError:
            pass  # the client has gone, as it should

    site.answers[path] = Answer(write=write)


def test_bodies_are_bounded_as_sent_and_as_decoded(site: Site) -> None:
    site.answers["/large"] = Answer(bytes(2 << 20))
    site.answers["/bomb"] = Answer(gzip.compress(bytes(40 << 20)), headers={"Content-Encoding": "gzip"})
    raw(site, "/endless", b"HTTP/1.1 200 OK\r\n\r\n", *[bytes(1 << 16)] * 40)
    chunks = [b"10000\r\n" + bytes(1 << 16) + b"\r\n"] * 40
    raw(site, "/chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *chunks)
    for path in ("/large", "/bomb", "/endless", "/chunks"):
        assert reason(client(site), site.url(path)) == "too_large", path
    site.answers["/packed"] = Answer(gzip.compress(b"<p>words"), headers={"Content-Encoding": "gzip"})
    assert client(site).get(site.url("/packed")).body == b"<p>words"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"SSH-2.0-server\r\n",
        b"\x16\x03\x01\x02\x00",
        b"",
    ],
)
def test_answers_that_break_off_or_are_none(site: Site, answer: bytes) -> None:
    raw(site, "/a", answer)
    with pytest.raises(NoAnswer) as told:
        client(site).get(site.url("/a"))
    assert told.value.reached


def test_a_slow_answer_ends_at_the_total_time(site: Site) -> None:
    raw(site, "/body", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", *[b"x"] * 500, pause=0.05)
    raw(site, "/head", b"HTTP/1.1 200 OK\r\nX: ", *[b"y"] * 500, pause=0.05)
    raw(site, "/continue", *[b"HTTP/1.1 100 Continue\r\n\r\n"] * 500, pause=0.05)
    for path in ("/body", "/head", "/continue"):
        start = time.monotonic()
        with pytest.raises(NoAnswer):
            client(site, total_seconds=0.4).get(site.url(path))
        assert time.monotonic() - start < 3
    raw(site, "/silent", b"HTTP/1.1 200 OK\r\n", b"\r\n", pause=0.5)
    with pytest.raises(NoAnswer):
        client(site, read_seconds=0.1).get(site.url("/silent"))


def test_flipped_and_cut_answers_raise_nothing_else(site: Site) -> None:
    head = b"Content-Type: text/html\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked"
    body = gzip.compress(b"<p>words" * 9)
    whole = b"HTTP/1.1 200 OK\r\n%b\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (head, len(body), body)
    chance = random.Random(7)
    found = client(site, total_seconds=0.5)
    for number in range(60):
        damaged = bytearray(whole[: chance.randrange(len(whole))] if number % 2 else whole)
        if damaged and not number % 2:
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        raw(site, "/a", bytes(damaged))
        try:
            found.get(site.url("/a"))
        except (ExtractionError, NoAnswer):
            continue


def test_no_address_can_smuggle_a_line_into_the_request(site: Site) -> None:
    site.page("/a", "one")
    for address in ("/a\r\nX-Evil: 1", "/a b", "/a\x00", "/ä"):
        url = web_client.normalized(site.url(address))
        assert url.isascii() and url.isprintable() and " " not in url
        client(site).get(url)
    assert all("x-evil" not in headers for headers in site.headers)


# --- secrets and certificates --------------------------------------------------------------------


def test_a_secret_goes_to_allowed_hosts_only_and_never_over_plain_http_elsewhere(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INGOT_SECRET_WIKI", "s3cret")
    site.page("/a", "one")
    client(site, credential="wiki").get(site.url("/a"))
    assert site.headers[-1]["authorization"] == "Bearer s3cret"
    monkeypatch.setenv("INGOT_SECRET_WIKI", "user:pw")
    client(site, credential="wiki", kind="basic").get(site.url("/a"))
    assert site.headers[-1]["authorization"] == "Basic dXNlcjpwdw=="
    public = client(site, "docs.example", credential="wiki")
    assert "Authorization" not in public._headers("http://docs.example/", "docs.example", 80)
    assert "Authorization" in public._headers("https://docs.example/", "docs.example", 443)
    monkeypatch.setenv("INGOT_SECRET_WIKI", "two\r\nlines")
    with pytest.raises(ExtractionError) as told:
        client(site, credential="wiki").get(site.url("/a"))
    assert "two" not in str(told.value)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost and 127.0.0.1 that nobody signed but itself, with its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


def test_a_certificate_is_verified_for_the_name(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serving(context) as site:
        site.page("/a", "one")
        name, wrong = f"localhost:{site.port}", f"wrong.invalid:{site.port}"
        monkeypatch.setenv("INGOT_WEB_ALLOW_PRIVATE", f"{name},{site.host},{wrong}")
        found = client(site, name, wrong, resolver=lambda host, port: ["127.0.0.1"])
        with pytest.raises(NoAnswer, match="not trusted") as told:
            found.get(f"https://{name}/a")
        assert not told.value.reached and not site.asked
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert found.get(f"https://{name}/a").status == 200
        assert site.headers[-1]["host"] == name
        with pytest.raises(NoAnswer, match="not trusted"):
            found.get(f"https://{wrong}/a")
        site.answers["/down"] = Answer(status=302, headers={"Location": f"http://{name}/a"})
        assert reason(found, f"https://{name}/down") == "unreadable"


def test_a_server_that_speaks_no_tls_is_not_reached(site: Site) -> None:
    with pytest.raises(NoAnswer):
        client(site).get(site.url("/a").replace("http:", "https:"))


def test_a_server_that_never_finishes_the_handshake_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("INGOT_WEB_ALLOW_PRIVATE", host)
        found = Client(Access((host,), "Ingot/test", 1000, 0.2, 0.2, 0.5))
        start = time.monotonic()
        with pytest.raises(NoAnswer):
            found.get(f"https://{host}/")
        assert time.monotonic() - start < 3


# --- pace ----------------------------------------------------------------------------------------


def test_two_threads_keep_one_pace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(web_pace.tempfile, "gettempdir", lambda: str(tmp_path))
    times: list[float] = []

    def ask() -> None:
        for _ in range(3):
            web_pace.wait("docs.example", 0.05)
            times.append(time.monotonic())

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times.sort()
    assert len(times) == 6 and times[-1] - times[0] >= 0.24
    folder = tmp_path / f"ingot-pace-{os.getuid()}"
    (kept,) = folder.iterdir()
    kept.write_text("99999999999")  # of a machine that has been started anew
    start = time.monotonic()
    web_pace.wait("docs.example", 0.05)
    assert time.monotonic() - start < 1
