"""Requests to an S3 service that do not give up at the first trouble, and errors that say what happened.

One client a process, from s3fs and botocore, which reads the credentials (environment, profile, instance role). Tries
and pauses are ours, because those of the two libraries multiply: a call ends after `AWS_MAX_ATTEMPTS` tries (12: a
gateway that restarts takes a minute), or when three minutes have gone, with pauses that grow and differ by writer.
Credentials that expired are read again once.
"""

import hashlib
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, BinaryIO, TypeVar

from ingot.disk_space import is_full
from ingot.errors import NotFoundError, StorageError

T = TypeVar("T")

PATIENCE_SECONDS = 180.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 20.0
_CONNECT_SECONDS, _SILENCE_SECONDS = 10, 60
_CHUNK_BYTES = 1 << 20

SKEW_SECONDS = 900
"""A request dated further from a service's clock is refused."""
_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
_SKEWED = {"RequestTimeTooSkewed"}
_UNKNOWN_KEY = {"InvalidAccessKeyId"}
_WRONG_SECRET = {"SignatureDoesNotMatch"}
_NO_ROOM = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "507"}
# BadDigest and IncompleteBody: the bytes were damaged or cut on their way, and we still hold them.
_TRANSIENT = {
    "InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout", "Throttling", "ThrottlingException",
    "RequestLimitExceeded", "BandwidthLimitExceeded", "TooManyRequests", "BadDigest", "IncompleteBody",
    "XAmzContentSHA256Mismatch", "408", "429", "500", "502", "503", "504",
}  # fmt: skip
_jitter = random.SystemRandom()  # forked workers would share the state of the default generator


class S3Client:
    """Sends requests to one endpoint; None is AWS itself."""

    def __init__(self, endpoint: str | None) -> None:
        self.endpoint = endpoint

    def send(self, method: str, **arguments: Any) -> dict[str, Any]:
        """One request, by botocore's name of it, tried again while that can help."""
        return self._persist(lambda filesystem: filesystem.call_s3(method, **arguments))

    def send_once(self, method: str, **arguments: Any) -> dict[str, Any]:
        """One request, whatever is answered."""
        answer: dict[str, Any] = self._filesystem().call_s3(method, **arguments)
        return answer

    def fetch(self, bucket: str, name: str, sink: BinaryIO) -> None:
        """Write an object's bytes to a seekable sink; a connection that is cut goes on where it was."""
        from fsspec.asyn import sync

        seen: dict[str, Any] = {}

        def attempt(filesystem: Any) -> None:
            sync(filesystem.loop, _fetch, filesystem, bucket, name, sink, seen)

        # Progress renews patience: a slow store ends as late as its bytes do.
        self._persist(attempt, progress=sink.tell)

    def _filesystem(self) -> Any:
        return _filesystem(os.getpid(), self.endpoint, _credentials_digest())

    def _persist(self, attempt: Callable[[Any], T], *, progress: Callable[[], int] = lambda: 0) -> T:
        started, tries, reached, renewed = time.monotonic(), 0, 0, False
        while True:
            filesystem = self._filesystem()
            try:
                return attempt(filesystem)
            except Exception as error:
                if code_of(error) in _EXPIRED and not renewed:
                    renewed = True
                    _filesystem.cache_clear()
                    continue
                if progress() > reached:
                    started, tries, reached = time.monotonic(), 0, progress()
                tries += 1
                late = time.monotonic() - started > PATIENCE_SECONDS
                if not is_transient(error) or late or tries >= _max_tries():
                    raise
            _pause(tries)


def _max_tries() -> int:
    return max(1, int(os.environ.get("AWS_MAX_ATTEMPTS", "12")))


def _pause(tries: int) -> None:
    longest = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2**tries)
    time.sleep(longest * _jitter.uniform(0.5, 1.0))


async def _fetch(filesystem: Any, bucket: str, name: str, sink: BinaryIO, seen: dict[str, Any]) -> None:
    start = sink.tell()
    if start and start == seen.get("size"):
        return
    rest = {"Range": f"bytes={start}-"} if start else {}
    answer = await filesystem._call_s3("get_object", Bucket=bucket, Key=name, **rest)
    async with answer["Body"] as body:
        if start and (answer.get("ETag") != seen["tag"] or "ContentRange" not in answer):
            # Another object by now, or a store that does not know ranges: from the start.
            sink.seek(0)
            sink.truncate()
            if "ContentRange" in answer:
                seen.clear()
                raise ConnectionResetError(f"{name} was replaced while it was read")
        if "ContentRange" not in answer:
            seen.update(tag=answer.get("ETag"), size=answer["ContentLength"])
        while chunk := await body.read(_CHUNK_BYTES):
            sink.write(chunk)
    if sink.tell() != seen["size"]:
        raise ConnectionResetError(f"{name} ended after {sink.tell()} of {seen['size']} bytes")


