"""What a store tells of the things in it."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Found:
    """An object as it stands."""

    key: str
    bytes: int
    modified: datetime
    """When it was written or renewed, by the store's clock."""
    tag: str
    """Changes with the object."""


@dataclass(frozen=True)
class Upload:
    """A multipart upload that was begun and not ended; readers do not see it, its parts cost room."""

    key: str
    upload_id: str
    last_used: datetime
    """When it was begun or got its last part."""
    bytes: int
