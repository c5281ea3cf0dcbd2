"""Archives: zip, tar (also compressed) and single compressed files; every member is a document of its own.

Nothing is written to disk: members are unpacked in memory, one after the other, within the budget of the outermost
file. A bomb costs itself: a member out of proportion is a reject, a stream out of proportion ends there. Of a damaged
archive what came before the damage is kept. The bytes tell what an archive is, not its name.
"""

import posixpath
from collections.abc import Iterator

from datasets_pipeline.extract import packed, tar_members, zip_recovery
from datasets_pipeline.extract.budgets import OPTION, Budget, budget_of
from datasets_pipeline.extract.children import child_uri, extract_child
from datasets_pipeline.extract.containers import ZIP
from datasets_pipeline.extract.options import ExtractOptions
from datasets_pipeline.extract.zips import Member, ZipMembers
from datasets_pipeline.sources.base import ExtractionError, ExtractionResult, Reject

VERSION = "1"
MEDIA_TYPES = (
    ZIP, "application/x-tar", "application/gzip", "application/x-xz", "application/x-bzip2", "application/zstd",
)  # fmt: skip

_ZIP_MARKS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
# What a single compressed file is called without its packing; short forms name two things at once.
_PACKED_EXTENSIONS = {
    "gz": "", "gzip": "", "xz": "", "bz2": "", "bz": "", "zst": "", "zstd": "",
    "tgz": "tar", "txz": "tar", "tbz": "tar", "tbz2": "tar", "tzst": "tar", "svgz": "svg",
}  # fmt: skip
_HIDDEN = ("__MACOSX/",)  # what macOS adds to zips: no content of the user


def extract(data: bytes, uri: str, media_type: str, options: ExtractOptions) -> ExtractionResult:
    """The documents of all members, and a reject for each that gave none. Raises ExtractionError."""
    with budget_of(len(data), options.max_archive_bytes) as budget:
        if data.startswith(_ZIP_MARKS) or (media_type == ZIP and not packed.is_packed(data)):
            results = _zip(data, uri, options, budget)
        elif tar_members.is_tar(data, uri):
            results = _tar(data, uri, options, budget)
        elif packed.is_packed(data):
            results = _single(data, uri, options, budget)
        else:
            raise ExtractionError("parser_error", f"{uri}: not an archive, whatever its name says; look at the file")
        joined = ExtractionResult([], [])
        for result in results:
            joined.documents.extend(result.documents)
            joined.rejects.extend(result.rejects)
    if not joined.documents and not joined.rejects:
        raise ExtractionError("empty", f"{uri}: no file is in the archive")
    if not joined.documents and all(reject.uri == uri for reject in joined.rejects):
        raise ExtractionError(joined.rejects[0].reason, joined.rejects[0].detail)  # of the archive, not of a member
    return joined


def _zip(data: bytes, uri: str, options: ExtractOptions, budget: Budget) -> Iterator[ExtractionResult]:
    try:
        archive = ZipMembers(data, uri, budget.left, options.max_archive_members)
    except ExtractionError as error:
        if error.reason != "parser_error":
            raise
        damage = error
    else:
        for member in archive.members:
            if not member.name.startswith(_HIDDEN):
                yield _zip_member(archive, member, uri, options, budget)
        return
    # Cut or damaged: the directory at its end is lost, the headers before each member may be whole.
    position = 0
    for name, start, end, content in zip_recovery.members(data, uri, budget.left, options.max_archive_members):
        position = end
        yield _member(content, uri, name, start, end, options, budget)
    yield ExtractionResult([], [Reject(position, len(data), damage.reason, uri, damage.message)])


def _zip_member(
    archive: ZipMembers, member: Member, uri: str, options: ExtractOptions, budget: Budget
) -> ExtractionResult:
    try:
        content = archive.read_member(member, budget.left, OPTION)
    except ExtractionError as error:
        return _refused(error, uri, member.name, member.start, member.end)
    return _member(content, uri, member.name, member.start, member.end, options, budget)


def _tar(data: bytes, uri: str, options: ExtractOptions, budget: Budget) -> Iterator[ExtractionResult]:
    position = 0
    members = tar_members.members(data, uri, budget, options.max_archive_members)
    try:
        for member in members:
            position = member.end
            if member.fault is not None:
                yield _refused(member.fault, uri, member.name, member.start, member.end)
            else:
                yield extract_child(member.data, uri, member.name, None, options, member.start, member.end)
    except ExtractionError as error:  # of the stream: whatever follows cannot be read
        yield ExtractionResult([], [Reject(position, position, error.reason, uri, error.message)])


def _single(data: bytes, uri: str, options: ExtractOptions, budget: Budget) -> Iterator[ExtractionResult]:
    content, is_whole = packed.unpack_all(data, budget.left, uri, OPTION)
    damage = ExtractionError("parser_error", f"{uri}: the archive is cut or damaged; fetch it again")
    if not content and not is_whole:
        raise damage
    yield _member(content, uri, _unpacked_name(uri), 0, len(content), options, budget)
    if not is_whole:
        yield ExtractionResult([], [Reject(len(content), len(content), damage.reason, uri, damage.message)])


def _member(
    content: bytes, uri: str, name: str, start: int, end: int, options: ExtractOptions, budget: Budget
) -> ExtractionResult:
    try:
        budget.spend(len(content), uri)
    except ExtractionError as error:
        return _refused(error, uri, name, start, end)
    return extract_child(content, uri, name, None, options, start, end)


def _refused(error: ExtractionError, uri: str, name: str, start: int, end: int) -> ExtractionResult:
    """A member that was not unpacked; its name may be as hostile as its content."""
    try:
        place = child_uri(uri, name)
    except ExtractionError as unsafe:
        place, error = uri + "!/", unsafe
    return ExtractionResult([], [Reject(start, end, error.reason, place, error.message)])


def _unpacked_name(uri: str) -> str:
    name = posixpath.basename(uri)
    stem, _, extension = name.rpartition(".")
    inner = _PACKED_EXTENSIONS.get(extension.lower())
    if not stem or inner is None:
        return name or "content"
    return f"{stem}.{inner}" if inner else stem
