"""Check an audit pack with nothing but Python 3.9 or newer: no Ingot, no other package, no network.

    python3 -I verify_pack.py mini-3-audit.zip        the zip file, or the folder it was unpacked into
    python3 -I verify_pack.py mini-3-audit.zip --head SEQUENCE:SHA256   a ledger head you keep yourself
    python3 -I verify_pack.py mini-3-audit.zip --allowed-signers FILE   your own list of who may approve

With -I Python imports nothing that lies beside this file (a json.py in the pack, say); without it the
check does not begin.
Prints one line a check and ends with status 0, or names the first thing that is wrong and ends with 1.
A verifier that comes with the evidence proves only that the evidence agrees with itself: somebody who
makes a whole store anew can make a pack that agrees. What they cannot make is a ledger head printed
earlier and kept elsewhere (--head), or the signature of a person whose key you know (--allowed-signers).

The rules, so that anybody can write this again: canonical JSON has sorted keys, no blanks, UTF-8. A
record is written with `writer`, `attempt` and `record_sha256`, the SHA-256 of {"key": its place,
"record": all the rest}; its own digest leaves these three out. A ledger record holds the SHA-256 of the
one before (`previous`) and of itself without that field (`sha256`).
"""

from __future__ import annotations  # Python 3.9 reads `X | None` as text

import sys

if __name__ == "__main__" and not sys.flags.isolated:  # before any import that a file of the pack could answer
    sys.exit("WRONG  nothing was checked: start Python with -I, so that it imports no file of the pack:\n"
             f"       python3 -I {' '.join(sys.argv)}")  # fmt: skip

import argparse
import hashlib
import json
import math
import os
import shutil
import subprocess
import tempfile
import zipfile
from datetime import datetime, timezone
from typing import Any

Files = dict[str, bytes]
Record = dict[str, Any]
ENVELOPE = ("writer", "attempt", "record_sha256")
NAMESPACE = "ingot-approval"
MOST_BYTES = 1 << 30
"""A pack is some megabytes; a zip that unpacks to more than this is none."""


class Wrong(Exception):
    """The first thing that is wrong."""


def main(arguments: list[str] | None = None) -> int:
    """Check the pack that the arguments name; returns the exit status."""
    parser = argparse.ArgumentParser(description="Check an audit pack of Ingot.")
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument("pack", nargs="?", default=here, help="zip file or folder (default: where this file lies)")
    parser.add_argument("--head", help="a ledger head kept elsewhere, SEQUENCE:SHA256")
    parser.add_argument("--allowed-signers", help="your own file of who may approve (man ssh-keygen)")
    options = parser.parse_args(arguments)
    try:
        check(options.pack, options.head, options.allowed_signers)
    except Wrong as error:
        print(f"WRONG  {error}")
        return 1
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OSError, zipfile.BadZipFile) as error:
        print(f"WRONG  the pack cannot be read as one ({type(error).__name__}: {error})")
        return 1
    print("The pack holds together.")
    return 0


def check(place: str, head: str | None, allowed_signers: str | None) -> None:
    """All checks in order; raises Wrong at the first that fails."""
    files = read_files(place)
    pack = check_files(files)
    records = check_ledger(files, pack)
    if head:
        check_head(records, head)
    registered = check_registered(files, pack, records)
    check_adopted(files, records, registered)
    check_corpora(files, pack, records, registered)
    gated = check_verdict(files, pack, records, registered)
    check_moves(records, registered)
    check_card(files, registered, gated, records)
    check_approvals(records, registered, allowed_signers)


def ok(what: str) -> None:
    """One line for a check that held."""
    print(f"ok     {what}")


def canonical(value: Any) -> bytes:
    """The one spelling of a JSON value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sha256(data: bytes) -> str:
    """SHA-256 of bytes, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def digest_of(value: Any) -> str:
    """SHA-256 of a value's canonical JSON."""
    return sha256(canonical(value))


def without(record: Record, *names: str) -> Record:
    """A record without some of its fields."""
    return {name: value for name, value in record.items() if name not in names}