@lru_cache(maxsize=4)
def _filesystem(pid: int, endpoint: str | None, credentials: str) -> Any:
    """One client a process (opening one costs 0.4 s): the event loop of s3fs does not survive a fork."""
    import s3fs

    options: dict[str, Any] = {
        "config_kwargs": {
            "s3": {"addressing_style": "path"},
            "retries": {"mode": "standard", "total_max_attempts": 1},
            "connect_timeout": _CONNECT_SECONDS,
            "read_timeout": _SILENCE_SECONDS,
            # Content-MD5 goes with every put; botocore's newer checksums are refused by older services over TLS.
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        },
        "use_listings_cache": False,
        "skip_instance_cache": True,
    }
    if endpoint:
        options["endpoint_url"] = endpoint
    filesystem = s3fs.S3FileSystem(**options)
    filesystem.retries = 1
    return filesystem


def _credentials_digest() -> str:
    given = "\0".join(os.environ.get(name, "") for name in _CREDENTIALS)
    return hashlib.sha256(given.encode()).hexdigest()


def code_of(error: BaseException) -> str:
    """The service's error code, or the kind of error when it sent no answer."""
    return str(_answer(error).get("Error", {}).get("Code") or type(error).__name__)


def _answer(error: BaseException) -> dict[str, Any]:
    return getattr(error.__cause__ or error, "response", None) or {}


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed later: no answer, a cut one, or one that says so."""
    from aiohttp import ClientError
    from botocore.exceptions import ConnectionError as NoConnection
    from botocore.exceptions import HTTPClientError, SSLError
    from botocore.parsers import ResponseParserError

    if _answer(error):
        return code_of(error) in _TRANSIENT
    if isinstance(error, SSLError):
        return False
    return isinstance(
        error,
        HTTPClientError | NoConnection | ResponseParserError | ClientError | TimeoutError | ConnectionError | EOFError,
    )


@contextmanager
def explained(action: str, key: str, *, root: str, bucket: str, endpoint: str | None) -> Iterator[None]:
    """What goes wrong inside becomes a NotFoundError, or a StorageError that says what to do."""
    from botocore.exceptions import BotoCoreError, NoCredentialsError

    try:
        yield
    except StorageError:
        raise
    except FileNotFoundError as error:
        if code_of(error) == "NoSuchBucket":
            raise StorageError(
                f"cannot {action} {key}: bucket {bucket!r} does not exist; create it, or correct INGOT_STORE"
            ) from error
        raise NotFoundError(f"{key} is not in the store {root}") from None
    except NoCredentialsError as error:
        raise StorageError(
            f"cannot {action} {key} in {root}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_PROFILE"
        ) from error
    except (OSError, BotoCoreError) as error:
        if is_full(error):  # the disk here, not the service
            raise
        code = code_of(error)
        if remedy := _remedy_of_refusal(error, code):
            raise StorageError(f"the store {root} refused to {action} {key} ({code}): {remedy}") from error
        place = f" at {endpoint}" if endpoint else ""
        raise StorageError(
            f"cannot {action} {key} in {root}{place} ({code}); check that the service answers, then run again: "
            "finished work is kept"
        ) from error


def _remedy_of_refusal(error: BaseException, code: str) -> str | None:
    """Why the service refused and what to do; None when it did not refuse."""
    if code in _EXPIRED:
        return "the credentials have expired; renew them and run again: finished work is kept"
    if code in _SKEWED:
        return f"{_skew(error)}; set the clock of this machine (NTP) and run again: finished work is kept"
    if code in _UNKNOWN_KEY:
        return "the service does not know this access key; check AWS_ACCESS_KEY_ID, or whether the key was replaced"
    if code in _WRONG_SECRET:
        return "the secret key does not belong to the access key; check AWS_SECRET_ACCESS_KEY"
    if code in _NO_ROOM:
        return "the service has no room left; raise its quota or free space, then run again: finished work is kept"
    if isinstance(error, PermissionError):
        return "check the credentials and the bucket's policy"
    return None


def _skew(error: BaseException) -> str:
    skew = skew_seconds(_answer(error))
    if skew is None:
        return "the clock of this machine is wrong"
    return f"the clock of this machine is {abs(skew):,.0f} s {'ahead of' if skew > 0 else 'behind'} the store's"


def skew_seconds(answer: dict[str, Any]) -> float | None:
    """How far this machine's clock is ahead of the one that dated an answer; None when it has no date."""
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    try:
        theirs = parsedate_to_datetime(headers["date"])
    except (KeyError, ValueError, TypeError):
        return None
    return (_now() - theirs.astimezone(UTC)).total_seconds()


def _now() -> datetime:
    return datetime.now(UTC)
