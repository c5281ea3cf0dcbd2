"""Canonical JSON and the digests and fingerprints made from it (CONTRACTS 1)."""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_READ_BYTES = 1 << 20


def canonical_json(value: Any) -> bytes:
    """The one spelling of a JSON value: sorted keys, no blanks, UTF-8.

    Raises TypeError for a value that JSON cannot hold (never falls back to `str`, which would make
    two different things equal) and ValueError for NaN and infinities.
    """
    _refuse_unserialisable(value, "$")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _refuse_unserialisable(value: Any, path: str) -> None:
    if value is None or isinstance(value, str | bool | int):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"canonical JSON: {path} is {value}; only finite numbers have a digest")
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"canonical JSON: key {key!r} at {path} is {type(key).__name__}; use a string")
            _refuse_unserialisable(item, f"{path}.{key}")
        return
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _refuse_unserialisable(item, f"{path}[{index}]")
        return
    raise TypeError(f"canonical JSON: {path} is a {type(value).__name__}; convert it to a JSON value first")


def sha256_hex(data: bytes) -> str:
    """SHA-256 of bytes, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def digest_of(value: Any) -> str:
    """SHA-256 of a value's canonical JSON."""
    return sha256_hex(canonical_json(value))


def without_none(value: Any) -> Any:
    """The value with every None entry of its mappings left out: an unset option has no digest of its own."""
    if isinstance(value, Mapping):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [without_none(item) for item in value]
    return value


def fingerprint(
    stage: str,
    version: str,
    *,
    values: Mapping[str, Any],
    inputs: Mapping[str, str],
    versions: Mapping[str, str],
) -> str:
    """What a stage's output is a function of, as 64 hex digits.

    values are the recipe sections the stage reads, with resolved defaults; inputs are the digests of
    what it reads; versions are those of extractors, kernels, rules and models that shape its bytes.
    """
    return digest_of(
        {
            "stage": stage,
            "version": version,
            "values": without_none(values),
            "inputs": dict(inputs),
            "versions": dict(versions),
        }
    )