def read_files(place: str) -> Files:
    """Name and bytes of every file of a pack."""
    files: Files = {}
    if os.path.isdir(place):
        for folder, folders, names in os.walk(place):
            folders[:] = [name for name in folders if name != "__pycache__"]
            for name in names:
                path = os.path.join(folder, name)
                with open(path, "rb") as file:
                    files[os.path.relpath(path, place).replace(os.sep, "/")] = file.read()
        return files
    with zipfile.ZipFile(place) as archive:
        if sum(item.file_size for item in archive.infolist()) > MOST_BYTES:
            raise Wrong(f"{place} would unpack to more than {MOST_BYTES} bytes")
        for item in archive.infolist():
            if item.filename in files:
                raise Wrong(f"{item.filename} is in the zip file twice")
            files[item.filename] = archive.read(item)
    return files


def check_files(files: Files) -> Record:
    """Every file has the size and digest that pack.json states; none is missing, none is too many."""
    if "pack.json" not in files:
        raise Wrong("pack.json is missing")
    pack: Record = json.loads(files["pack.json"])
    if pack.get("kind") != "ingot audit pack 1":
        raise Wrong("pack.json is not of a kind that this verifier knows")
    for name in sorted(pack["files"]):
        if name not in files:
            raise Wrong(f"{name} is missing")
        stated = pack["files"][name]
        if len(files[name]) != stated["bytes"] or sha256(files[name]) != stated["sha256"]:
            raise Wrong(f"{name} has other bytes than pack.json states")
    for name in sorted(set(files) - set(pack["files"]) - {"pack.json"}):
        raise Wrong(f"{name} is not named by pack.json")
    ok(f"{len(pack['files'])} files have the bytes that pack.json states")
    return pack


def check_record(name: str, data: bytes, key: str) -> Record:
    """A record as the store wrote it: canonical, and sealed with its own digest."""
    record: Record = json.loads(data)
    if canonical(record) != data:
        raise Wrong(f"{name} was written again: it is not canonical JSON")
    if record.get("record_sha256") != digest_of({"key": key, "record": without(record, "record_sha256")}):
        raise Wrong(f"{name} was changed: its seal does not hold")
    return without(record, *ENVELOPE)


def check_ledger(files: Files, pack: Record) -> list[Record]:
    """Each record follows the one before, from the first to the head."""
    records: list[Record] = []
    previous = ""
    for number, line in enumerate(files["ledger.jsonl"].splitlines(), start=1):
        stored = json.loads(line)
        record = without(stored, *ENVELOPE)
        sequence = record.get("sequence")
        if sequence != number:
            raise Wrong(f"ledger record {number} is missing (found {sequence})")
        if record.get("sha256") != digest_of(without(record, "sha256")):
            raise Wrong(f"ledger record {number} was changed")
        if record["previous"] != previous:
            raise Wrong(f"ledger record {number} does not follow record {number - 1}")
        check_record(f"ledger record {number}", line, f"ledger/{number:012d}.json")
        previous = record["sha256"]
        records.append(record)
    if f"{len(records)}:{previous}" != pack["ledger_head"]:
        raise Wrong(f"the ledger ends at record {len(records)}, the pack was made at head {pack['ledger_head']}")
    ok(f"{len(records)} ledger records chain up to head {pack['ledger_head']}")
    return records


def check_head(records: list[Record], head: str) -> None:
    """The ledger holds a head that was kept elsewhere."""
    sequence, _, digest = head.rpartition(":")
    found = [record for record in records if record["sha256"] == digest]
    if not found or (sequence and sequence != str(found[0]["sequence"])):
        raise Wrong(f"the ledger does not hold the head {head}: it was rewritten or cut after that head was printed")
    ok(f"the ledger holds the head kept elsewhere, record {found[0]['sequence']}")


