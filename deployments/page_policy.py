"""A policy for the servers' pages: a browser that shows them asks this machine and nobody else.

Prefect's page carries a telemetry library that fetches its configuration from its maker before it knows that
telemetry is off; MLflow's has links of the same kind. The policy is a header the browser obeys, so nothing has
to be taken out of the pages.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

# The page may be opened as localhost while it asks 127.0.0.1, or the other way round.
_HERE = "'self' http://127.0.0.1:* http://localhost:* ws://127.0.0.1:* ws://localhost:*"
POLICY = "; ".join(
    (
        "default-src 'self'",
        f"connect-src {_HERE} blob: data:",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "worker-src 'self' blob:",
        "frame-src 'self' data: blob:",
        "frame-ancestors 'self'",
        "form-action 'self'",
    )
)
_HEADER = (b"content-security-policy", POLICY.encode())


def stay_here(app: App) -> App:
    """`app`, whose answers tell the browser to ask nobody else."""

    async def wrapped(scope: Message, receive: Receive, send: Send) -> None:
        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [pair for pair in message.get("headers", ()) if pair[0].lower() != _HEADER[0]]
                message = {**message, "headers": [*headers, _HEADER]}
            await send(message)

        await app(scope, receive, send_with_policy if scope["type"] == "http" else send)

    return wrapped
