"""Which of the shared raw documents give no text, by tools of others (benchmarks/reference_tools.py).

    python benchmarks/expected_failures.py           writes tests/real/expected_failures.tsv

Needs poppler-utils, LibreOffice (with its calc) and maildrop (Debian). Made without ours, and kept: the agreement in
both ways is what benchmarks/raw_documents.py measures.
"""

import sys
import tarfile
import tempfile
from pathlib import Path

from reference_tools import reference

RAW = Path(__file__).resolve().parents[2] / "shared" / "data" / "raw_documents"
LIST = Path(__file__).resolve().parents[1] / "tests" / "real" / "expected_failures.tsv"


def main() -> None:
    """Unpack every source, ask the tools, write the list."""
    rows = []
    cache = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.gettempdir()) / "ingot-reference"
    with tempfile.TemporaryDirectory() as folder:
        for archive in sorted(RAW.glob("*.tar.xz")):
            with tarfile.open(archive) as members:
                members.extractall(folder, filter="data")
            found = [path for path in sorted(Path(folder, archive.name.split(".")[0]).rglob("*")) if path.is_file()]
            for path in found:
                known = reference(path, cache)
                if known.reason:
                    rows.append((path.relative_to(folder).as_posix(), known.reason, known.evidence))
            print(f"{archive.name}: {len(found):,} files, {len(rows):,} listed so far", flush=True)
    lines = ["path\treason\tevidence", *("\t".join(row) for row in sorted(rows))]
    LIST.parent.mkdir(exist_ok=True)
    LIST.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