def check_registered(files: Files, pack: Record, records: list[Record]) -> Record:
    """The ledger registered this checkpoint as this model version, trained by this recipe."""
    subject = f"model {pack['model']}/{pack['version']}"
    found = [record for record in records if record["verb"] == "registered" and record["subject"] == subject]
    if len(found) != 1:
        raise Wrong(f"the ledger has {len(found)} records that register {subject}")
    registered = found[0]
    where = f"ledger record {registered['sequence']}"
    data = files["checkpoint/manifest.json"]
    if sha256(data) != registered["evidence"]["checkpoint"] or sha256(data) != registered["subject_digest"]:
        raise Wrong(f"checkpoint/manifest.json is not the one that {where} registered")
    manifest = check_record(
        "checkpoint/manifest.json", data, f"{registered['details']['checkpoint_key']}/manifest.json"
    )
    if manifest["fingerprint"] != registered["details"]["checkpoint_fingerprint"]:
        raise Wrong(f"checkpoint/manifest.json is of another training run than {where} says")
    stated = {
        # Not the recipe's digest: one that differs in what training does not read finds the same checkpoint.
        "tokenizer_digest": registered["evidence"]["tokenizer"],
        "data_digest": check_tokens(files, registered),
    }
    for name, digest in sorted(stated.items()):
        if manifest[name] != digest:
            raise Wrong(f"checkpoint/manifest.json has another {name} than {where}")
    recipe = digest_of(registered["details"]["recipe"])
    if recipe != registered["evidence"]["recipe"] or recipe != registered["details"]["recipe_digest"]:
        raise Wrong(f"the recipe in {where} is not the one its digest names")
    ok(f"{where} registered this checkpoint as {subject}, with {len(manifest['files'])} files and its recipe")
    return registered


def check_adopted(files: Files, records: list[Record], registered: Record) -> None:
    """The model from outside that this one began with is the one the ledger names, and the card says the same of it."""
    told = json.loads(files["card.json"]).get("adopted")
    key = registered["details"].get("adopted_base")
    if not key:
        if told:
            raise Wrong("card.json tells of an adopted model, the ledger says that this one began with none")
        return
    found = [r for r in records if r["verb"] == "adopted" and r["details"]["checkpoint_key"] == key]
    if not found:
        raise Wrong(f"the ledger has no record that adopted {key}, with which this model began")
    record, where = found[-1], f"ledger record {found[-1]['sequence']}"
    data = files.get("adopted/manifest.json", b"")
    if sha256(data) != record["evidence"]["checkpoint"]:
        raise Wrong(f"adopted/manifest.json is not the one that {where} adopted")
    check_record("adopted/manifest.json", data, f"{key}/manifest.json")
    for name in ("licence", "origin", "tokens"):
        if not told or told[name] != record["details"][name]:
            raise Wrong(f"card.json has another {name} of the adopted model than {where}")
    ok(f"{where} adopted the model that it began with; what that was trained on is not known to Ingot")


def check_tokens(files: Files, registered: Record) -> str:
    """What the checkpoint must name as its data: the tokens of its corpus versions by this tokenizer, in order."""
    where = f"ledger record {registered['sequence']}"
    details = registered["details"]
    tokens = check_record("tokens.json", files["tokens.json"], details["tokens_key"])
    if tokens["corpus_root_digest"] != registered["evidence"]["corpus_root_digest"]:
        raise Wrong(f"tokens.json has another corpus_root_digest than {where}")
    if tokens["num_tokens"] != details["num_tokens"]:
        raise Wrong(f"tokens.json counts other tokens than {where}")
    own = check_token_list("tokens.json", tokens, registered)
    parts = []
    for part in details.get("mixture", ()):
        place = f"tokens/{part['corpus']}.json"
        parts.append(check_token_list(place, check_record(place, files[place], part["tokens_key"]), registered))
    return digest_of({"parts": parts}) if parts else own


