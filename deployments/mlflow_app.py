"""MLflow's application behind one door: a user and a password for every address it has, `/health` apart.

MLflow's own login guards the routes it knows of; several of its releases have had routes it forgot. This is an
ASGI layer around the whole application, so that nothing inside is reached without the secret. Started by
`mlflow server --app-name ingot` (entry point `mlflow.app`), in the server's process only.
"""

import hmac
import os
from base64 import b64decode

from deployments.page_policy import App, Message, Receive, Send, stay_here

DOOR_VARIABLE = "_INGOT_DOOR"
"""Holds `user:password` for the server's process. Not an INGOT_ name: settings refuse those they do not know."""
_OPEN = ("/health",)
# MLflow's assistant runs commands on the server's machine, which nobody needs who reads runs and models.
_CLOSED = ("/ajax-api/3.0/mlflow/assistant",)
_ASK = ((b"www-authenticate", b'Basic realm="Ingot", charset="UTF-8"'), (b"content-type", b"text/plain"))


def create_app() -> App:
    """MLflow's application with the door before it; RuntimeError when no secret was handed over."""
    pair = os.environ.get(DOOR_VARIABLE, "")
    if ":" not in pair:
        raise RuntimeError(f"{DOOR_VARIABLE} is not set; start this server with `ingot up`")
    from mlflow.server.fastapi_app import app

    return behind_door(stay_here(app), pair)


def behind_door(app: App, pair: str) -> App:
    """`app`, for those who send `pair` (`user:password`) as basic authentication."""

    async def door(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await app(scope, receive, send)  # start and stop of the server
            return
        path = scope["path"]
        if path in _OPEN and scope["type"] == "http" and scope["method"] == "GET":
            await app(scope, receive, send)
        elif not _knows(scope, pair):
            await _refuse(scope, send, 401, b"user and password: see `ingot secret`\n", _ASK)
        elif path.startswith(_CLOSED):
            await _refuse(scope, send, 404, b"Ingot keeps the assistant closed\n", _ASK[1:])
        else:
            await app(scope, receive, send)

    return door


def _knows(scope: Message, pair: str) -> bool:
    header = dict(scope["headers"]).get(b"authorization", b"")
    scheme, _, given = header.partition(b" ")
    if scheme.lower() != b"basic":
        return False
    try:
        told = b64decode(given.strip(), validate=True)
    except ValueError:
        return False
    return hmac.compare_digest(told, pair.encode())


async def _refuse(
    scope: Message, send: Send, status: int, text: bytes, headers: tuple[tuple[bytes, bytes], ...]
) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": text})
