"""The ledger: a chain of records of what mattered, one file a record (CONTRACTS 10).

The sequence number is the lock: a record is put if absent, the loser reads the winner, chains anew
and tries again. Every record holds the SHA-256 of the one before and of itself, so a changed byte is
found from the files alone; a cut tail is found with a head kept elsewhere (`ingot ledger head`).
"""

import getpass
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from ingot.crashpoints import crashpoint
from ingot.digests import canonical_json, sha256_hex
from ingot.errors import BusyError, IntegrityError, RecipeError
from ingot.storage import Store

VERBS = (
    "published", "held_back", "registered", "gated", "approved", "promoted", "rolled_back",
    "overridden", "erased", "deleted", "read_text", "adopted",
)  # fmt: skip
_MAX_ATTEMPTS = 200


@dataclass(frozen=True)
class Actor:
    """Who did it, and how we know."""

    kind: Literal["person", "schedule", "agent", "service"]
    id: str
    established_by: Literal["os_user", "ssh_signature", "proxy_header", "declared"]

    @classmethod
    def current(cls, environ: Mapping[str, str] | None = None) -> "Actor":
        """The person at the keyboard: INGOT_ACTOR when it is set (declared), else the OS user."""
        declared = (os.environ if environ is None else environ).get("INGOT_ACTOR")
        if declared:
            return cls("person", declared, "declared")
        return cls("person", getpass.getuser(), "os_user")


@dataclass(frozen=True)
class Entry:
    """One ledger record as stored."""

    sequence: int
    sha256: str
    time: str
    actor: Actor
    verb: str
    subject: str
    subject_digest: str
    evidence: dict[str, str]
    attempt: str
    details: dict[str, Any]


class LedgerMoved(BusyError):
    """Somebody wrote a record between reading and appending; decide again from what is there now."""


def append(
    store: Store,
    *,
    actor: Actor,
    verb: str,
    subject: str,
    subject_digest: str,
    evidence: Mapping[str, str],
    attempt: str,
    details: Mapping[str, Any] | None = None,
    after: int | None = None,
    now: datetime | None = None,
) -> Entry:
    """Add a record and return it; the same (verb, subject, attempt) again returns the first one.

    subject names what it is about (`handbook@12`, `model mini/3`), subject_digest pins its content,
    evidence maps names to digests. after is how many records the caller had read when it decided: when
    others have written since, LedgerMoved is raised and the caller decides again. Raises BusyError when
    others keep winning the race.
    """
    if verb not in VERBS:
        raise RecipeError(f"ledger verb {verb!r} is unknown; known: {', '.join(VERBS)}")
    for _ in range(_MAX_ATTEMPTS):
        entries = read(store)
        for entry in entries:
            if (entry.verb, entry.subject, entry.attempt) == (verb, subject, attempt):
                return entry
        if after is not None and len(entries) != after:
            raise LedgerMoved(f"the ledger grew while {verb} {subject} was decided; try again")
        previous = entries[-1].sha256 if entries else ""
        sequence = len(entries) + 1
        record = {
            "sequence": sequence,
            "previous": previous,
            "time": (now or datetime.now(UTC)).isoformat(timespec="milliseconds"),
            "actor": {"kind": actor.kind, "id": actor.id, "established_by": actor.established_by},
            "verb": verb,
            "subject": subject,
            "subject_digest": subject_digest,
            "evidence": dict(evidence),
            "ledger_attempt": attempt,
            "details": dict(details or {}),
        }
        record["sha256"] = sha256_hex(canonical_json(record))
        crashpoint("ledger.put.before", verb)
        if store.put_if_absent(key_of(sequence), record):
            crashpoint("ledger.put.after", verb)
            return _parse(record)
    raise BusyError(f"the ledger is busy: {verb} {subject} lost {_MAX_ATTEMPTS} races; try again")


def key_of(sequence: int) -> str:
    """The store key of a record."""
    return f"ledger/{sequence:012d}.json"


def read(store: Store) -> list[Entry]:
    """All records in order; IntegrityError at the first one that does not chain."""
    return list(check(store))


def check(store: Store) -> Iterator[Entry]:
    """Yield records, verifying sequence, chain and canonical bytes of each."""
    keys = store.list("ledger/")
    previous = ""
    for sequence, key in enumerate(keys, start=1):
        if key != key_of(sequence):
            raise IntegrityError(
                f"ledger record {sequence} is missing (found {key}); restore the ledger folder from a backup"
            )
        record = store.read_record(key)
        body = {name: value for name, value in record.items() if name != "sha256"}
        if record.get("sha256") != sha256_hex(canonical_json(body)) or record.get("sequence") != sequence:
            raise IntegrityError(f"ledger record {sequence} was changed; restore {key} from a backup")
        if record["previous"] != previous:
            raise IntegrityError(
                f"ledger record {sequence} does not follow record {sequence - 1}; one of them was rewritten"
            )
        entry = _parse(record)
        previous = entry.sha256
        yield entry


def _parse(record: Mapping[str, Any]) -> Entry:
    return Entry(
        sequence=record["sequence"],
        sha256=record["sha256"],
        time=record["time"],
        actor=Actor(**record["actor"]),
        verb=record["verb"],
        subject=record["subject"],
        subject_digest=record["subject_digest"],
        evidence=dict(record["evidence"]),
        attempt=record["ledger_attempt"],
        details=dict(record["details"]),
    )


def head(store: Store) -> tuple[int, str]:
    """(sequence, sha256) of the last record; (0, "") of an empty ledger. Keep it elsewhere as a witness."""
    entries = read(store)
    return (entries[-1].sequence, entries[-1].sha256) if entries else (0, "")


def check_witness(entries: Sequence[Entry], witness: str) -> None:
    """Prove that nothing up to a head kept elsewhere was rewritten or cut; IntegrityError otherwise.

    witness is the head's SHA-256, or `<sequence>:<sha256>`, as `ingot ledger head` prints it.
    """
    sequence, _, digest = witness.rpartition(":")
    found = next((entry for entry in entries if entry.sha256 == digest), None)
    if found is None:
        raise IntegrityError(
            f"the ledger does not hold the head {witness} (it has {len(entries)} records): it was rewritten or cut "
            "after that head was printed"
        )
    if sequence and sequence != str(found.sequence):
        raise IntegrityError(f"head {witness} is record {found.sequence} here, not {sequence}")
