"""The powers of an S3 service, asked one by one below `<prefix>/.tmp/doctor-...`, where no reader looks."""

import base64
import hashlib
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from ingot.errors import IngotError, NotFoundError, StorageError
from ingot.s3_client import SKEW_SECONDS, code_of, skew_seconds
from ingot.storage_s3 import S3Objects
from ingot.store_probe import Probe, count_winners, median_milliseconds, race_probe

_PART_BYTES = 5 << 20
"""Services refuse smaller parts, except the last."""
_NOTED_SKEW_SECONDS = 60


def probe_s3(root: str) -> Iterator[Probe]:
    """Every power in turn; when the service cannot be asked at all, that is the only answer."""
    place = _Place(S3Objects(root))
    try:
        answer = place.objects.reach()
    except IngotError as error:
        yield Probe("reach", False, str(error), "nothing can be stored there")
        return
    yield Probe("reach", True, "the bucket answers with these credentials")
    yield _skew(answer)
    try:
        for ask in (
            _read_after_write, _overwrite, _size, _range, _list_after_put, _put_if_absent, _race, _md5, _multipart,
            _multipart_condition, _versioning, _latency,
        ):  # fmt: skip
            yield _asked(ask, place)
    finally:
        last = _asked(_delete, place)
    yield last


class _Place:
    """A folder of the probe's own."""

    def __init__(self, objects: S3Objects) -> None:
        self.objects = objects
        self.folder = f".tmp/doctor-{uuid.uuid4().hex}"

    def key(self, name: str) -> str:
        return f"{self.folder}/{name}"

    def call(self, method: str, name: str, **arguments: Any) -> dict[str, Any]:
        return self.objects.call(method, self.key(name), **arguments)

    def put(self, name: str, data: bytes) -> None:
        self.objects.put(self.key(name), data)

    def read(self, name: str) -> bytes:
        return self.objects.read(self.key(name))

    def names(self) -> list[str]:
        return sorted(found.key for found in self.objects.find(self.folder))

    def takes(self, name: str, data: bytes) -> bool:
        """Whether a put with the condition was accepted."""
        return self.objects.put_new(self.key(name), data)


def _asked(ask: Callable[[_Place], Probe], place: _Place) -> Probe:
    try:
        return ask(place)
    except (OSError, IngotError) as error:
        name = ask.__name__.strip("_").replace("_", " ")
        found = str(error) if isinstance(error, IngotError) else f"refused: {code_of(error)}"
        return Probe(name, False, found, "it does not work here", needed=ask not in _MAY_FAIL)


def _skew(answer: dict[str, Any]) -> Probe:
    skew = skew_seconds(answer)
    if skew is None:
        return Probe("clock", True, "the service does not tell its time")
    return Probe(
        "clock", abs(skew) <= _NOTED_SKEW_SECONDS,
        f"this machine is {abs(skew):,.0f} s {'ahead' if skew > 0 else 'behind'}",
        f"beyond {SKEW_SECONDS // 60} minutes the service refuses every request; set the clock (NTP)", needed=False,
    )  # fmt: skip


def _read_after_write(place: _Place) -> Probe:
    data = uuid.uuid4().bytes
    place.put("read", data)
    found = place.read("read")
    return Probe("read after write", found == data, f"{'the same' if found == data else 'other'} bytes came back",
                 "what was published could not be read")  # fmt: skip


def _overwrite(place: _Place) -> Probe:
    for number in range(5):
        data = f"{number}".encode() * 100
        place.put("again", data)
        if place.read("again") != data:
            return Probe("overwrite", False, f"old bytes were read after put {number + 1}",
                         "a checkpoint that is written again could be read half old")  # fmt: skip
    return Probe("overwrite", True, "5 times, the new bytes were read at once")


def _size(place: _Place) -> Probe:
    place.put("size", b"x" * 12_345)
    size = place.objects.size(place.key("size"))
    return Probe("size in HEAD", size == 12_345, f"{size} of 12345", "finished work would be done again or believed")


def _range(place: _Place) -> Probe:
    place.put("range", bytes(range(256)))
    answer = place.call("get_object", "range", Range="bytes=100-199")
    length = int(answer["ContentLength"])
    return Probe("range read", length == 100 and "ContentRange" in answer, f"{length} bytes for a range of 100",
                 "a read that is cut begins again from the start", needed=False)  # fmt: skip


def _list_after_put(place: _Place) -> Probe:
    for number in range(5):
        place.put(f"list/{number}", b"x")
        if place.key(f"list/{number}") not in place.names():
            return Probe("list after put", False, "an object was not listed after its put",
                         "the ledger and the newest version are found by listing")  # fmt: skip
    return Probe("list after put", True, "5 of 5 objects were listed at once")


