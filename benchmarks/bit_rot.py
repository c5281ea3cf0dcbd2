"""How many damaged files are read back wrong without a word: plain pyarrow beside what Ingot writes and reads.

    python benchmarks/bit_rot.py [--trials 10000] [--rows 2000] [--seed 1]

One file each, the same rows; every trial damages a fresh copy in one place and reads it whole. "silent" is a read that
gave other rows and no error, "harmless" one that gave the right rows. Takes about four minutes for 10,000 trials.
"""

import argparse
import io
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ingot import parquet
from ingot.errors import IntegrityError
from ingot.storage import Store

BLOCK_BYTES = 4096
ROWS_PER_GROUP = 500

Damage = Callable[[bytes, random.Random], bytes]
Read = Callable[[bytes], pa.Table]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000, help="damaged copies of each kind and system")
    parser.add_argument("--rows", type=int, default=2000, help="rows of the file")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rows = made_up(arguments.rows)
    print(f"{arguments.rows:,} rows, {arguments.trials:,} trials each, seed {arguments.seed}, pyarrow {pa.__version__}")
    print(f"{'':34s} {'bytes':>9s}  {'damage':14s} {'refused':>8s} {'harmless':>8s} {'silent':>8s}  silent %")
    with tempfile.TemporaryDirectory() as folder:
        for name, (whole, read) in systems(rows, Path(folder)).items():
            for kind, damage in KINDS.items():
                seen = trials(whole, read, damage, rows, arguments.trials, random.Random(arguments.seed))
                silent = 100 * seen["silent"] / arguments.trials
                print(
                    f"{name:34s} {len(whole):9,}  {kind:14s} {seen['refused']:8,} {seen['harmless']:8,} "
                    f"{seen['silent']:8,}  {silent:7.2f}",
                    flush=True,
                )


def made_up(num_rows: int) -> pa.Table:
    """Documents of a hundred words or so; the same on every machine."""
    chosen = random.Random(7)
    words = [f"{a}{b}" for a in ("har", "qu", "fer", "an", "lam", "dred") for b in ("bour", "ay", "ry", "chor", "ps")]
    texts = [f"{number} {' '.join(chosen.choices(words, k=100))}" for number in range(num_rows)]
    return pa.table({"number": pa.array(range(num_rows)), "text": pa.array(texts, pa.large_string())})


def systems(rows: pa.Table, folder: Path) -> dict[str, tuple[bytes, Read]]:
    """File and reader of each: pyarrow's defaults, pyarrow with page checksums, Ingot."""
    found: dict[str, tuple[bytes, Read]] = {}
    for codec in ("none", "snappy", "zstd"):
        found[f"pyarrow {codec}"] = (pyarrow_file(rows, codec, False), lambda data: pq.read_table(io.BytesIO(data)))
    found["pyarrow zstd, page checksums"] = (
        pyarrow_file(rows, "zstd", True),
        lambda data: pq.read_table(io.BytesIO(data), page_checksum_verification=True),
    )
    store = Store(str(folder))
    written = parquet.write_table(store, rows, "shards")
    path = folder / written.key

    def read(data: bytes) -> pa.Table:
        path.write_bytes(data)
        # In life a file is hashed once; here it changes faster than the clock of the file system ticks.
        parquet._is_intact_once.cache_clear()
        return parquet.read_table(store, written.key)

    found["ingot"] = (path.read_bytes(), read)
    return found


def pyarrow_file(rows: pa.Table, codec: str, with_checksums: bool) -> bytes:
    sink = io.BytesIO()
    pq.write_table(rows, sink, compression=codec, write_page_checksum=with_checksums, row_group_size=ROWS_PER_GROUP)
    return sink.getvalue()


def flip_a_bit(data: bytes, chosen: random.Random) -> bytes:
    changed = bytearray(data)
    changed[chosen.randrange(len(changed))] ^= 1 << chosen.randrange(8)
    return bytes(changed)


def zero_a_block(data: bytes, chosen: random.Random) -> bytes:
    start = chosen.randrange(max(1, len(data) // BLOCK_BYTES)) * BLOCK_BYTES
    block = data[start : start + BLOCK_BYTES]
    return data[:start] + bytes(len(block)) + data[start + len(block) :]


def cut(data: bytes, chosen: random.Random) -> bytes:
    return data[: chosen.randrange(1, len(data))]


KINDS: dict[str, Damage] = {"a flipped bit": flip_a_bit, "a zeroed block": zero_a_block, "cut": cut}


def trials(
    whole: bytes, read: Read, damage: Damage, rows: pa.Table, number: int, chosen: random.Random
) -> Counter[str]:
    """What happened to so many damaged copies."""
    seen: Counter[str] = Counter()
    for _ in range(number):
        try:
            same = read(damage(whole, chosen)).equals(rows)
        except (IntegrityError, OSError, ValueError, KeyError, MemoryError, pa.ArrowException):
            seen["refused"] += 1
        else:
            seen["harmless" if same else "silent"] += 1
    return seen


if __name__ == "__main__":
    main()
