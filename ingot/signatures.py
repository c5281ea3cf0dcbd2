"""Signatures with SSH keys, made and checked by OpenSSH's own `ssh-keygen -Y`.

People have such keys already, on disk, in an agent or on a hardware token; asking for a passphrase or a
touch is ssh-keygen's business, on the terminal. Who may sign stands in an allowed_signers file (man
ssh-keygen, ALLOWED SIGNERS), where dates without a Z are read as UTC, so that a check gives the same
answer everywhere.
"""

import base64
import binascii
import hashlib
import os
import shutil
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ingot.errors import GateError, RecipeError, ServiceError

NAMESPACE = "ingot-approval"
_SECONDS = 60
_MAGIC = b"SSHSIG"


@dataclass(frozen=True)
class Signer:
    """Whose signature it is, and what says so."""

    principal: str
    key: str
    """Fingerprint of the key, as `ssh-keygen -l` shows it."""
    entry: str
    """The line of the allowed_signers file that lets this key sign for them."""


def available() -> bool:
    """Whether ssh-keygen is installed."""
    return shutil.which("ssh-keygen") is not None


def sign(statement: bytes, key: Path) -> str:
    """The armored signature of a statement; `key` is a private key, or a public one whose other half an agent holds.

    Raises RecipeError for a key that is not there and GateError when ssh-keygen does not sign.
    """
    program = _program()
    if not key.is_file():
        raise RecipeError(f"SSH key {key} does not exist; give the file of yours, e.g. --key ~/.ssh/id_ed25519")
    with tempfile.TemporaryDirectory(prefix="ingot-sign-") as folder:
        file = Path(folder) / "statement"
        file.write_bytes(statement)
        # Its questions and complaints go to the terminal of whoever signs.
        done = subprocess.run([program, "-q", "-Y", "sign", "-n", NAMESPACE, "-f", str(key), str(file)], stdout=2)
        signature = file.with_suffix(".sig")
        if done.returncode != 0 or not signature.is_file():
            raise GateError(
                f"ssh-keygen did not sign with {key} (exit status {done.returncode}); nothing was approved. "
                "See what it says above: a wrong passphrase, or a key of another format"
            )
        return signature.read_text()


def check(statement: bytes, signature: str, allowed_signers: str, *, at: datetime) -> Signer:
    """Who signed this very statement, of those who may at that time; GateError when nobody did.

    allowed_signers is the text of the file. An entry must name exactly one person.
    """
    program = _program()
    blob = _public_key(signature)
    lines = _entries_for(blob, allowed_signers)
    fingerprint = "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    if not lines:
        raise GateError(f"key {fingerprint} is not in allowed_signers; somebody who may sign does, or add its entry")
    with tempfile.TemporaryDirectory(prefix="ingot-check-") as name:
        folder = Path(name)
        (folder / "signature").write_text(signature)
        options = ["-s", str(folder / "signature"), "-O", f"verify-time={at.astimezone(UTC):%Y%m%d%H%M%S}"]
        found: dict[str, Path] = {}
        said = ""
        # One entry at a time: ssh-keygen itself stops at the first that matches.
        for number, line in enumerate(lines):
            entry = folder / f"entry{number}"
            entry.write_text(f"{line}\n")
            code, answer = _ask([program, "-Y", "find-principals", *options, "-f", str(entry)], b"")
            if code == 0:
                found |= {person: entry for person in answer.replace(",", "\n").split()}
            else:
                said = answer
        if not found:
            raise GateError(f"no entry of allowed_signers lets key {fingerprint} sign at {_when(at)}: {said}")
        if len(found) != 1 or any(letter in "*?!" for letter in "".join(found)):
            raise GateError(
                f"the entry of key {fingerprint} names {', '.join(found)}; a signature stands for one person, "
                "so give each person a key and an entry with one name"
            )
        ((signer, entry),) = found.items()
        command = [program, "-Y", "verify", *options, "-f", str(entry), "-I", signer, "-n", NAMESPACE]
        code, said = _ask(command, statement)
        if code != 0:
            raise GateError(f"the signature of {signer} does not hold for this statement: {said}")
        return Signer(signer, fingerprint, entry.read_text())


def _program() -> str:
    found = shutil.which("ssh-keygen")
    if found is None:
        raise ServiceError("ssh-keygen is not installed; signed approvals need it (Debian package openssh-client)")
    return found


def _ask(command: list[str], data: bytes) -> tuple[int, str]:
    environ = {**os.environ, "TZ": "UTC", "LC_ALL": "C"}
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=_SECONDS, env=environ)
    except subprocess.TimeoutExpired:
        raise ServiceError(f"ssh-keygen gave no answer for {_SECONDS} s; try again") from None
    if done.returncode == 0:
        return 0, done.stdout.decode().strip()
    reasons = done.stderr.decode("utf-8", "replace").strip().split("\n")
    # "<our temporary file>:1: key has expired": the file says nothing to anybody.
    return done.returncode, reasons[0].rpartition(":1: ")[2].strip() or "ssh-keygen gave no reason"


def _public_key(signature: str) -> bytes:
    """The public key inside an armored signature (OpenSSH PROTOCOL.sshsig)."""
    body = "".join(line for line in signature.split("\n") if line and not line.startswith("-----"))
    try:
        raw = base64.b64decode(body, validate=True)
        (length,) = struct.unpack_from(">I", raw, len(_MAGIC) + 4)
    except (binascii.Error, ValueError, struct.error):
        raise GateError("the signature is not one of ssh-keygen; sign again") from None
    start = len(_MAGIC) + 8
    if not raw.startswith(_MAGIC) or start + length > len(raw):
        raise GateError("the signature is not one of ssh-keygen; sign again")
    return raw[start : start + length]


def _entries_for(blob: bytes, allowed_signers: str) -> list[str]:
    """The entries that name a key; those of certificate authorities, when it is a certificate."""
    given = [line.strip() for line in allowed_signers.splitlines()]
    entries = [line for line in given if line and not line.startswith("#")]
    wanted = base64.b64encode(blob).decode()
    found = [line for line in entries if wanted in line.split()]
    if not found and b"-cert-v01@openssh.com" in blob:
        found = [line for line in entries if "cert-authority" in line]
    return found


def _when(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")
