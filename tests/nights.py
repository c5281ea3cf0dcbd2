"""What every test of the nightly asks: is this the next night's run?"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

ZONE = "Europe/Berlin"


def is_next_night(moment: datetime) -> bool:
    """Whether a moment is the next 02:00 of the zone; 03:00 on the day the clock skips the hour."""
    ahead = moment - datetime.now(UTC)
    return moment.astimezone(ZoneInfo(ZONE)).strftime("%H:%M") in {"02:00", "03:00"} and (
        timedelta(0) < ahead <= timedelta(hours=26)
    )