def check_token_list(place: str, tokens: Record, registered: Record) -> str:
    """One token set is by the model's tokenizer, of a corpus that the record names, and adds up; its data digest."""
    where = f"ledger record {registered['sequence']}"
    roots = {row["root_digest"] for row in registered["details"].get("corpora", ())}
    if tokens["tokenizer_digest"] != registered["evidence"]["tokenizer"]:
        raise Wrong(f"{place} has another tokenizer_digest than {where}")
    if roots and tokens["corpus_root_digest"] not in roots:
        raise Wrong(f"{place} is of a corpus version that {where} does not name")
    if tokens["num_tokens"] != sum(shard["num_tokens"] for shard in tokens["shards"]):
        raise Wrong(f"{place} does not add up")
    return digest_of(
        {
            **{name: tokens[name] for name in ("corpus_root_digest", "tokenizer_digest", "split")},
            "shards": [[shard["bin_sha256"], shard["num_tokens"]] for shard in tokens["shards"]],
        }
    )


def check_corpora(files: Files, pack: Record, records: list[Record], registered: Record) -> None:
    """The corpus versions are those that were published, and the one the model was trained on is among them."""
    identities = []
    for name in sorted(pack["corpora"]):
        place = f"corpora/{name}.json"
        corpus, _, number = name.partition("@")
        manifest = check_record(place, files[place], f"corpora/{corpus}/{number}.json")
        identity = manifest["identity"]
        digest = digest_of(identity)
        if digest != manifest["identity_digest"]:
            raise Wrong(f"{place} was changed: its identity has another digest")
        if sha256("\n".join(shard["sha256"] for shard in identity["shards"]).encode()) != identity["root_digest"]:
            raise Wrong(f"{place} lists other shards than its root digest names")
        for record in records:
            if record["verb"] == "published" and record["subject"] == name:
                if record["subject_digest"] != digest or record["evidence"]["manifest"] != sha256(files[place]):
                    raise Wrong(f"{place} is not the one that ledger record {record['sequence']} published")
                break
        else:
            raise Wrong(f"the ledger has no record that publishes {name}")
        check_decisions(files, name, identity)
        train = [shard["sha256"] for shard in identity["shards"] if shard["split"] == "train"]
        for list_place in sorted(n for n in files if n == "tokens.json" or n.startswith("tokens/")):
            tokens = json.loads(files[list_place])
            if tokens["corpus_root_digest"] == identity["root_digest"] and train != [
                shard["shard_sha256"] for shard in tokens["shards"]
            ]:
                raise Wrong(f"{list_place} was made of other shards than those {place} lists for training")
        identities.append((digest, identity["root_digest"]))
        ok(f"ledger record {record['sequence']} published {name}; identity, shards, tokens and decisions agree")
    wanted = (registered["evidence"]["corpus_identity"], registered["evidence"]["corpus_root_digest"])
    if wanted not in identities:
        raise Wrong("the corpus version that the model was trained on is not in the pack")
    for row in registered["details"].get("corpora", ()):
        if (row["identity_digest"], row["root_digest"]) not in identities:
            raise Wrong(f"{row['corpus']}, which the model was trained on too, is not in the pack")


def check_decisions(files: Files, name: str, identity: Record) -> None:
    """The summary of decisions adds up to the manifest's accounting and to its waterfall."""
    summary = json.loads(files["decisions.json"])[name]
    counts = {"kept": 0, "heldout": 0, "dropped": 0}
    reasons: dict[tuple[str, str], int] = {}
    for row in summary["final"]:
        counts[row["outcome"]] += row["documents"]
        if row["outcome"] == "dropped":
            pair = (row["rule"] or "", row["reason"] or "")
            reasons[pair] = reasons.get(pair, 0) + row["documents"]
    for outcome in sorted(counts):
        if counts[outcome] != identity["accounting"][outcome]:
            raise Wrong(
                f"decisions.json counts {counts[outcome]} {outcome} documents of {name}, its manifest says "
                f"{identity['accounting'][outcome]}"
            )
    stated = {(rule, reason): number for rule, reason, number in identity["statistics"]["waterfall"]}
    if reasons != stated:
        raise Wrong(f"decisions.json gives other drop reasons of {name} than its manifest")


