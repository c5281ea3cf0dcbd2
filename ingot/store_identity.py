"""What makes a store itself: the salt that draws held-out documents, made once and recorded in it."""

import hashlib
import hmac
import os
from datetime import UTC, datetime

from ingot.errors import IntegrityError
from ingot.storage import Store

STORE_KEY = "store.json"
STORE_FORMAT = 1


def initialise(store: Store, *, salt: str | None = None, now: datetime | None = None) -> str:
    """The store's salt (32 hex digits); made on the first call, or `salt` when it is given then.

    All corpora of a store draw with the same salt, so that their held-out documents agree.
    """
    if not store.exists(STORE_KEY):
        if store.list("corpora/"):
            # A new salt would move documents from held out to train.
            raise IntegrityError(
                f"{STORE_KEY} of {store.root} is missing, and with it the salt its corpora were drawn with; restore it "
                "from a backup"
            )
        record = {
            "format": STORE_FORMAT,
            "salt": salt or os.urandom(16).hex(),
            "created": (now or datetime.now(UTC)).isoformat(timespec="seconds"),
        }
        store.put_if_absent(STORE_KEY, record)
    record = store.read_record(STORE_KEY)
    if record.get("format") != STORE_FORMAT:
        raise IntegrityError(
            f"store {store.root} has format {record.get('format')}, this Ingot reads {STORE_FORMAT}; "
            "use the Ingot that wrote it"
        )
    return str(record["salt"])


def span_key(store: Store) -> bytes:
    """32 bytes for keyed hashes of what span rules find, derived from the salt: the same value, the same hash."""
    return hmac.digest(bytes.fromhex(initialise(store)), b"ingot-spans", hashlib.sha256)
