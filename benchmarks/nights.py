"""Thirty nights of real documentation: equal to one run, and what each of them costs.

    python benchmarks/nights.py [--nights 30]

The versions of Kafka's and etcd's documentation replace one another as their publishers put them out; a version that
stays for several nights has 3 % of a page changed in each of them. Prints for every night what was new, what was
compared and the processor time, a line fitted through them, and whether the last night is, byte for byte, what one
run over the same files in a new store gives.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ingot.storage import Store  # noqa: E402
from tests.curation.pages import edited  # noqa: E402
from tests.real.test_versions import curate_night, versions  # noqa: E402


def with_edits(nights: list[dict[str, Path]], folder: Path) -> list[dict[str, Path]]:
    """The nights, those that repeat a version with 3 % of one more page changed."""
    told: list[dict[str, Path]] = []
    for number, sites in enumerate(nights):
        mine = dict(sites)
        for site, place in sites.items():
            if number and nights[number - 1][site] == place:
                copy = folder / f"{site}-{number}"
                shutil.copytree(told[-1][site], copy)
                pages = sorted(p for p in copy.rglob("*") if p.suffix in (".md", ".html") and p.stat().st_size > 4000)
                page = pages[number % len(pages)]
                page.write_text(edited(page.read_text(errors="replace"), number))
                mine[site] = copy
        told.append(mine)
    return told


def main() -> None:
    """Feed the nights; compare the last one with one run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=int, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        nights = with_edits(versions(options.nights, folder / "versions"), folder / "edited")
        fed, alone = (Store(str(folder / name), scratch_root=folder / "scratch") for name in ("fed", "alone"))
        rows = []
        for number, sites in enumerate(nights):
            begun = time.process_time()
            last = curate_night(fed, folder / "home", sites, folder / "place")
            spent = time.process_time() - begun
            looks = last.published.provenance["sources"].values()
            read = sum(look["files"]["read"] for look in looks)
            pairs = last.published.provenance["pairs"]
            documents = last.published.identity.accounting["documents"]
            rows.append((read, pairs["measured"], documents, spent))
            print(f"night {number + 1:2}: {read:4} files new or changed of {documents:4} documents, "
                  f"{pairs['measured']:5} pairs compared, {pairs['from_history']:5} known, {spent:5.2f} s")  # fmt: skip
        once = curate_night(alone, folder / "home", nights[-1], folder / "place")
        small = [row for row in rows if row[0] <= 2]
        factors, *_ = np.linalg.lstsq(np.array([[r[0], 1.0] for r in rows[1:]]), np.array([r[3] for r in rows[1:]]))
        print(f"seconds = {factors[1]:.2f} + {1000 * factors[0]:.1f} ms a file that is new or changed")
        if small:
            print(f"{len(small)} nights with an edit or two: {np.median([row[3] for row in small]):.2f} s (median)")
        same = last.published.identity_digest == once.published.identity_digest
        same &= last.published.identity.root_digest == once.published.identity.root_digest
        print(f"the last night in one run in a new store: {'the same bytes' if same else 'OTHER bytes'}")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