def check_verdict(files: Files, pack: Record, records: list[Record], registered: Record) -> Record | None:
    """The newest verdict of the gate is the one in the pack, and its numbers follow from the evaluation."""
    gates = [record for record in records if record["verb"] == "gated" and record["subject"] == registered["subject"]]
    if not gates:
        if pack["verdict"]:
            raise Wrong("the pack claims a verdict that is not in the ledger")
        ok("the gate has not judged this version, and the pack claims no verdict")
        return None
    gated = gates[-1]
    where = f"ledger record {gated['sequence']}"
    if gated["subject_digest"] != registered["subject_digest"]:
        raise Wrong(f"{where} is about another checkpoint")
    digest = gated["evidence"]["verdict"]
    if digest != pack["verdict"]:
        raise Wrong(f"the pack claims another verdict than {where}")
    place = f"evaluations/{digest}.json"
    if place not in files:
        raise Wrong(f"{place}, the verdict that {where} names, is missing")
    verdict = check_record(place, files[place], place)
    if digest_of(verdict) != digest:
        raise Wrong(f"{place} is not the verdict that {where} names")
    for name in ("verdict", "reason"):
        if verdict[name] != gated["details"][name]:
            raise Wrong(f"{place} has another {name} than {where}")
    for name in ("evaluation", "champion_evaluation"):
        measured = verdict.get(name)
        if measured:
            result = check_record(f"evaluations/{measured}.json", files[f"evaluations/{measured}.json"],
                                  f"evaluations/{measured}.json")  # fmt: skip
            check_bits(f"evaluations/{measured}.json", result)
            if name == "evaluation" and (
                measured != gated["evidence"]["evaluation"]
                or result["bits_per_byte"] != gated["details"]["bits_per_byte"]
            ):
                raise Wrong(f"evaluations/{measured}.json is not the evaluation that {where} rests on")
    ok(f"{where} holds the verdict {verdict['verdict']}, and its evaluation adds up")
    return gated


def check_bits(place: str, result: Record) -> None:
    """Bits per byte follow from the measured documents."""
    rows = [row for row in result["documents"] if row.get("nats") is not None]
    size = sum(row["bytes"] for row in rows)
    if size and len(rows) == len(result["documents"]):
        bits = sum(row["nats"] for row in rows) / (math.log(2) * size)
        if not math.isclose(bits, result["bits_per_byte"], rel_tol=1e-9, abs_tol=1e-12):
            raise Wrong(f"{place} states {result['bits_per_byte']} bits per byte, its documents give {bits}")


def check_moves(records: list[Record], registered: Record) -> None:
    """Every promotion of this version rests on a verdict of the ledger about this checkpoint, every return on one."""
    by_digest = {record["sha256"]: record for record in records}
    verbs = ("approved", "promoted", "rolled_back")
    moves = [record for record in records if record["verb"] in verbs and record["subject"] == registered["subject"]]
    for record in moves:
        where = f"ledger record {record['sequence']}"
        if record["verb"] == "rolled_back":
            made = by_digest.get(record["evidence"].get("promotion"))
            if made is None or (made["verb"], made["subject"]) != ("promoted", registered["subject"]):
                raise Wrong(f"{where} names a promotion that the ledger does not hold")
            ok(f"{where}: rolled back to it by {record['actor']['id']} ({record['actor']['established_by']})")
            continue
        gate = by_digest.get(record["evidence"].get("gate_record"))
        if gate is None or gate["verb"] != "gated" or gate["subject"] != registered["subject"]:
            raise Wrong(f"{where} names a verdict that the ledger does not hold")
        if gate["sequence"] > record["sequence"] or gate["details"]["verdict"] != record["details"]["verdict"]:
            raise Wrong(f"{where} claims another verdict than ledger record {gate['sequence']}")
        if record["subject_digest"] != registered["subject_digest"]:
            raise Wrong(f"{where} is about another checkpoint")
        who = record["actor"]
        ok(f"{where}: {record['verb']} by {who['id']} ({who['established_by']}), on {gate['details']['verdict']}")
    if not moves:
        ok("nobody has approved or promoted this version")