def _put_if_absent(place: _Place) -> Probe:
    won = [place.takes("once", b"first"), place.takes("once", b"second"), place.takes("once", b"third")]
    kept = place.read("once")
    return Probe(
        "put if absent", won == [True, False, False] and kept == b"first",
        f"a taken name was {'refused' if not any(won[1:]) else 'overwritten'} ({won[1:].count(False)} of 2 times)",
        "the service ignores If-None-Match: two runs could both publish one version",
    )  # fmt: skip


def _race(place: _Place) -> Probe:
    return race_probe(count_winners(lambda number: place.takes("race", f"{number}".encode())))


def _md5(place: _Place) -> Probe:
    wrong = base64.b64encode(hashlib.md5(b"other bytes", usedforsecurity=False).digest()).decode()
    try:
        place.objects.call_once("put_object", place.key("md5"), Body=b"bytes", ContentMD5=wrong)
    except OSError as error:
        return Probe("wrong MD5 refused", True, f"refused ({code_of(error)})", needed=False)
    return Probe(
        "wrong MD5 refused", False, "bytes with another MD5 were accepted",
        "bytes damaged on their way are found by `ingot verify` and `ingot scrub` only", needed=False,
    )  # fmt: skip


def _upload(place: _Place, name: str, bodies: list[bytes], **condition: str) -> None:
    upload = place.call("create_multipart_upload", name)["UploadId"]

    def part(number: int) -> dict[str, Any]:
        sent = place.call("upload_part", name, UploadId=upload, PartNumber=number, Body=bodies[number - 1])
        return {"PartNumber": number, "ETag": sent["ETag"]}

    try:
        parts = {"Parts": [part(number) for number in range(1, len(bodies) + 1)]}
        place.call("complete_multipart_upload", name, UploadId=upload, MultipartUpload=parts, **condition)
    except OSError:
        with suppress(OSError):
            place.call("abort_multipart_upload", name, UploadId=upload)
        raise


def _multipart(place: _Place) -> Probe:
    bodies = [b"a" * _PART_BYTES, b"b" * 1000]
    _upload(place, "parts", bodies)
    same = hashlib.sha256(place.read("parts")).digest() == hashlib.sha256(b"".join(bodies)).digest()
    begun = place.call("create_multipart_upload", "open")["UploadId"]
    place.call("upload_part", "open", UploadId=begun, PartNumber=1, Body=b"x")
    seen = place.key("open") in place.names()
    place.call("abort_multipart_upload", "open", UploadId=begun)
    return Probe("multipart upload", same and not seen,
                 f"two parts came back {'whole' if same else 'changed'}, an open upload is "
                 f"{'seen' if seen else 'not seen'} by readers", "large files (weights) need it")  # fmt: skip


def _multipart_condition(place: _Place) -> Probe:
    name = "put if absent in parts"
    _upload(place, "parts-once", [b"first"], IfNoneMatch="*")
    try:
        _upload(place, "parts-once", [b"second"], IfNoneMatch="*")
    except OSError as error:
        return Probe(name, True, f"a taken name was refused ({code_of(error)})", needed=False)
    return Probe(name, False, "a taken name was overwritten",
                 "nothing: names that one writer must win are never written in parts", needed=False)  # fmt: skip


def _versioning(place: _Place) -> Probe:
    name = "versioning"
    try:
        state = place.objects.versioning()
    except (OSError, StorageError) as error:
        return Probe(name, True, f"not told ({code_of(error)})", needed=False)
    return Probe(name, state != "Enabled", state or "off",
                 "what is deleted or overwritten keeps its room until a lifecycle rule of the bucket removes old "
                 "versions", needed=False)  # fmt: skip


def _latency(place: _Place) -> Probe:
    put = median_milliseconds(lambda: place.put("time", b"x" * 1000))
    read = median_milliseconds(lambda: place.read("time"))
    return Probe("latency", put < 500 and read < 500, f"put {put:,.1f} ms, read {read:,.1f} ms (median, 1 kB)",
                 "runs with many small objects take long", needed=False)  # fmt: skip


def _delete(place: _Place) -> Probe:
    for key in place.names():
        place.objects.delete(key)
    left = place.names()
    with suppress(NotFoundError):
        place.read("once")
        left.append(place.key("once"))
    return Probe("delete", not left, f"{len(left)} objects of this probe are left",
                 f"`ingot gc` and erasure could not free anything; remove {place.folder} by hand")  # fmt: skip


_MAY_FAIL = (_range, _md5, _multipart_condition, _versioning, _latency)
