"""Runs that a schedule makes: whether one may be written down, whether it is on, and when its next run is due."""

import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from deployments.prefect_api import Server
from ingot.errors import RecipeError, ServiceError


def is_active(server: Server, deployment_id: str) -> bool:
    """Whether a deployment makes runs by itself: it is not paused, and one of its schedules is on."""
    found = server.get(f"/deployments/{deployment_id}")
    return not found["paused"] and any(schedule["active"] for schedule in found["schedules"])


def next_scheduled(server: Server, deployment_id: str, *, wait_seconds: float = 90.0) -> datetime:
    """The next scheduled run of a deployment, once the server has written it down; ServiceError if it does not."""
    body = {
        "flow_runs": {
            "deployment_id": {"any_": [deployment_id]},
            "state": {"type": {"any_": ["SCHEDULED"]}},
            "expected_start_time": {"after_": datetime.now(UTC).isoformat()},
        },
        "sort": "EXPECTED_START_TIME_ASC",
        "limit": 1,
    }
    end = time.monotonic() + wait_seconds
    while not (runs := server.post("/flow_runs/filter", body)):
        if time.monotonic() > end:
            raise ServiceError(
                f"no run is scheduled after {wait_seconds:.0f} s; see in the control room whether the schedule is "
                "paused, and look at logs/prefect.log"
            )
        time.sleep(0.5)
    return datetime.fromisoformat(runs[0]["expected_start_time"])


def check_cron(cron: str, timezone: str) -> None:
    """Refuse a cron line or a time zone that Prefect would not take; RecipeError with which and an example."""
    from prefect.client.schemas.schedules import CronSchedule

    try:
        CronSchedule(cron=cron)
    except ValidationError as error:
        raise RecipeError(
            f"cron {cron!r} is not one ({error.errors()[0]['msg']}); minute hour day month weekday, e.g. '0 2 * * *'"
        ) from error
    try:
        ZoneInfo(timezone)
    except (KeyError, ValueError, OSError) as error:
        raise RecipeError(f"time zone {timezone!r} is unknown; use a name such as Europe/Berlin") from error
