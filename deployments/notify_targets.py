"""Where news are sent: a webhook or a mail server, as INGOT_NOTIFY says.

    https://chat.example/hooks/...                    one POST of JSON for each; Slack, Mattermost, Teams show `text`
    smtp://HOST:PORT?from=A&to=B[,C][&user=U]         one mail for each, over STARTTLS
    smtps://HOST:PORT?...                             the same over TLS from the first byte

A credential is never part of the setting: INGOT_SECRET_NOTIFY is the webhook's bearer token or the mail password
of `user`. The path of a webhook can be a secret too, so no message of ours shows more than its host. Off this
machine the connection is encrypted and the certificate is checked.
"""

import json
import smtplib
import ssl
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from deployments.news import News, one_line
from ingot.errors import RecipeError, ServiceError
from ingot.settings import Settings

TIMEOUT_SECONDS = 10.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_FORM = "give a webhook https://..., or smtp://HOST:PORT?from=A&to=B"


class RefusedError(ServiceError):
    """The target answers and does not want this piece of news: its fault, or that of the setting."""


class Target(Protocol):
    """Takes one piece of news, or raises ServiceError; RefusedError where the same again would be refused again."""

    @property
    def host(self) -> str:
        """Whom it talks to; the rest of its address may be a secret."""

    def send(self, news: News) -> None:
        """Deliver it."""


def target_of(settings: Settings) -> Target | None:
    """The target that the settings name; None when there is none. RecipeError for one that cannot be used."""
    value = settings.environ.get("INGOT_NOTIFY")
    if not value:
        return None
    try:
        parts = urlsplit(value)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise RecipeError(f"setting INGOT_NOTIFY is not a URL; {_FORM}") from None
    secret = settings.environ.get("INGOT_SECRET_NOTIFY") or None
    if parts.username or parts.password:
        raise RecipeError("setting INGOT_NOTIFY holds a user or password; give the secret in INGOT_SECRET_NOTIFY")
    if not host:
        raise RecipeError(f"setting INGOT_NOTIFY names no host; {_FORM}")
    if parts.scheme in ("smtp", "smtps"):
        return _mail(parts.scheme, host, port, parse_qs(parts.query), secret)
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise RecipeError(f"setting INGOT_NOTIFY would send news to {host} unencrypted; use https://")
    if parts.scheme not in ("http", "https"):
        raise RecipeError(f"setting INGOT_NOTIFY has scheme {parts.scheme!r}; {_FORM}")
    return Webhook(host, value, secret)


@dataclass(frozen=True)
class Webhook:
    """One POST of JSON for each piece of news."""

    host: str
    url: str
    token: str | None

    def __repr__(self) -> str:
        return f"Webhook({self.host!r})"

    def send(self, news: News) -> None:
        """Deliver it; a redirect is refused, because token and news would go to another place."""
        body = {
            "kind": news.kind, "subject": news.subject, "reason": news.reason, "link": news.link,
            "time": news.time.isoformat(timespec="seconds"), "text": f"Ingot: {news.sentence()}",
        }  # fmt: skip
        headers = {"Content-Type": "application/json", "User-Agent": "ingot"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(self.url, json.dumps(body).encode(), headers, method="POST")
        try:
            with self._opener().open(request, timeout=TIMEOUT_SECONDS) as response:
                response.read(1 << 16)
        except urllib.error.HTTPError as error:
            error.close()
            # 408 and 429 ask to come again later.
            kind = RefusedError if 400 <= error.code < 500 and error.code not in (408, 429) else ServiceError
            raise kind(f"the webhook at {self.host} answered {error.code}; check INGOT_NOTIFY") from None
        except (OSError, ValueError) as error:
            raise ServiceError(f"the webhook at {self.host} does not answer ({_cause(error)})") from None

    def _opener(self) -> urllib.request.OpenerDirector:
        # Certificates are checked by default; reading them takes 0.2 s, so it is left to the addresses that need it.
        own_machine = [urllib.request.ProxyHandler({})] if self.host in _LOOPBACK else []
        return urllib.request.build_opener(_NoRedirect(), *own_machine)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any, **options: Any) -> None:
        return None


def _mail(scheme: str, host: str, port: int | None, query: dict[str, list[str]], secret: str | None) -> "Mail":
    unknown = sorted(set(query) - {"from", "to", "user"})
    if unknown:
        raise RecipeError(f"setting INGOT_NOTIFY has {', '.join(unknown)!r}; smtp takes from, to and user")
    sender, receivers, user = (unquote(query.get(name, [""])[0]) for name in ("from", "to", "user"))
    if "@" not in sender or "@" not in receivers:
        raise RecipeError("setting INGOT_NOTIFY needs both addresses; write smtp://HOST:PORT?from=A&to=B")
    if user and not secret:
        raise RecipeError(f"INGOT_NOTIFY names user {user!r}; give the password in INGOT_SECRET_NOTIFY")
    implicit = scheme == "smtps"
    return Mail(host, port or (465 if implicit else 25), implicit, sender, receivers, user or None, secret)


@dataclass(frozen=True)
class Mail:
    """One mail for each piece of news."""

    host: str
    port: int
    implicit_tls: bool
    sender: str
    receivers: str
    user: str | None
    password: str | None

    def __repr__(self) -> str:
        return f"Mail({self.host!r}, {self.port})"

    def send(self, news: News) -> None:
        """Deliver it."""
        try:
            server = self._connected()
            try:
                server.send_message(self._message(news))
            finally:
                # Not `with`: an odd answer to QUIT would count a mail that was taken as failed, and send it again.
                with suppress(smtplib.SMTPException, OSError):
                    server.quit()
        except smtplib.SMTPNotSupportedError:
            raise ServiceError(
                f"the mail server {self.host} offers no STARTTLS or no login; use one that does, or smtps://"
            ) from None
        except smtplib.SMTPResponseException as error:
            raise ServiceError(f"the mail server {self.host} answered {error.smtp_code}; check INGOT_NOTIFY") from None
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise ServiceError(f"the mail server {self.host} does not take mail ({_cause(error)})") from None

    def _connected(self) -> smtplib.SMTP:
        if self.implicit_tls:
            context = ssl.create_default_context()
            server: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=TIMEOUT_SECONDS, context=context)
        else:
            server = smtplib.SMTP(self.host, self.port, timeout=TIMEOUT_SECONDS)
        try:
            if not self.implicit_tls and self.host not in _LOOPBACK:
                server.starttls(context=ssl.create_default_context())
            if self.user:
                server.login(self.user, self.password or "")
        except BaseException:
            server.close()
            raise
        return server

    def _message(self, news: News) -> EmailMessage:
        message = EmailMessage()
        message["From"], message["To"] = self.sender, self.receivers
        message["Subject"] = one_line(f"[ingot] {news.kind.replace('_', ' ')}: {news.subject}")
        message["Date"] = format_datetime(news.time)
        message.set_content(f"{news.subject}\n\n{news.reason}\n\n{news.link}\n")
        return message


def _cause(error: BaseException) -> str:
    """The kind of failure; its words may hold the address."""
    reason = getattr(error, "reason", None)
    inner = reason if isinstance(reason, BaseException) else error
    return f"{type(inner).__name__}{f': {inner.strerror}' if isinstance(inner, OSError) and inner.strerror else ''}"
