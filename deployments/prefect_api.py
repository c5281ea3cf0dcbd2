"""The few questions the stack asks the Prefect API, without importing Prefect (1.5 s and 70 MB).

Requests go straight to the address: a proxy named in the environment must not see loopback traffic,
and would not know the way back.
"""

import json
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deployments.credentials import Credential
from ingot.errors import NotFoundError, ServiceError
from ingot.heartbeats import Process

UNFINISHED = ("RUNNING", "PENDING", "CANCELLING")
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
_PAGE = 200  # the server's largest
_PROCESS_TAG = "process"
# The server's answer while its SQLite file is locked, seen on busy machines; Prefect's own client tries again too.
_TRY_AGAIN = (429, 503)
_PAUSES_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0)
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get(url: str, *, credential: Credential | None = None, timeout_seconds: float = 5.0) -> bytes:
    """Body of a successful GET; raises OSError otherwise."""
    with _direct.open(_request(url, credential), timeout=timeout_seconds) as response:
        return bytes(response.read())


def answers(url: str, *, timeout_seconds: float = 2.0) -> bool:
    """True when the address answers a GET with success."""
    try:
        get(url, timeout_seconds=timeout_seconds)
    except (OSError, ValueError):
        return False
    return True


@dataclass(frozen=True)
class Server:
    """The Prefect API at an address, with what lets us in; None for a server that asks for nothing."""

    url: str
    """Ends in `/api`."""
    credential: Credential | None = None

    def get(self, path: str, *, timeout_seconds: float = 30.0) -> Any:
        """JSON of a GET; raises ServiceError with the server's words, NotFoundError for status 404."""
        return self._ask("GET", path, None, timeout_seconds)

    def post(self, path: str, body: Mapping[str, Any], *, timeout_seconds: float = 30.0) -> Any:
        """POST JSON and return the answer's; raises ServiceError with the server's words."""
        return self._ask("POST", path, body, timeout_seconds)

    def patch(self, path: str, body: Mapping[str, Any], *, timeout_seconds: float = 30.0) -> Any:
        """PATCH with JSON; raises as `post`."""
        return self._ask("PATCH", path, body, timeout_seconds)

    def put(self, path: str, body: Mapping[str, Any], *, timeout_seconds: float = 30.0) -> Any:
        """PUT JSON; raises as `post`."""
        return self._ask("PUT", path, body, timeout_seconds)

    def delete(self, path: str, *, timeout_seconds: float = 30.0) -> None:
        """DELETE; raises as `post`."""
        self._ask("DELETE", path, None, timeout_seconds)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None, timeout_seconds: float) -> Any:
        request = _request(f"{self.url}{path}", self.credential, method, body)
        for pause in (*_PAUSES_SECONDS, None):
            try:
                with _direct.open(request, timeout=timeout_seconds) as response:
                    content = response.read()
                return json.loads(content) if content else None
            except urllib.error.HTTPError as error:
                words = error.read().decode(errors="replace")[:300]
                if error.code in _TRY_AGAIN and pause is not None:
                    time.sleep(pause)
                    continue
                if error.code == 404 and method == "GET":
                    raise NotFoundError(f"Prefect knows nothing of {path}: {words}") from error
                raise ServiceError(f"Prefect refused {path} with status {error.code}: {words}") from error
            except (OSError, ValueError) as error:
                raise ServiceError(
                    f"Prefect at {self.url} does not answer {path} ({error}); see `ingot status` and logs/prefect.log"
                ) from error
        raise AssertionError("the last try returns or raises")


def _request(
    url: str, credential: Credential | None, method: str = "GET", body: Mapping[str, Any] | None = None
) -> urllib.request.Request:
    headers = {}
    if body is not None:
        headers["Content-Type"] = "application/json"
    if credential is not None:
        headers["Authorization"] = "Basic " + b64encode(credential.pair.encode()).decode()
    return urllib.request.Request(url, json.dumps(body).encode() if body is not None else None, headers, method=method)


def ensure_pool(server: Server, pool: str) -> None:
    """Make a work pool of processes; the first worker of it brings its template."""
    try:
        server.get(f"/work_pools/{pool}")
    except NotFoundError:
        try:
            server.post("/work_pools/", {"name": pool, "type": "process"})
        except ServiceError:
            server.get(f"/work_pools/{pool}")  # another machine made it meanwhile


def worker_heartbeat(server: Server, pool: str, worker: str) -> datetime | None:
    """When a worker was last heard of by the server; None before its first sign of life."""
    try:
        workers = server.post(f"/work_pools/{pool}/workers/filter", {}, timeout_seconds=5.0)
    except ServiceError:
        return None  # not there yet, or busy
    seen = [w["last_heartbeat_time"] for w in workers if w["name"] == worker and w["last_heartbeat_time"]]
    return max(datetime.fromisoformat(moment) for moment in seen) if seen else None


def process_tag() -> str:
    """The tag of a run that this very process executes, without a worker that would report its end."""
    return f"{_PROCESS_TAG}:{Process.current()}"


def tagged_process(tags: list[str]) -> Process | None:
    """The process that a run's `process_tag` names; None when it has none."""
    named = (Process.parse(tag.partition(":")[2]) for tag in tags if tag.startswith(f"{_PROCESS_TAG}:"))
    return next((process for process in named if process is not None), None)


def flow_runs(server: Server, *, limit: int | None = None, **selection: Any) -> list[dict[str, Any]]:
    """Every flow run of a selection as `/flow_runs/filter` takes it, or the first `limit` of them."""
    found: list[dict[str, Any]] = []
    while limit is None or len(found) < limit:
        size = _PAGE if limit is None else min(_PAGE, limit - len(found))
        page = server.post("/flow_runs/filter", {**selection, "limit": size, "offset": len(found)})
        found += page
        if len(page) < size:
            break
    return found


def end_run(server: Server, run_id: str, state: str, reason: str) -> None:
    """Set a run to CRASHED or CANCELLED, whatever the rules say; its slot is freed."""
    # force: the rules would let a run with retries left go back to waiting.
    told = {"type": state, "name": state.capitalize(), "message": reason}
    try:
        server.post(f"/flow_runs/{run_id}/set_state", {"state": told, "force": True})
    except ServiceError:
        details = server.get(f"/flow_runs/{run_id}")["state"]["state_details"]
        lease = details.get("deployment_concurrency_lease_id")
        if lease is None:
            raise
        # The deployment was removed while the run held its slot, and the server fails on giving back a slot of a
        # limit that is gone. Asked for the lease alone it forgets it, and then the run can end.
        server.post("/v2/concurrency_limits/decrement-with-lease", {"lease_id": lease})
        server.post(f"/flow_runs/{run_id}/set_state", {"state": told, "force": True})
