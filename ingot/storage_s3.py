"""The S3 side of the store: one put an object, and `If-None-Match: *` where one writer must win.

Every failure becomes a StorageError with the service's error code and what to do; credentials are read
by botocore (environment, profile, instance role) and never by us. Requests are tried again by `ingot.s3_client`.
Every put carries its Content-MD5, so that a service refuses bytes that were damaged on their way.
"""

import base64
import hashlib
import io
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from ingot.errors import NotFoundError, RecipeError, StorageError
from ingot.s3_client import S3Client, code_of, explained
from ingot.stored import Found, Upload

# Larger files go in parts, which no reader sees before the last one: a put is held in memory, and one request may
# hold at most 5 GiB.
_SINGLE_PUT_BYTES = 64 << 20
_PART_BYTES = 16 << 20
_MAX_PARTS = 10_000
_PARTS_IN_FLIGHT = 4
_COPIED_BYTES = 5 << 30
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
        self._client = S3Client(self._endpoint)

    # -- writing -----------------------------------------------------------------------------

    def put(self, key: str, data: bytes) -> None:
        with self._explained("write", key):
            self._call("put_object", key, Body=data, ContentMD5=_md5_base64(data))

    def put_file(self, key: str, path: Path) -> None:
        if path.stat().st_size <= _SINGLE_PUT_BYTES:
            self.put(key, path.read_bytes())
            return
        with self._explained("write", key):
            self._put_parts(key, path)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        with self._explained("write", key):
            self._probe()
            return self._put_new(key, data)

    def put_new(self, key: str, data: bytes) -> bool:
        """Like put_if_absent, on a service that was not yet found to honour it."""
        with self._explained("write", key):
            return self._put_new(key, data)

    def _put_new(self, key: str, data: bytes) -> bool:
        for attempt in range(_CONFLICT_ATTEMPTS):
            try:
                self._call("put_object", key, Body=data, ContentMD5=_md5_base64(data), IfNoneMatch="*")
                return True
            except FileExistsError:
                return False
            except OSError as error:
                if code_of(error) in _TAKEN:
                    return False
                if code_of(error) not in _CONFLICT:
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
                "service that honours conditional writes, or a local store; `ingot doctor storage` shows what it can"
            )
        _probed.add(place)

    def _put_parts(self, key: str, path: Path) -> None:
        """In parts, some at a time; a failure takes them back, a kill leaves them for `ingot gc`."""
        size = path.stat().st_size
        part_bytes = max(_PART_BYTES, -(-size // _MAX_PARTS))
        upload = str(self._call("create_multipart_upload", key)["UploadId"])
        try:
            with open(path, "rb") as file, ThreadPoolExecutor(_PARTS_IN_FLIGHT) as threads:
                numbers = range(1, -(-size // part_bytes) + 1)
                # Each part is read in the thread that sends it, so that only those in flight are held.
                send = [threads.submit(self._put_part, key, upload, n, file.fileno(), part_bytes) for n in numbers]
                try:
                    digests = [future.result() for future in send]
                except BaseException:
                    threads.shutdown(cancel_futures=True)
                    raise
            self._complete(key, upload, digests)
        except BaseException:
            with suppress(OSError):
                self._call("abort_multipart_upload", key, UploadId=upload)
            raise

    def _put_part(self, key: str, upload: str, number: int, file: int, part_bytes: int) -> tuple[str, bytes]:
        data = os.pread(file, part_bytes, (number - 1) * part_bytes)
        answer = self._call(
            "upload_part", key, UploadId=upload, PartNumber=number, Body=data, ContentMD5=_md5_base64(data)
        )
        return str(answer["ETag"]), _md5(data)

    def _complete(self, key: str, upload: str, digests: list[tuple[str, bytes]]) -> None:
        parts = [{"PartNumber": number, "ETag": tag} for number, (tag, _) in enumerate(digests, start=1)]
        try:
            self._call("complete_multipart_upload", key, UploadId=upload, MultipartUpload={"Parts": parts})
        except FileNotFoundError as error:
            # The first answer was lost and the upload is no more: is the object ours?
            whole = f"{_md5(b''.join(digest for _, digest in digests)).hex()}-{len(digests)}"
            if code_of(error) != "NoSuchUpload" or self._tag(key) != whole:
                raise OSError(f"the upload of {key} was ended by somebody else") from error

    def delete(self, key: str) -> None:
        with self._explained("delete", key):
            self._call("delete_object", key)

    def delete_if_untouched(self, key: str, since: datetime) -> bool:
        """Remove an object that nobody has written or renewed since then.

        A writer that renews it between the look and the removal is not seen: S3 has no condition for that. Housekeeping
        asks it about objects only that nobody has named for two days.
        """
        found = self.stat(key)
        if found is None or found.modified >= since:
            return False
        self.delete(key)
        return True

    def renew(self, key: str) -> None:
        """Make an object as young as if it were written now; NotFoundError when it must be written for that."""
        if (self.size(key) or 0) > _COPIED_BYTES:
            raise NotFoundError(f"{key} is too large for the service to copy")
        with self._explained("renew", key):
            source = {"Bucket": self._bucket, "Key": self._object(key)}
            self._call("copy_object", key, CopySource=source, MetadataDirective="REPLACE")

    def now(self) -> datetime:
        """The service's clock, which dates its objects."""
        headers = self.reach()["ResponseMetadata"]["HTTPHeaders"]
        return parsedate_to_datetime(headers["date"]) if "date" in headers else datetime.now(UTC)

    # -- reading -----------------------------------------------------------------------------

    def read(self, key: str) -> bytes:
        sink = io.BytesIO()
        with self._explained("read", key):
            self._client.fetch(self._bucket, self._object(key), sink)
        return sink.getvalue()

    def download(self, key: str, path: Path) -> None:
        """Copy an object to a local file."""
        with open(path, "wb") as file, self._explained("read", key):
            self._client.fetch(self._bucket, self._object(key), file)

    def stat(self, key: str) -> Found | None:
        """What is there under a key; None when there is nothing."""
        try:
            with self._explained("look up", key):
                found = self._head(key)
        except NotFoundError:
            return None
        modified = found["LastModified"]
        return Found(key, int(found["ContentLength"]), modified, f"{found.get('ETag', '')} {modified}")

    def _head(self, key: str) -> dict[str, Any]:
        try:
            return self._call("head_object", key)
        except OSError as error:
            if code_of(error) in ("400", "403"):
                # A HEAD has no body and so no reason; the same question as a GET is told one.
                self._call("get_object", key, Range="bytes=0-0")
            raise

    def _tag(self, key: str) -> str:
        return str(self._head(key).get("ETag", "")).strip('"')

    def size(self, key: str) -> int | None:
        found = self.stat(key)
        return found.bytes if found else None

    def list(self, prefix: str) -> Iterator[str]:
        yield from (found.key for found in self.find(prefix) if not found.key.startswith(".tmp/"))

    def find(self, prefix: str) -> Iterator[Found]:
        """Every object below a folder, `.tmp/` included."""
        folder = f"{prefix}/" if prefix else ""
        with self._explained("list", folder):
            for page in self._pages("list_objects_v2", folder, ("ContinuationToken", "NextContinuationToken")):
                for found in page.get("Contents", ()):
                    key = self._key(found["Key"])
                    # Names that end with '/' are folders that a console made.
                    if not key.endswith("/"):
                        yield Found(key, int(found["Size"]), found["LastModified"], str(found.get("ETag", "")))

    def list_uploads(self) -> Iterator[Upload]:
        """Multipart uploads that nobody ended, those that are still under way among them."""
        with self._explained("list uploads of", self._root):
            markers = ("KeyMarker", "NextKeyMarker"), ("UploadIdMarker", "NextUploadIdMarker")
            for page in self._pages("list_multipart_uploads", "", *markers):
                for found in page.get("Uploads", ()):
                    yield self._upload(self._key(found["Key"]), str(found["UploadId"]), found["Initiated"])

    def _upload(self, key: str, upload_id: str, begun: datetime) -> Upload:
        try:
            parts = list(self._parts(key, upload_id))
        except FileNotFoundError:  # ended meanwhile
            parts = []
        last = max([begun, *(part["LastModified"] for part in parts)])
        return Upload(key, upload_id, last, sum(int(part["Size"]) for part in parts))

    def _parts(self, key: str, upload_id: str) -> Iterator[dict[str, Any]]:
        marker: dict[str, Any] = {}
        while True:
            page = self._call("list_parts", key, UploadId=upload_id, **marker)
            yield from page.get("Parts", ())
            if not page.get("IsTruncated"):
                return
            marker = {"PartNumberMarker": page["NextPartNumberMarker"]}

    def reach(self) -> dict[str, Any]:
        """Ask the bucket anything; the answer, with the service's date."""
        with self._explained("list", self._root):
            return self._client.send("list_objects_v2", Bucket=self._bucket, Prefix=self._object(".tmp/"), MaxKeys=1)

    def versioning(self) -> str:
        """`Enabled`, `Suspended`, or nothing."""
        return str(self._client.send("get_bucket_versioning", Bucket=self._bucket).get("Status", ""))

    def abort_upload(self, upload: Upload) -> None:
        """Take back the parts of an upload; one that has ended meanwhile is left as it is."""
        with self._explained("abort the upload of", upload.key), suppress(FileNotFoundError):
            self._call("abort_multipart_upload", upload.key, UploadId=upload.upload_id)

    def _pages(self, method: str, folder: str, *markers: tuple[str, str]) -> Iterator[dict[str, Any]]:
        arguments: dict[str, Any] = {"Bucket": self._bucket, "Prefix": self._object(folder)}
        while True:
            page = self._client.send(method, **arguments)
            yield page
            if not page.get("IsTruncated"):
                return
            arguments |= {name: page[following] for name, following in markers if page.get(following)}

    # -- names -------------------------------------------------------------------------------

    def _object(self, key: str) -> str:
        return f"{self._prefix}/{key}" if self._prefix else key

    def _key(self, name: str) -> str:
        return name.removeprefix(f"{self._prefix}/") if self._prefix else name

    def _call(self, method: str, key: str, **arguments: Any) -> dict[str, Any]:
        return self._client.send(method, Bucket=self._bucket, Key=self._object(key), **arguments)

    def call(self, method: str, key: str, **arguments: Any) -> dict[str, Any]:
        """One request about a key, by botocore's name of it; raises what s3fs raises."""
        return self._call(method, key, **arguments)

    def call_once(self, method: str, key: str, **arguments: Any) -> dict[str, Any]:
        """The same without a second try."""
        return self._client.send_once(method, Bucket=self._bucket, Key=self._object(key), **arguments)

    def _explained(self, action: str, key: str) -> AbstractContextManager[None]:
        return explained(action, key, root=self._root, bucket=self._bucket, endpoint=self._endpoint)


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _md5_base64(data: bytes) -> str:
    return base64.b64encode(_md5(data)).decode()
