"""Reading the objects of a git repository that may be hostile, without letting it decide anything.

git runs on a private git directory with a configuration of ours. Of the foreign repository it sees pack files
and loose objects only, by links from the private object folder: not its configuration, hooks, attributes,
replacement refs, alternates or remotes, so nothing of it is run and nothing is fetched. Refs are read here, as
text. The processes that read foreign packs get no network protocol and bounded memory.

Costs: listing a tree is one process; the dates of commits are one walk over the history; files are read by one
`git cat-file --batch` that is kept open: 3,400 small files a second against 205 with a process each.
"""

import hashlib
import os
import re
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from datasets_pipeline.sources.base import MEBIBYTE, ExtractionError
from datasets_pipeline.sources.git_folder import (
    MAX_REF_BYTES,
    check_objects,
    follow,
    git_folder,
    holds_files_only,
    object_folders,
    packed_refs,
    read_ref_file,
    resolve_ref,
    shallow_commits,
)
from ingot.errors import DataError, NotFoundError, RecipeError

_HEADER = re.compile(rb"/([0-9a-f]{40}|[0-9a-f]{64}) (\d{4}-\d{2}-\d{2})?\Z")
_ENTRY = re.compile(rb"([0-7]{6}) ([a-z]+) ([0-9a-f]{40,64}) +(-|BAD|\d+)\t(.+)\Z", re.DOTALL)

_MAX_PATH_BYTES = 65536
_MAX_FILES = 5_000_000
"""A tree that names another ten times, ten levels deep, holds ten billion files in a kilobyte."""
_MAX_NAMES = 100_000_000
_MEMORY_BYTES = 8 << 30
_MAX_COMMIT_BYTES = 16 * MEBIBYTE
_BLOCK_BYTES = 65536

_CONFIG = """[core]
	repositoryformatversion = {format_version}
	bare = true
	hooksPath = /dev/null
	attributesFile = /dev/null
	fsmonitor = false
	commitGraph = false
	multiPackIndex = false
	packedGitWindowSize = 32m
	packedGitLimit = 512m
[extensions]
	objectFormat = {object_format}
[gc]
	auto = 0
[maintenance]
	auto = false
[protocol]
	allow = never
[log]
	showSignature = false
	mailmap = false
"""


@dataclass(frozen=True)
class TreeFile:
    """One entry of a commit's tree. kind: blob or commit (a submodule); size: bytes of a blob, 0 of a missing one."""

    path: bytes
    mode: str
    kind: str
    oid: str
    size: int


