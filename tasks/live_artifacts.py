"""Artifacts that are replaced in place while a task works: progress bars, the training curve, waiting for GPUs.

A thread of its own sends them. A new state replaces one that was not sent yet, so a server that is slow or away
costs the work nothing: the last state is sent when the server is back, or never. One row of Prefect's database
an artifact, however often it changes: Prefect's own `update_artifact` would also keep an event with all its data.
"""

import atexit
import logging
import re
import threading
import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 3.0
"""How long the end of a stage, and of the process, waits for the last states to be sent."""
_PAUSE_SECONDS = 10.0


@dataclass(frozen=True)
class _State:
    data: Any
    description: str | None


class LiveArtifact:
    """One artifact of the current task or flow run; make it inside the run whose page shall show it."""

    def __init__(self, key: str, kind: str) -> None:
        """key: becomes lower-case letters, digits and dashes. kind: `progress` or `markdown`."""
        from prefect.utilities.context import get_task_and_flow_run_ids

        self.key = re.sub("[^a-z0-9]+", "-", key.lower()).strip("-") or "run"
        self.kind = kind
        self.task_run_id, self.flow_run_id = get_task_and_flow_run_ids()
        self._id: UUID | None = None

    def show(self, data: Any, description: str | None = None) -> None:
        """Show this from now on; returns at once, never raises because of Prefect, does nothing outside a run."""
        if self.task_run_id is not None or self.flow_run_id is not None:
            _publisher.put(self, _State(data, description))

    def flush(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Wait a short while until the server has the last state; False when it does not."""
        return _publisher.wait_for(self, seconds)

    def send(self, client: Any, state: _State) -> None:
        """Create or replace the artifact; for the thread that sends."""
        from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate

        if self._id is None:
            created = client.create_artifact(
                ArtifactCreate(
                    key=self.key,
                    type=self.kind,
                    data=state.data,
                    description=state.description,
                    task_run_id=self.task_run_id,
                    flow_run_id=self.flow_run_id,
                )
            )
            self._id = created.id
            return
        change = ArtifactUpdate(data=state.data, description=state.description)
        client.request(
            "PATCH",
            "/artifacts/{id}",
            json=change.model_dump(mode="json", exclude_unset=True),
            path_params={"id": self._id},
        )


class _Publisher:
    """The thread that sends what artifacts show, the newest state of each only."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[LiveArtifact, _State] = {}
        self._sending: LiveArtifact | None = None
        self._thread: threading.Thread | None = None
        self._complained = False

    def put(self, artifact: LiveArtifact, state: _State) -> None:
        with self._changed:
            self._waiting[artifact] = state
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._send_all, name="live-artifacts", daemon=True)
                self._thread.start()
                atexit.register(self.wait_for, None, FLUSH_SECONDS)
            self._changed.notify_all()

    def wait_for(self, artifact: LiveArtifact | None, seconds: float) -> bool:
        """Until this artifact (None: every one) is sent, or the time is over."""

        def sent() -> bool:
            if artifact is None:
                return not self._waiting and self._sending is None
            return artifact not in self._waiting and self._sending is not artifact

        with self._changed:
            return self._changed.wait_for(sent, timeout=seconds)

    def _send_all(self) -> None:
        client: Any = None
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting))
                artifact, state = next(iter(self._waiting.items()))
                del self._waiting[artifact]
                self._sending = artifact
            try:
                client = client or _new_client()
                artifact.send(client, state)
            except Exception as error:
                client = None
                if not _is_refusal(error):
                    self._put_back(artifact, state)
                if not self._complained:
                    logger.warning("Prefect does not take what a run shows (%s); work goes on", type(error).__name__)
                self._complained = True
                time.sleep(_PAUSE_SECONDS)
            finally:
                with self._changed:
                    self._sending = None
                    self._changed.notify_all()

    def _put_back(self, artifact: LiveArtifact, state: _State) -> None:
        with self._changed:
            self._waiting.setdefault(artifact, state)  # unless it shows something newer already


def _is_refusal(error: Exception) -> bool:
    """Whether the server answered that it does not want this state, so that sending it again is of no use."""
    status = getattr(getattr(error, "response", None), "status_code", 0)
    return isinstance(error, ValueError) or 400 <= status < 500


def _new_client() -> Any:
    from prefect.client.orchestration import get_client

    return get_client(sync_client=True)


_publisher = _Publisher()
