"""`ingot why` and `ingot trace document` over a generated store of a million documents, beside the planted truth.

    python benchmarks/answers.py [--documents 1000000] [--bytes 1000] [--answers 2000] [--folder FOLDER]

The store is written by our own writers from generated rows (`tests/base/planted_store.py`): three sources, two corpus
versions, one model. Questions: by document id, by uri, by SOURCE:URI, by the end of a uri, by file, by a place inside a
file. Every answer is the command's own `--json`, compared with the truth, in one process (warm); some are asked again
in a process of their own each (cold), as at a prompt. Takes about ten minutes and 2 GB of disk for a million.
"""

import argparse
import contextlib
import io
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from interface.cli import main as ingot  # noqa: E402
from tests.base.planted_store import PlantedStore, build, reopen  # noqa: E402

COLD_EACH = 3
KINDS = ("id", "uri", "source:uri", "end of uri", "file", "place in a file")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--bytes", type=int, default=1000, help="mean text of a document")
    parser.add_argument("--answers", type=int, default=2000, help="questions, half of them why and half trace")
    parser.add_argument("--folder", help="the store is kept here and asked again by the next run; default: temporary")
    options = parser.parse_args()
    if options.folder:
        measure(Path(options.folder), options)
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options)


def measure(folder: Path, options: argparse.Namespace) -> None:
    draw = random.Random(9)
    started = time.monotonic()
    files = draw.sample(range(options.documents * 4 // 5), 200)
    is_there = (folder / "store").is_dir()
    if is_there:
        planted = reopen(folder, options.documents, mean_bytes=options.bytes)
    else:
        planted = build(folder, options.documents, mean_bytes=options.bytes, files=files)
    size = sum(path.stat().st_size for path in planted.root.rglob("*") if path.is_file())
    built = time.monotonic() - started
    done = "read" if is_there else "written"
    print(f"{options.documents:,} documents, store of {size / 1e9:.2f} GB {done} in {built:.0f} s", flush=True)
    os.environ |= {"INGOT_STORE": str(planted.root), "INGOT_HOME": str(folder / "home")}
    asked = [
        (verb, kind, *question(planted, kind, draw, files))
        for verb in ("why", "trace")
        for kind in (draw.choices(KINDS, weights=(5, 1, 1, 1, 1, 1), k=options.answers // 2))
    ]
    seconds: dict[tuple[str, str], list[float]] = {}
    wrong = 0
    for verb, kind, query, document in asked:
        wall, cpu = time.perf_counter(), time.process_time()
        answer = ask(verb, query)
        seconds.setdefault((verb, kind), []).append(time.perf_counter() - wall)
        seconds.setdefault((verb, f"{kind} cpu"), []).append(time.process_time() - cpu)
        if answer != truth(planted, verb, document):
            wrong += 1
            print(f"WRONG: {verb} {query}", flush=True)
    print(f"{len(asked):,} answers, {wrong} unlike the truth")
    print(
        f"{'warm, seconds':24s} {'answers':>8s} {'median':>8s} {'slowest':>8s} {'cpu median':>10s} {'cpu slowest':>11s}"
    )
    for (verb, kind), times in sorted(seconds.items()):
        if not kind.endswith(" cpu"):
            cpu = seconds[verb, f"{kind} cpu"]
            row = f"{len(times):8,} {statistics.median(times):8.3f} {max(times):8.3f}"
            print(f"{verb + ' by ' + kind:24s} {row} {statistics.median(cpu):10.3f} {max(cpu):11.3f}")
    print("cold, seconds of a process of its own: wall median, processor median, processor slowest")
    for verb in ("why", "trace"):
        for kind in KINDS:
            walls, cpus = zip(
                *(cold(verb, question(planted, kind, draw, files)[0]) for _ in range(COLD_EACH)), strict=True
            )
            row = f"{statistics.median(walls):8.3f} {statistics.median(cpus):8.3f} {max(cpus):8.3f}"
            print(f"{verb + ' by ' + kind:24s} {row}")
    if wrong:
        raise SystemExit(1)


def question(planted: PlantedStore, kind: str, draw: random.Random, files: list[int]) -> tuple[str, int]:
    """(query, document that it means)."""
    if kind == "file":
        i = draw.choice(files)
        return str(planted.sources / "wiki" / planted.uri(i)), i
    if kind == "place in a file":
        i = draw.randrange(planted.num_wiki, planted.num_documents)
        return planted.uri(i), i
    if kind == "id":
        i = draw.randrange(planted.num_documents)
        return planted.ids[i].hex(), i
    i = draw.randrange(planted.num_wiki)
    uri = planted.uri(i)
    if kind == "end of uri":
        # A copy in the archive has the same name.
        while planted.is_copied(i):
            i = draw.randrange(planted.num_wiki)
        return planted.uri(i).split("/")[1], i
    return f"wiki:{uri}" if kind == "source:uri" else uri, i


def ask(verb: str, query: str) -> Any:
    """The answer of the command line in this process, without what is no part of the truth."""
    words = ["why", query] if verb == "why" else ["trace", "document", query]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        code = ingot([*words, "--json"])
    if code:
        return code
    answer = json.loads(printed.getvalue())
    if verb == "why":
        return answer["answers"]
    (document,) = answer["documents"]
    names = ("source", "uri", "state")
    places = [{name: place[name] for name in names} for place in document["occurrences"]]
    places.sort(key=lambda place: place["source"])
    return {"occurrences": places, "versions": document["versions"], "models": document["models"]}


def truth(planted: PlantedStore, verb: str, i: int) -> Any:
    if verb == "why":
        return [{"doc_id": planted.ids[i].hex(), **(planted.decided(i, 2) or {})}]
    # The generated model has no record of what its steps read.
    models = [{**model, "read": None} for model in planted.models(i)]
    return {
        "occurrences": planted.occurrences(i), "versions": planted.versions(i), "models": models
    }  # fmt: skip


def cold(verb: str, query: str) -> tuple[float, float]:
    """(wall, processor) seconds of the command as a process."""
    words = ["why", query] if verb == "why" else ["trace", "document", query]
    before, wall = os.times(), time.perf_counter()
    command = [sys.executable, "-m", "interface.cli", *words, "--json"]
    root = str(Path(__file__).parents[1])
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": root})
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - wall, cpu


if __name__ == "__main__":
    main()