class Repository:
    """The objects of the repository at a path, until it is closed. Raises DataError for one that cannot be trusted."""

    def __init__(self, place: str) -> None:
        self._program = _git_program()
        self._foreign = git_folder(place)
        self._place = place
        self._pid = os.getpid()
        self._batch: subprocess.Popen[bytes] | None = None
        check_objects(self._foreign)
        head = read_ref_file(self._foreign, "HEAD") or ""
        self._packed = packed_refs(self._foreign)
        some_hash = follow(self._foreign, self._packed, head) or next(iter(self._packed.values()), "0" * 40)
        self._shallow = shallow_commits(self._foreign)
        self._folder = Path(tempfile.mkdtemp(prefix="ingot-git-"))
        self._prepare("sha256" if len(some_hash) == 64 else "sha1")

    def __enter__(self) -> "Repository":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the reading process and remove the private folder; nothing in a forked child, where they are not its."""
        if self._pid != os.getpid():
            return
        self._end_batch()
        shutil.rmtree(self._folder, ignore_errors=True)

    def resolve(self, revision: str) -> str:
        """The commit behind a branch, a tag, a hash or HEAD. Raises NotFoundError."""
        named = ["HEAD"] if revision == "HEAD" else []
        named += [f"{prefix}{revision}" for prefix in ("refs/tags/", "refs/heads/", "refs/remotes/")]
        named += [revision] if revision.startswith("refs/") else []
        hashes = [revision] if re.fullmatch(r"[0-9a-f]{4,64}", revision) else []
        found = (resolve_ref(self._foreign, self._packed, name) for name in named)
        for candidate in [*hashes, *(name for name in found if name)]:
            answer = self._ask(candidate + "^{commit}", _MAX_COMMIT_BYTES)
            if answer is not None:
                return answer[0]
        branches = sorted(n.removeprefix("refs/heads/") for n in self._packed if n.startswith("refs/heads/"))
        hint = f"; packed branches: {', '.join(branches[:10])}" if branches else ""
        hint += "; its refs are a reftable, so give a commit's hash" if (self._foreign / "reftable").exists() else ""
        raise NotFoundError(
            f"revision {revision!r} is no commit of the repository {self._place}; fetch it there or name another{hint}"
        )

    def files(self, commit: str) -> Iterator[TreeFile]:
        """Every file, link and submodule of a commit. Raises DataError for a tree that git cannot read."""
        for number, token in enumerate(self._tokens("ls-tree", "-r", "-l", "-z", "--full-tree", commit)):
            found = _ENTRY.match(token)
            if found is None or number >= _MAX_FILES:
                raise DataError(
                    f"the tree of commit {commit[:12]} in {self._place} is not one this reads (more than "
                    f"{_MAX_FILES:,} files, or damaged); run `git fsck` there"
                )
            mode, kind, oid, size, path = found.groups()
            yield TreeFile(path, mode.decode(), kind.decode(), oid.decode(), int(size) if size.isdigit() else 0)

    def commit_dates(self, commit: str, wanted: Collection[bytes]) -> dict[bytes, str]:
        """Author date (ISO 8601, in the author's time zone) of the last commit that touched each path.

        A merge touches what differs from all its parents. Commits at which a shallow clone was cut say nothing:
        what they seem to add is older. Stops as soon as every wanted path is dated.
        """
        missing, dates = set(wanted), {}
        walk = ("log", "-z", "-c", "--name-only", "--no-renames", "--no-ext-diff", "--no-textconv", "--date-order")
        date: str | None = None
        tokens = self._tokens(*walk, "--format=tformat:/%H %as", "--end-of-options", commit)
        for number, token in enumerate(tokens):
            header = _HEADER.match(token)
            if header is not None:
                is_cut = header.group(1).decode() in self._shallow
                date = None if is_cut or not header.group(2) else header.group(2).decode()
                known = not is_cut
                continue
            path = token.removeprefix(b"\n")
            if known and path in missing:
                missing.discard(path)
                if date is not None:
                    dates[path] = date
            if not missing or number >= _MAX_NAMES:
                break
        return dates

    def blob(self, oid: str, max_bytes: int) -> bytes:
        """The content of a file, checked against its id. Raises ExtractionError too_large or unreadable."""
        answer = self._ask(oid, max_bytes)
        if answer is None and self._link_objects():  # written since this repository was opened
            answer = self._ask(oid, max_bytes)
        if answer is None or answer[1] != "blob" or _blob_id(answer[2], len(oid)) != oid:
            raise ExtractionError(
                "unreadable", f"object {oid[:12]} is missing or damaged; run `git fsck` there, or fetch it"
            )
        return answer[2]

    def _ask(self, name: str, max_bytes: int) -> tuple[str, str, bytes] | None:
        """(id, kind, content) of an object; None when it is missing or ends the process that reads it, twice."""
        for _ in range(2):
            try:
                return self._answer(name, max_bytes)
            except ExtractionError:
                raise
            except (OSError, ValueError):
                self._end_batch()
        return None

    def _answer(self, name: str, max_bytes: int) -> tuple[str, str, bytes] | None:
        if self._batch is None or self._batch.poll() is not None:
            self._batch = self._start("cat-file", "--batch")
        source, sink = self._batch.stdout, self._batch.stdin
        assert source is not None and sink is not None
        sink.write(name.encode() + b"\n")
        sink.flush()
        header = source.readline(MAX_REF_BYTES).decode("ascii", "replace").split()
        if len(header) == 2 and header[1] in ("missing", "ambiguous"):
            return None
        if len(header) != 3:
            raise ValueError("not an answer of cat-file")
        oid, kind, size = header[0], header[1], int(header[2])
        if size > max_bytes:
            self._end_batch()  # cheaper than reading what nobody wants
            raise ExtractionError("too_large", f"object {oid[:12]}: larger than the limit ({max_bytes:,} bytes)")
        data = source.read(size)
        if len(data) != size or source.read(1) != b"\n":
            raise ValueError("a cut answer of cat-file")
        return oid, kind, data

    def _end_batch(self) -> None:
        if self._batch is not None:
            _end(self._batch)
        self._batch = None

    def _tokens(self, *arguments: str) -> Iterator[bytes]:
        """What git prints, cut at NUL. Raises DataError when it fails; a caller that stops early ends it."""
        with self._run(*arguments) as process:
            assert process.stdout is not None
            rest = b""
            while block := process.stdout.read(_BLOCK_BYTES):
                *whole, rest = (rest + block).split(b"\0")
                yield from whole
                if len(rest) > _MAX_PATH_BYTES:
                    break
            status = process.wait() if not rest else 1
            if status:
                raise DataError(
                    f"git {arguments[0]} cannot read the repository {self._place} (exit status {status}); run "
                    "`git fsck` there; a partial clone needs its missing objects fetched"
                    + (", or set commit_dates: false" if arguments[0] == "log" else "")
                )

    @contextmanager
    def _run(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        process = self._start(*arguments)
        try:
            yield process
        finally:
            _end(process)

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [self._program, "--no-pager", "--no-replace-objects", "--literal-pathspecs", *arguments],
            stdin=subprocess.PIPE if arguments[0] == "cat-file" else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # messages may quote what they failed on
            cwd=self._folder,
            env=_environment(self._folder),
        )
        with suppress(OSError, ValueError):
            resource.prlimit(process.pid, resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
            resource.prlimit(process.pid, resource.RLIMIT_CORE, (0, 0))
        return process

    def _link_objects(self) -> bool:
        """Link what object folders there are; True when there was one more.

        Links instead of an alternates file: of `objects/info` of the foreign repository nothing is read.
        """
        linked = set(os.listdir(self._folder / "objects"))
        objects = self._foreign / "objects"
        new = [n for n in object_folders(self._foreign) if n not in linked and holds_files_only(objects / n)]
        for name in new:
            (self._folder / "objects" / name).symlink_to((objects / name).absolute())
        return bool(new)

    def _prepare(self, object_format: str) -> None:
        """Write the private git directory."""
        is_plain = object_format == "sha1"
        text = _CONFIG.format(format_version=0 if is_plain else 1, object_format=object_format)
        if is_plain:
            text = text.replace("[extensions]\n\tobjectFormat = sha1\n", "")
        (self._folder / "config").write_text(text)
        (self._folder / "HEAD").write_text("ref: refs/heads/none\n")
        (self._folder / "refs").mkdir()
        (self._folder / "objects").mkdir()
        self._link_objects()
        if self._shallow:
            (self._folder / "shallow").write_text("".join(f"{commit}\n" for commit in sorted(self._shallow)))


def _git_program() -> str:
    program = shutil.which("git")
    if program is None:
        raise RecipeError("source git needs the program git, which is not on the PATH; install it (apt install git)")
    return program


def _environment(folder: Path) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "LC_ALL": "C",
        "GIT_DIR": str(folder),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
    }


def _end(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError):
                stream.close()
    if process.poll() is None:
        process.kill()
    process.wait()


def _blob_id(data: bytes, length: int) -> str:
    algorithm = hashlib.sha256 if length == 64 else hashlib.sha1
    return algorithm(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
