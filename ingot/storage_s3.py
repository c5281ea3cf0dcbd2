"""The S3 side of the store: single puts through s3fs, and `If-None-Match: *` where one writer must win.

Every failure becomes a StorageError with the service's error code and what to do; credentials are read
by botocore (environment, profile, instance role) and never by us. Retries are botocore's standard ones,
at most `AWS_MAX_ATTEMPTS` (10: enough for a gateway that restarts).
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from ingot.errors import NotFoundError, RecipeError, StorageError

# One request holds at most 5 GiB; beyond this size s3fs sends parts, which no reader sees before the last one.
_SINGLE_PUT_BYTES = 1 << 30
_CONFLICT_ATTEMPTS = 6
_TAKEN = {"PreconditionFailed", "412"}
_CONFLICT = {"ConditionalRequestConflict", "OperationAborted", "409"}
_PROBE_KEY = ".tmp/conditional-put"
_probed: set[tuple[str | None, str]] = set()


class S3Objects:
    """Objects under `s3://bucket/prefix`; missing ones raise NotFoundError, all else StorageError."""

    def __init__(self, root: str) -> None:
        self._endpoint = os.environ.get("INGOT_S3_ENDPOINT") or None
        for what, address in (("store's address", root), ("address in INGOT_S3_ENDPOINT", self._endpoint or "")):
            if "@" in address:
                raise RecipeError(f"the {what} holds a password; give credentials by environment or profile")
        bucket, _, prefix = root.removeprefix("s3://").partition("/")
        if not bucket:
            raise RecipeError(f"the store {root!r} names no bucket; write s3://bucket/prefix")
        self._bucket, self._prefix = bucket, prefix.strip("/")
        self._root = f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    @property
    def _fs(self) -> Any:
        return _filesystem(os.getpid(), self._endpoint, os.environ.get("AWS_ACCESS_KEY_ID"))

    def _object(self, key: str) -> str:
        return f"{self._prefix}/{key}" if self._prefix else key

    def put(self, key: str, data: bytes) -> None:
        with self._explained("write", key):
            self._call("put_object", key, Body=data)

    def put_file(self, key: str, path: Path) -> None:
        # One put per object: s3fs publishes a truncated object when a `with open` block raises.
        if path.stat().st_size < _SINGLE_PUT_BYTES:
            self.put(key, path.read_bytes())
            return
        with self._explained("write", key):
            self._fs.put_file(str(path), f"{self._bucket}/{self._object(key)}")

    def put_if_absent(self, key: str, data: bytes) -> bool:
        with self._explained("write", key):
            self._probe()
            return self._put_new(key, data)

    def _put_new(self, key: str, data: bytes) -> bool:
        for attempt in range(_CONFLICT_ATTEMPTS):
            try:
                self._call("put_object", key, Body=data, IfNoneMatch="*")
                return True
            except FileExistsError:
                return False
            except OSError as error:
                if _code(error) in _TAKEN:
                    return False
                if _code(error) not in _CONFLICT:
                    raise
            # 409: another put or delete of this key is under way and its outcome is not known yet.
            time.sleep(0.05 * 2**attempt)
        raise StorageError(f"{key} was being written by others {_CONFLICT_ATTEMPTS} times in a row; run again")

    def _probe(self) -> None:
        """Once a process: some stores accept `If-None-Match` and ignore it, and then two writers would both win."""
        place = (self._endpoint, self._root)
        if place in _probed:
            return
        self._put_new(_PROBE_KEY, b"1")
        if self._put_new(_PROBE_KEY, b"1"):
            raise StorageError(
                f"the store {self._root} ignores If-None-Match, so two runs could both publish one version; use an S3 "
                "service that honours conditional writes, or a local store"
            )
        _probed.add(place)

    def read(self, key: str) -> bytes:
        with self._explained("read", key):
            return bytes(self._fs.cat_file(f"{self._bucket}/{self._object(key)}"))

    def download(self, key: str, path: Path) -> None:
        """Copy an object to a local file."""
        with self._explained("read", key):
            self._fs.get_file(f"{self._bucket}/{self._object(key)}", str(path))

    def stat(self, key: str) -> tuple[int, str] | None:
        """(size, tag that changes with the object); None when there is no such object."""
        try:
            with self._explained("look up", key):
                found = self._call("head_object", key)
        except NotFoundError:
            return None
        return int(found["ContentLength"]), f"{found.get('ETag', '')} {found.get('LastModified', '')}"

    def size(self, key: str) -> int | None:
        found = self.stat(key)
        return found[0] if found else None

    def list(self, prefix: str) -> Iterator[str]:
        base = f"{self._bucket}/{self._prefix}/" if self._prefix else f"{self._bucket}/"
        with self._explained("list", f"{prefix}/"):
            names = self._fs.find(base + prefix)
        for name in names:
            if not name.startswith(f"{base}.tmp/"):
                yield name.removeprefix(base)

    def delete(self, key: str) -> None:
        with self._explained("delete", key):
            self._call("delete_object", key)

    def _call(self, method: str, key: str, **arguments: Any) -> Any:
        return self._fs.call_s3(method, Bucket=self._bucket, Key=self._object(key), **arguments)

    @contextmanager
    def _explained(self, action: str, key: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, NoCredentialsError

        try:
            yield
        except StorageError:
            raise
        except FileNotFoundError as error:
            if _code(error) == "NoSuchBucket":
                raise StorageError(
                    f"cannot {action} {key}: bucket {self._bucket!r} does not exist; create it, or correct INGOT_STORE"
                ) from error
            raise NotFoundError(f"{key} is not in the store {self._root}") from None
        except NoCredentialsError as error:
            raise StorageError(
                f"cannot {action} {key} in {self._root}: no credentials; set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
            ) from error
        except PermissionError as error:
            raise StorageError(
                f"the store {self._root} refused to {action} {key} ({_code(error)}); check the credentials and the "
                "bucket's policy"
            ) from error
        except (OSError, BotoCoreError) as error:
            place = f" at {self._endpoint}" if self._endpoint else ""
            raise StorageError(
                f"cannot {action} {key} in {self._root}{place} ({_code(error)}); check that the service answers, then "
                "run again: finished work is kept"
            ) from error


@lru_cache(maxsize=4)
def _filesystem(pid: int, endpoint: str | None, access_key: str | None) -> Any:
    """One client a process (opening one costs 0.4 s): the event loop of s3fs does not survive a fork."""
    import s3fs

    options: dict[str, Any] = {
        "config_kwargs": {
            "s3": {"addressing_style": "path"},
            "retries": {"mode": "standard", "max_attempts": int(os.environ.get("AWS_MAX_ATTEMPTS", "10"))},
        },
        "use_listings_cache": False,
        "skip_instance_cache": True,
    }
    if endpoint:
        options["endpoint_url"] = endpoint
    return s3fs.S3FileSystem(**options)


def _code(error: BaseException) -> str:
    """The service's error code, or the kind of error when it sent no answer."""
    response = getattr(error.__cause__ or error, "response", None) or {}
    return str(response.get("Error", {}).get("Code") or type(error).__name__)
