"""Members of the shared raw documents, unpacked into a temporary folder; skips where they are absent."""

import tarfile
from pathlib import Path

import pytest

RAW_DOCUMENTS = Path(__file__).resolve().parents[3] / "shared" / "data" / "raw_documents"


def unpack(
    source: str, folder: Path, *, suffixes: tuple[str, ...], every: int = 1, limit: int = 60, max_bytes: int = 1 << 30
) -> Path:
    """Every n-th member of `<source>.tar.xz` with one of the suffixes, at most `limit`; the folder they lie in.

    Members of more than max_bytes are passed over.
    """
    archive = RAW_DOCUMENTS / f"{source}.tar.xz"
    if not archive.is_file():
        pytest.skip(f"needs {archive.name} of the shared data (../shared/data/raw_documents), which is not here")
    seen = taken = 0
    with tarfile.open(archive) as members:
        for member in members:
            if not member.isfile() or not member.name.endswith(suffixes) or member.size > max_bytes:
                continue
            seen += 1
            if (seen - 1) % every == 0:
                members.extract(member, folder, filter="data")
                taken += 1
            if taken == limit:
                break
    return folder / source