def licence_tokens(details: Record) -> dict[str, int]:
    """Tokens by licence of all corpora that the record names."""
    counts: dict[str, int] = {}
    for row in details.get("corpora", ()) or [details]:
        for licence, tokens in row.get("tokens", {}).get("licence", {}).items():
            counts[licence] = counts.get(licence, 0) + tokens
    return counts


def check_card(files: Files, registered: Record, gated: Record | None, records: list[Record]) -> None:
    """The card says what the records say."""
    card = json.loads(files["card.json"])
    details = registered["details"]
    expected = {
        "model": details["model"],
        "version": details["version"],
        "registered": registered["time"],
        "code": details.get("code") or {},
        "recipe digest": details["recipe_digest"],
        "corpora": [row["corpus"] for row in details.get("corpora", ())] or [details["corpus"]],
        "checkpoint": registered["evidence"]["checkpoint"],
        "corpus identity": registered["evidence"]["corpus_identity"],
        "tokenizer": registered["evidence"].get("tokenizer"),
        "tokens read": [row["tokens_read"] for row in details.get("corpora", ())] or [None],
        "licence tokens": licence_tokens(details),
        "verdict": gated["details"]["verdict"] if gated else None,
        "verdict digest": gated["evidence"]["verdict"] if gated else None,
    }
    verdict = card["verdict"] or {}
    said = {
        "model": card["model"],
        "version": card["version"],
        "registered": card["registered"],
        "code": card["code"],
        "recipe digest": card["recipe"]["digest"],
        "corpora": [f"{corpus['corpus']}@{corpus['version']}" for corpus in card["corpora"]],
        "checkpoint": card["digests"]["checkpoint"],
        "corpus identity": card["digests"]["corpus identity"],
        "tokenizer": card["digests"]["tokenizer"],
        "tokens read": [corpus.get("tokens_read") for corpus in card["corpora"]],
        "licence tokens": {row["name"]: row["tokens"] for row in card["licences"] if row["tokens"]},
        "verdict": verdict.get("verdict"),
        "verdict digest": verdict.get("digest"),
    }
    for name in expected:
        if said[name] != expected[name]:
            raise Wrong(f"card.json has another {name} than the ledger")
    if gated:
        stored = json.loads(files[f"evaluations/{gated['evidence']['verdict']}.json"])
        for name in ("reason", "difference", "low", "high", "candidate_bits_per_byte", "num_documents"):
            if verdict.get(name) != stored.get(name):
                raise Wrong(f"card.json has another {name} of the verdict than its record")
    for entry in card["ledger"]:
        record = numbered(records, entry["sequence"])
        if (entry["sha256"], entry["verb"], entry["by"]) != (record["sha256"], record["verb"], record["actor"]["id"]):
            raise Wrong(f"card.json tells ledger record {entry['sequence']} differently")
    for move in card["moves"]:
        record = numbered(records, move["ledger"])
        told = (move["verb"], move["by"], move["reason"])
        if told != (record["verb"], record["actor"]["id"], record["details"].get("reason") or ""):
            raise Wrong(f"card.json tells ledger record {move['ledger']} differently")
    ok("card.json says what the ledger and the verdict say")


def numbered(records: list[Record], sequence: int) -> Record:
    """The ledger record of this number."""
    if not 0 < sequence <= len(records):
        raise Wrong(f"card.json tells of ledger record {sequence}, which the ledger does not hold")
    return records[sequence - 1]


def check_approvals(records: list[Record], registered: Record, allowed_signers: str | None) -> None:
    """Approvals of this version that were signed with an SSH key; ssh-keygen checks them where it is installed."""
    signed = [
        record
        for record in records
        if record["verb"] == "approved"
        and record["subject"] == registered["subject"]
        and record["details"].get("signature")
    ]
    for record in records:
        claims = record["verb"] == "promoted" and record["actor"]["established_by"] == "ssh_signature"
        if claims and record["subject"] == registered["subject"]:
            carried = [a for a in signed if a["actor"] == record["actor"] and a["sequence"] < record["sequence"]
                       and a["evidence"].get("gate_record") == record["evidence"].get("gate_record")]  # fmt: skip
            if not carried:
                raise Wrong(f"ledger record {record['sequence']} claims a signature that no approval carries")
    for record in signed:
        check_statement(record, records)
        check_signature(record, allowed_signers)
    if allowed_signers:
        tell_unsigned(records, registered)


