"""News reach a real web server and a real mail server, once each, without document text."""

import json
import logging
import socketserver
import ssl
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from deployments import notify
from deployments.news import News, reason_of
from deployments.notify_targets import target_of
from ingot import ledger, model_versions, promotion
from ingot.errors import RecipeError, ServiceError
from ingot.settings import Settings
from tests.base.tiny_store import ACTOR, TinyStore, build

START = datetime(2026, 3, 1, tzinfo=UTC)


class Hook:
    """A webhook that keeps what it was sent."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.answer = 200
        self.refuses = "\0"  # news with this in it


@contextmanager
def serving(hook: Hook, context: ssl.SSLContext | None = None) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = 400 if hook.refuses in body.decode() else hook.answer
            if answer == 200:
                hook.received.append(json.loads(body))
                hook.headers.append(dict(self.headers))
            self.send_response(answer)
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}/hooks/secret-path"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def hook() -> Hook:
    return Hook()


@pytest.fixture
def settings(hook: Hook, home: Path) -> Iterator[Settings]:
    with serving(hook) as url:
        yield Settings.from_environment({"INGOT_HOME": str(home), "INGOT_NOTIFY": url})


class Prefect:
    """Answers the two questions that are asked of the Prefect API."""

    def __init__(self, *runs: dict[str, Any]) -> None:
        self.runs = list(runs)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        if path == "/flows/filter":
            return [{"id": "f", "name": "curate corpus"}]
        after = datetime.fromisoformat(body["flow_runs"]["end_time"]["after_"])
        return [run for run in self.runs if datetime.fromisoformat(run["end_time"]) >= after]


def ended(id: str, message: str, time: datetime = START, state: str = "FAILED") -> dict[str, Any]:
    return {
        "id": id, "name": "nightly", "flow_id": "f", "state_type": state, "end_time": time.isoformat(),
        "parent_task_run_id": None, "state": {"message": message},
    }  # fmt: skip


PREFIX = "Flow run encountered an exception: "


@pytest.mark.parametrize(
    ("state", "message", "told"),
    [
        ("FAILED", f"{PREFIX}RecipeError: filter 'gophr' is unknown; known: gopher",
         "INGOT-RECIPE RecipeError: filter 'gophr' is unknown; known: gopher"),
        ("FAILED", f"{PREFIX}ValueError: the secret page of Anna", "ValueError"),
        ("FAILED", f"{PREFIX}ValueError: DataError: the secret page of Anna", "ValueError"),
        ("FAILED", f"{PREFIX}pyarrow.lib.ArrowInvalidError: secret", "ArrowInvalidError"),
        ("FAILED", "the secret page: DataError: of Anna", "it failed; its page says why"),
        ("FAILED", f"{PREFIX}DataError: one line\nthe secret page", "INGOT-DATA DataError: one line"),
        ("FAILED", "INGOT-NOT-FOUND: corpus: corpus 'handbok' does not exist; known: handbook",
         "INGOT-NOT-FOUND: corpus: corpus 'handbok' does not exist; known: handbook"),
        ("FAILED", "INGOT-ELSE: the secret page", "it failed; its page says why"),
        ("CRASHED", "Flow run process exited with non-zero status code -9.", "its process ended with status -9"),
        ("CRASHED", "secret", "its process was killed or lost"),
        ("FAILED", "", "it failed; its page says why"),
    ],
)  # fmt: skip
def test_of_a_failed_run_only_our_own_words_are_told(state: str, message: str, told: str) -> None:
    assert reason_of(state, message) == told


def test_a_failed_run_is_told_once_with_its_page(settings: Settings, hook: Hook) -> None:
    assert notify.pass_once(settings, None, now=START - timedelta(hours=1)) == 0
    server = Prefect(ended("r1", f"{PREFIX}DataError: no file matches; check include"))
    assert notify.pass_once(settings, server, now=START) == 1
    assert notify.pass_once(settings, server, now=START + timedelta(seconds=30)) == 0
    assert hook.received == [
        {
            "kind": "failed", "subject": "curate corpus (nightly)",
            "reason": "INGOT-DATA DataError: no file matches; check include", "link": "ingot://runs/r1",
            "time": START.isoformat(),
            "text": "Ingot: failed: curate corpus (nightly): INGOT-DATA DataError: no file matches; check include "
            "ingot://runs/r1",
        }
    ]  # fmt: skip
    kept = settings.home / "run/notified.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_what_happened_before_the_first_start_is_no_news(settings: Settings, hook: Hook) -> None:
    server = Prefect(*(ended(f"r{n}", "", START - timedelta(days=n)) for n in range(1, 5)))
    build(Path(settings.store), settings.home / "sources")
    later = datetime.now(UTC) + timedelta(hours=1)
    assert notify.pass_once(settings, server, now=later) == 0
    assert notify.pass_once(settings, server, now=later + timedelta(minutes=1)) == 0
    assert hook.received == []


def test_a_bad_night_is_told_in_portions(settings: Settings, hook: Hook) -> None:
    notify.pass_once(settings, None, now=START)
    server = Prefect(*(ended(f"r{n}", "", START + timedelta(seconds=1)) for n in range(23)))
    moment = START + timedelta(minutes=1)
    assert [notify.pass_once(settings, server, now=moment) for _ in range(4)] == [10, 10, 3, 0]
    assert len({item["link"] for item in hook.received}) == 23


@pytest.fixture
def tiny(settings: Settings) -> TinyStore:
    """A store that grows after the first pass."""
    notify.pass_once(settings, None, now=START)
    return build(Path(settings.store), settings.home / "sources")


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(minutes=1)


def told(hook: Hook) -> list[tuple[str, str]]:
    return [(item["kind"], item["subject"]) for item in hook.received]


def test_a_version_that_waits_for_approval_is_told_until_it_is_promoted(
    settings: Settings, hook: Hook, tiny: TinyStore
) -> None:
    notify.pass_once(settings, None, now=soon())
    assert told(hook) == [("approval_wanted", "model mini/2")]
    assert hook.received[0]["reason"] == "verdict FIRST. no champion yet"
    promotion.promote(tiny.store, model_versions.resolve(tiny.store, "mini/2"), actor=ACTOR, reason="good")
    (settings.home / "run/notified.json").unlink()
    notify.Notifier(settings, target_of(settings), START)  # type: ignore[arg-type]
    notify.pass_once(settings, None, now=soon())
    assert len(hook.received) == 1


def test_what_was_held_back_is_told(settings: Settings, hook: Hook, tiny: TinyStore) -> None:
    ledger.append(
        tiny.store, actor=ACTOR, verb="gated", subject="model mini/2", subject_digest="0", evidence={}, attempt="2",
        details={"model": "mini", "version": 2, "verdict": "FAIL", "reason": "worse by 0.1"},
    )  # fmt: skip
    ledger.append(
        tiny.store, actor=ACTOR, verb="held_back", subject="handbook@3", subject_digest="0", evidence={}, attempt="3",
        details={"reason": "kept 10 of 900 documents, expected at least 500"},
    )  # fmt: skip
    provenance = {"time": datetime.now(UTC).isoformat()}
    for number in (3, 4):
        record = {"identity": {"corpus": "handbook"}, "provenance": provenance}
        tiny.store.put_if_absent(f"held/handbook/{number}.json", record)
    notify.pass_once(settings, None, now=soon())
    assert sorted(told(hook)) == [
        ("held_back", "handbook@3"), ("held_back", "handbook@4"), ("held_back", "model mini/2"),
    ]  # fmt: skip
    assert "verdict FAIL. worse by 0.1" in [item["reason"] for item in hook.received]


def test_nothing_new_is_told_once_a_version(settings: Settings, hook: Hook, tiny: TinyStore) -> None:
    key = "corpora/handbook/2.json"
    body = json.loads((tiny.root / key).read_bytes())
    (tiny.root / key).unlink()
    published = {name: body[name] for name in ("identity", "identity_digest")}
    tiny.store.put_if_absent(key, {**published, "provenance": {"time": (START + timedelta(days=2)).isoformat()}})
    fresh = Settings.from_environment({**settings.environ, "INGOT_NOTIFY_STALE_DAYS": "3"})
    assert notify.pass_once(fresh, None, now=START + timedelta(days=4, hours=23)) == 0
    assert notify.pass_once(fresh, None, now=START + timedelta(days=5)) == 1
    assert notify.pass_once(fresh, None, now=START + timedelta(days=50)) >= 0
    assert [item for item in hook.received if item["kind"] == "nothing_new"] == [
        {**hook.received[0], "subject": "handbook@2", "reason": "no new version for 3 days",
         "link": "ingot://corpora/handbook/2"}
    ]  # fmt: skip


def test_a_failing_target_is_asked_again_after_growing_pauses(
    settings: Settings, hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    notify.pass_once(settings, None, now=START)
    server, hook.answer, asked = Prefect(ended("r1", "")), 500, []
    with caplog.at_level(logging.WARNING):
        for minute in range(0, 10):
            before = len(caplog.records)
            assert notify.pass_once(settings, server, now=START + timedelta(minutes=minute)) == 0
            asked += [minute] if len(caplog.records) > before else []
    assert asked == [0, 1, 2, 4, 8]
    assert "answered 500" in caplog.text and "secret-path" not in caplog.text
    hook.answer = 200
    assert notify.pass_once(settings, server, now=START + timedelta(hours=1)) == 1


def test_what_the_target_refuses_is_given_up_and_stands_in_nobodys_way(
    settings: Settings, hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    notify.pass_once(settings, None, now=START)
    hook.refuses = "runs/bad"
    runs = [*(ended(f"bad{n}", "") for n in range(12)), ended("good1", "", START + timedelta(seconds=1))]
    moments = [START + timedelta(minutes=n) for n in range(1, 20)]
    sent = [notify.pass_once(settings, Prefect(*runs), now=moment) for moment in moments]
    assert sum(sent) == 1 and sum(sent[:3]) == 1  # ten refused ones fill the first pass
    assert "not told, after 5 tries" in caplog.text and "answered 400" in caplog.text
    kept = json.loads((settings.home / "run/notified.json").read_text())
    assert len(kept["delivered"]) == 13 and kept["refused"] == {}


@pytest.mark.parametrize("code", [401, 404, 429])
def test_while_a_wrong_setting_makes_everything_refused_nothing_is_given_up(
    settings: Settings, hook: Hook, code: int
) -> None:
    notify.pass_once(settings, None, now=START)
    server, hook.answer = Prefect(ended("r1", ""), ended("r2", "")), code
    moments = [START + timedelta(minutes=n) for n in range(300)]
    assert sum(notify.pass_once(settings, server, now=moment) for moment in moments) == 0
    hook.answer = 200
    assert notify.pass_once(settings, server, now=START + timedelta(hours=8)) == 2


def test_a_redirect_is_not_followed_and_a_token_goes_in_a_header(hook: Hook, settings: Settings) -> None:
    target = target_of(Settings.from_environment({**settings.environ, "INGOT_SECRET_NOTIFY": "token"}))
    assert target is not None
    item = News("k", "failed", "s", "r", "l", START)
    target.send(item)
    assert hook.headers[0]["Authorization"] == "Bearer token"
    hook.answer = 302
    with pytest.raises(ServiceError, match=r"the webhook at 127\.0\.0\.1 answered 302"):
        target.send(item)
    assert "token" not in repr(target) and "secret-path" not in repr(target)


def test_a_certificate_that_nobody_vouches_for_is_refused(hook: Hook, home: Path, tmp_path: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    item = News("k", "failed", "s", "r", "l", START)
    with serving(hook, context) as url:
        target = target_of(Settings.from_environment({"INGOT_HOME": str(home), "INGOT_NOTIFY": url}))
        assert target is not None
        with pytest.raises(ServiceError, match="does not answer .SSLCertVerificationError"):
            target.send(item)
        assert hook.received == []
        with pytest.MonkeyPatch.context() as patch:  # the control: known to us, it is fine
            patch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
            target.send(item)
        assert len(hook.received) == 1


class Mailbox(socketserver.ThreadingTCPServer):
    """A mail server of thirty lines: keeps envelopes, bodies and logins."""

    allow_reuse_address = daemon_threads = True

    def __init__(self) -> None:
        self.mails: list[str] = []
        self.commands: list[str] = []
        super().__init__(("127.0.0.1", 0), _Session)


class _Session(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        box = self.server
        assert isinstance(box, Mailbox)
        self.wfile.write(b"220 mailbox\r\n")
        while line := self.rfile.readline().decode().strip():
            box.commands.append(line)
            verb = line.split()[0].upper()
            if verb == "DATA":
                self.wfile.write(b"354 go on\r\n")
                body = []
                while (part := self.rfile.readline().decode()) != ".\r\n":
                    body.append(part)
                box.mails.append("".join(body))
                self.wfile.write(b"250 kept\r\n")
            elif verb == "EHLO":
                self.wfile.write(b"250-mailbox\r\n250 AUTH PLAIN\r\n")
            else:
                self.wfile.write(b"235 welcome\r\n" if verb == "AUTH" else b"250 fine\r\n")
            if verb == "QUIT":
                return


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def test_a_mail_is_sent_to_everybody_and_with_a_login_where_one_is_named(mailbox: Mailbox, home: Path) -> None:
    address = f"smtp://127.0.0.1:{mailbox.server_address[1]}?from=ingot@site.example&to=a@site.example,b@site.example"
    plain = Settings.from_environment({"INGOT_HOME": str(home), "INGOT_NOTIFY": address})
    notify.pass_once(plain, None, now=START)
    assert notify.pass_once(plain, Prefect(ended("r1", "")), now=START) == 1
    assert "Subject: [ingot] failed: curate corpus (nightly)" in mailbox.mails[0]
    assert "it failed; its page says why" in mailbox.mails[0] and "ingot://runs/r1" in mailbox.mails[0]
    assert [c for c in mailbox.commands if c.lower().startswith("rcpt")] == [
        "rcpt TO:<a@site.example>", "rcpt TO:<b@site.example>",
    ]  # fmt: skip
    assert not [c for c in mailbox.commands if c.startswith("AUTH")]
    named = {**plain.environ, "INGOT_NOTIFY": f"{address}&user=ingot", "INGOT_SECRET_NOTIFY": "word"}
    target = target_of(Settings.from_environment(named))
    assert target is not None and "word" not in repr(target)
    target.send(News("k", "failed", "s\r\nBcc: x@y", "r", "l", START))
    assert [c for c in mailbox.commands if c.startswith("AUTH")]
    assert "\nBcc" not in mailbox.mails[1].split("\r\n\r\n")[0]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("http://chat.example/hook/abc", "would send news to chat.example unencrypted"),
        ("https://me:word@chat.example/hook", "holds a user or password"),
        ("smtp://mail.example?from=a@b", "needs both addresses"),
        ("smtp://mail.example?from=a@b&to=c@d&user=e", "give the password in INGOT_SECRET_NOTIFY"),
        ("smtp://mail.example?from=a@b&to=c@d&password=word", "smtp takes from, to and user"),
        ("ftp://x/", "has scheme 'ftp'"),
        ("chat.example", "names no host"),
    ],
)
def test_a_target_that_cannot_be_used_is_refused_without_showing_it(
    home: Path, value: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    given = Settings.from_environment({"INGOT_HOME": str(home), "INGOT_NOTIFY": value})
    with pytest.raises(RecipeError, match=message) as refused:
        target_of(given)
    assert "word" not in str(refused.value).replace("password", "") and "hook" not in str(refused.value).replace(
        "webhook", ""
    )
    assert notify.pass_once(given, None) == 0
    assert notify.trouble(given)[0] is False


def test_a_damaged_ledger_or_a_dead_prefect_does_not_reach_the_supervisor(
    settings: Settings, hook: Hook, tiny: TinyStore, caplog: pytest.LogCaptureFixture
) -> None:
    class Dead:
        def post(self, path: str, body: dict[str, Any]) -> Any:
            raise ServiceError("Prefect does not answer")

    assert notify.pass_once(settings, Dead(), now=soon()) == 1
    (tiny.root / ledger.key_of(1)).write_text("{}")
    tiny.store.put_bytes(ledger.key_of(6), b"{}")  # it grew, so it is read again
    assert notify.pass_once(settings, None, now=soon()) == 0
    assert "ledger/000000000001.json was changed" in caplog.text


def test_without_the_setting_nothing_is_looked_at(home: Path) -> None:
    assert notify.pass_once(Settings.from_environment({"INGOT_HOME": str(home)}), None) == 0
    assert not home.exists()
