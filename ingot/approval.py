"""An approval signed with an SSH key: what is stated, who signed it, and how it is checked again years later.

The statement says what was approved, on which evidence, and how the ledger stood. It lies with its
signature and the entry of the allowed_signers file in the `approved` record, so the ledger alone shows
that the key of this person signed these very words. Whether that entry was right is the organisation's
to know: compare it with its own list.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ingot import ledger, promotion, signatures
from ingot.digests import canonical_json
from ingot.errors import GateError, IntegrityError, NotFoundError, RecipeError
from ingot.ledger import Actor, Entry
from ingot.model_versions import ModelVersion
from ingot.promotion import Approval, Promotion, Standing
from ingot.settings import Settings
from ingot.storage import Store

STATEMENT_KIND = "ingot approval 1"


def allowed_signers_file(settings: Settings, given: str | None = None) -> Path:
    """The file of who may sign: the one given, else INGOT_ALLOWED_SIGNERS, else the workspace's.

    Raises RecipeError when none is named and NotFoundError when the file is not there.
    """
    named = given or settings.environ.get("INGOT_ALLOWED_SIGNERS")
    if named:
        file = Path(named).expanduser()
    elif settings.workspace is not None:
        file = settings.workspace / "allowed_signers"
    else:
        raise RecipeError(
            "nothing says who may sign; give --allowed-signers FILE, or set INGOT_ALLOWED_SIGNERS or INGOT_WORKSPACE"
        )
    if not file.is_file():
        raise NotFoundError(f"{file} does not exist; write one line a person: NAME namespaces=\"ingot-approval\" KEY")
    return file


def approve(
    store: Store,
    version: ModelVersion,
    *,
    reason: str,
    key: Path,
    allowed_signers: Path,
    seen: str | None = None,
    now: datetime | None = None,
) -> Promotion:
    """Sign for a version with an SSH key and make it the champion, recorded under the name of the key's entry.

    seen: the gate record whose evidence the signer was shown; None when nobody looked.
    Raises GateError when the version may not be promoted, or the signer may not approve it.
    """
    if not reason.strip():
        raise RecipeError("an approval needs a reason, which the ledger keeps; give --reason TEXT")
    now = now or datetime.now(UTC)
    entries = ledger.read(store)
    stood = promotion.check_promotable(entries, version)
    if seen is not None and stood.gated.sha256 != seen:
        raise GateError(f"{version.subject} was evaluated again meanwhile; nothing was signed, look at the new verdict")
    statement = canonical_json(statement_of(version, stood, entries[-1], reason=reason, now=now))
    signature = signatures.sign(statement, key)
    signer = signatures.check(statement, signature, allowed_signers.read_text(), at=now)
    return promotion.promote(
        store,
        version,
        actor=Actor("person", signer.principal, "ssh_signature"),
        reason=reason,
        approval=Approval(
            stood.gated.sha256,
            {
                "statement": statement.decode(),
                "signature": signature,
                "signer": signer.principal,
                "key": signer.key,
                "allowed_signers": signer.entry,
            },
        ),
    )


def statement_of(
    version: ModelVersion, stood: Standing, head: Entry, *, reason: str, now: datetime
) -> dict[str, Any]:
    """What is signed."""
    return {
        "kind": STATEMENT_KIND,
        "model": version.name,
        "version": version.version,
        "checkpoint": version.evidence["checkpoint"],
        "gate_record": stood.gated.sha256,
        "verdict": stood.verdict,
        "reason": reason,
        "ledger_head": f"{head.sequence}:{head.sha256}",
        "time": now.astimezone(UTC).isoformat(timespec="seconds"),
    }


def is_signed(entry: Entry) -> bool:
    """Whether a record claims to rest on a signature."""
    return entry.actor.established_by == "ssh_signature"


def check_record(entries: Sequence[Entry], entry: Entry) -> None:
    """Check a record that claims a signature against it, and the statement against the ledger; needs ssh-keygen.

    A promotion rests on the signature of its approval. Raises IntegrityError saying what does not hold.
    """
    where = f"ledger record {entry.sequence}"
    if entry.verb == "promoted":
        if not any(_carries(other, entry) for other in entries[: entry.sequence - 1]):
            raise IntegrityError(f"{where} claims a signature of {entry.actor.id}, but no approval carries it")
        return
    if entry.verb != "approved":
        raise IntegrityError(f"{where} claims a signature, which a record of {entry.verb} cannot have")
    try:
        stated = json.loads(entry.details["statement"])
        at = datetime.fromisoformat(stated["time"])
        signer = signatures.check(
            entry.details["statement"].encode(), entry.details["signature"], entry.details["allowed_signers"], at=at
        )
    except GateError as error:
        raise IntegrityError(f"{where}: {error}; restore the ledger from a backup") from error
    expected = {
        "kind": STATEMENT_KIND,
        "model": entry.details["model"],
        "version": entry.details["version"],
        "checkpoint": entry.subject_digest,
        "gate_record": entry.evidence["gate_record"],
        "verdict": entry.details["verdict"],
        "reason": entry.details["reason"],
    }
    wrong = [name for name, value in expected.items() if stated.get(name) != value]
    if entry.subject != f"model {stated['model']}/{stated['version']}":
        wrong.append("subject")
    if signer.principal != entry.actor.id:
        wrong.append("actor")
    if wrong:
        raise IntegrityError(f"{where} differs from what {signer.principal} signed: {', '.join(wrong)}")
    ledger.check_witness(entries[: entry.sequence - 1], stated["ledger_head"])


def _carries(approved: Entry, promoted: Entry) -> bool:
    return (
        approved.verb == "approved"
        and (approved.actor, approved.subject, approved.subject_digest) == (
            promoted.actor, promoted.subject, promoted.subject_digest,
        )
        and approved.evidence.get("gate_record") == promoted.evidence.get("gate_record")
    )  # fmt: skip