def tell_unsigned(records: list[Record], registered: Record) -> None:
    """Say of each move of this version that rests on no signature that the list of signers tells nothing about it."""
    for record in records:
        move = record["verb"] in ("promoted", "rolled_back") and record["subject"] == registered["subject"]
        if move and record["actor"]["established_by"] != "ssh_signature":
            who = f"{record['actor']['id']} ({record['actor']['established_by']})"
            print(f"note   ledger record {record['sequence']}: {record['verb']} by {who} WITHOUT a signature; "
                  "your allowed signers say nothing about it")  # fmt: skip


def check_statement(record: Record, records: list[Record]) -> None:
    """What was signed is what the ledger records, and it was signed on this ledger."""
    where = f"ledger record {record['sequence']}"
    stated = json.loads(record["details"]["statement"])
    expected = {
        "model": record["details"]["model"],
        "version": record["details"]["version"],
        "checkpoint": record["subject_digest"],
        "gate_record": record["evidence"]["gate_record"],
        "verdict": record["details"]["verdict"],
        "reason": record["details"]["reason"],
    }
    for name in sorted(expected):
        if stated.get(name) != expected[name]:
            raise Wrong(f"{where} has another {name} than the statement that was signed")
    if record["details"]["signer"] != record["actor"]["id"]:
        raise Wrong(f"{where} names {record['actor']['id']}, but {record['details']['signer']} signed")
    sequence, _, digest = stated["ledger_head"].rpartition(":")
    number = int(sequence)
    if not 0 < number < record["sequence"] or records[number - 1]["sha256"] != digest:
        raise Wrong(f"{where} was signed on another ledger than this one")


def check_signature(record: Record, allowed_signers: str | None) -> None:
    """ssh-keygen says that the signer's key signed the statement."""
    where = f"ledger record {record['sequence']}"
    details = record["details"]
    program = shutil.which("ssh-keygen")
    if program is None and allowed_signers:
        raise Wrong(f"{where}: the signature of {details['signer']} cannot be checked against {allowed_signers}: "
                    "ssh-keygen is not installed (Debian: openssh-client)")  # fmt: skip
    if program is None:
        print(f"note   {where}: the signature of {details['signer']} was not checked, ssh-keygen is not installed")
        return
    at = datetime.fromisoformat(json.loads(details["statement"])["time"]).astimezone(timezone.utc)  # noqa: UP017 (3.9 has no UTC)
    with tempfile.TemporaryDirectory() as folder:
        signature, signers = os.path.join(folder, "signature"), os.path.join(folder, "allowed_signers")
        with open(signature, "w") as file:
            file.write(details["signature"])
        with open(signers, "w") as file:
            file.write(details["allowed_signers"])
        done = subprocess.run(
            [program, "-Y", "verify", "-f", allowed_signers or signers, "-I", details["signer"], "-n", NAMESPACE,
             "-s", signature, "-O", f"verify-time={at:%Y%m%d%H%M%S}"],
            input=details["statement"].encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
            env={**os.environ, "TZ": "UTC", "LC_ALL": "C"},
        )  # fmt: skip
    said = " ".join(done.stdout.decode("utf-8", "replace").split())
    if done.returncode != 0:
        raise Wrong(f"{where}: the signature of {details['signer']} does not hold: {said}")
    by = "your allowed signers" if allowed_signers else "the entry kept in the record; compare it with your own list"
    ok(f"{where}: {details['signer']} signed this approval, says {by}")


if __name__ == "__main__":
    sys.exit(main())
