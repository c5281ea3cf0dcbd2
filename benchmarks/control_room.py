"""What the control room costs: start, rest, a click on Run, orchestration beside the same functions alone, size.

    python benchmarks/control_room.py [start] [click] [overhead] [size] [--minutes 10] [--units 10000] [--runs 500]

Each part uses a home folder of its own and takes its stack down again. All four take about an hour with the
defaults; `overhead` runs the same curation twice, so it takes twice --minutes.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datasets_pipeline.curate import curate
from datasets_pipeline.parallel import open_pool
from deployments import local_stack, ports, processes, services
from deployments.prefect_api import Server
from ingot import manifest, store_identity
from ingot.ledger import Actor
from ingot.recipe_files import load_recipe
from ingot.settings import Settings
from ingot.storage import Store

PARTS = ("start", "click", "overhead", "size")
_WORDS = ("the", "a", "of", "machine", "record", "night", "page", "says", "after", "when", "valve", "furnace", "report",
          "team", "line", "sample")  # fmt: skip
RECIPE = """
corpus: {name}
sources:
  - {{source: folder, name: {name}, uri: {documents}, licence: internal}}
rules:
  - {{rule: language, keep: [en]}}
  - {{rule: length, min_words: 20}}
  - {{rule: gopher_quality, max_non_alpha_words_ratio: 0.1}}
  - {{rule: gopher_repetition}}
  - {{rule: pii, policy: redact}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=PARTS, help=f"any of {', '.join(PARTS)}")
    parser.add_argument("--minutes", type=float, default=10.0, help="length of the curation of `overhead`")
    parser.add_argument("--units", type=int, default=10_000, help="units of the curation of `size`")
    parser.add_argument("--runs", type=int, default=500, help="flow runs and MLflow runs of `size`")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    print(f"{len(os.sched_getaffinity(0))} cores, load {load:.1f} at the start (quote nothing measured above 1)")
    for part in arguments.parts:
        with tempfile.TemporaryDirectory(prefix="control-room-") as folder:
            globals()[part](Path(folder), arguments)


@contextmanager
def stack(folder: Path, **more: str) -> Iterator[tuple[Settings, float]]:
    """A stack in a home of its own, and the seconds `ingot up` took."""
    foreign = ("INGOT_", "PREFECT_", "MLFLOW_", "_INGOT_")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    environment = {**clean, "INGOT_HOME": str(folder / "home"), "PYTHONPATH": str(services.root_folder()), **more}
    settings = Settings.from_environment(environment)
    begun = time.monotonic()
    try:
        ingot(settings, "up")
        yield settings, time.monotonic() - begun
    finally:
        local_stack.down(settings)


def ingot(settings: Settings, *arguments: str) -> dict[str, Any]:
    """The JSON answer of a command, run as a user runs it."""
    command = [sys.executable, "-m", "interface.cli", *arguments, "--json"]
    done = subprocess.run(command, env=dict(settings.environ), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed: {done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def start(folder: Path, arguments: argparse.Namespace) -> None:
    """Seconds until everything answers, memory at rest, sockets."""
    with stack(folder) as (settings, first):
        local_stack.down(settings)
        begun = time.monotonic()
        ingot(settings, "up")
        again = time.monotonic() - begun
        time.sleep(45)  # let caches and first passes settle
        running = local_stack.stack_processes(settings)
        print(f"start: first {first:.0f} s, later {again:.0f} s (goal 40 s)")
        print(f"rest: {processes.memory_bytes(running) >> 20} MiB PSS in {len(running)} processes (goal 1,536 MiB)")
        print(f"sockets: {', '.join(f'{host}:{port}' for host, port in ports.listening_sockets(running))}")


def click(folder: Path, arguments: argparse.Namespace) -> None:
    """Seconds from a click on Run until the flow's own code runs, five times."""
    documents = write_documents(folder / "documents", 20)
    recipe = write_recipe(folder, "tiny", documents)
    with stack(folder, INGOT_WORKERS="0") as (settings, _):
        ingot(settings, "schedule", str(recipe), "--cron", "0 2 * * *")
        server = local_stack.prefect_server(settings)
        deployment = server.get("/deployments/name/curate%20corpus/tiny")["id"]
        waits = []
        for _ in range(5):
            run = server.post(f"/deployments/{deployment}/create_flow_run", {})
            clicked = time.monotonic()
            while server.get(f"/flow_runs/{run['id']}")["state_type"] in ("SCHEDULED", "PENDING"):
                time.sleep(0.1)
            waits.append(time.monotonic() - clicked)
            wait_for_end(server, run["id"])
        print(f"click: work starts after {statistics.median(waits):.1f} s, at most {max(waits):.1f} s (goal 15 s)")


_PROBES = (2_000, 20_000)


def overhead(folder: Path, arguments: argparse.Namespace) -> None:
    """One curation as a flow (Prefect, Dask, MLflow, manifests), and by the same functions without a server."""
    probe = write_documents(folder / "probe", 2_000)
    alone = Settings.from_environment({"INGOT_HOME": str(folder / "alone"), "INGOT_WORKERS": "1"})
    # One salt: both stores hold out the same documents, so both runs must make the same corpus.
    salt = store_identity.initialise(Store(alone.store))
    curate_alone(alone, write_recipe(folder, "warm", probe))  # compile
    # The difference of two sizes: what a run costs whatever its size would make the documents look slow.
    few, many = (
        curate_alone(alone, write_recipe(folder, f"probe-{num}", write_documents(folder / f"probe-{num}", num, seed=1)))
        for num in _PROBES
    )
    rate = (_PROBES[1] - _PROBES[0]) / (many - few)
    number = round(rate * arguments.minutes * 60)
    print(f"overhead: {number:,} documents of about 2 kB, one worker, {rate:,.0f} documents a second in the probe")
    recipe = write_recipe(folder, "long", write_documents(folder / "documents", number, seed=2))
    with stack(folder, INGOT_WORKERS="1") as (settings, _):
        store_identity.initialise(Store(settings.store), salt=salt)
        # Kernels are compiled once a home: start-up, which is not what is compared here.
        shutil.copytree(alone.home / "numba", settings.home / "numba", dirs_exist_ok=True)
        begun = time.monotonic()
        corpus = ingot(settings, "curate", str(recipe))["corpus"]
        whole = time.monotonic() - begun
        server = local_stack.prefect_server(settings)
        # The coming nights are runs too, and the server sorts them before what has started.
        started = {"flow_runs": {"start_time": {"is_null_": False}}, "limit": 1, "sort": "START_TIME_DESC"}
        (run,) = server.post("/flow_runs/filter", started)
        tasks = server.post("/task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
        first = min(task["start_time"] for task in tasks if task["start_time"])
        worked = seconds_between(first, run["end_time"])
    seconds = curate_alone(alone, recipe)
    same = manifest.read(Store(alone.store), "long", 1).identity.content_digest == corpus["content_digest"]
    assert same, "the two runs made different corpora"
    print(f"overhead: as a flow {worked:.1f} s from its first step to its end, alone {seconds:.1f} s: "
          f"{100 * (worked / seconds - 1):+.1f} % (goal at most +5 %)")  # fmt: skip
    print(f"overhead: starting the command, its connections and its worker took {whole - worked:.1f} s more")


def curate_alone(settings: Settings, recipe: Path) -> float:
    """Seconds of a curation by the same functions with the same kind of worker, without any server."""
    store = Store(settings.store, scratch_root=settings.scratch)
    with open_pool(settings.workers, scratch=settings.scratch, numba_cache=settings.home / "numba") as pool:
        begun = time.monotonic()
        curate(store, load_recipe(recipe), settings, pool, actor=Actor("service", "benchmark", "declared"))
        return time.monotonic() - begun


def size(folder: Path, arguments: argparse.Namespace) -> None:
    """Many units in one run and many runs: how large the databases get and how long the pages' questions take."""
    recipe = write_recipe(folder, "many", write_documents(folder / "documents", arguments.units))
    with stack(folder, INGOT_UNIT_BYTES="1", INGOT_WORKERS="1") as (settings, _):
        ingot(settings, "curate", str(recipe))
        units = len([key for key in Store(settings.store).list("documents/") if key.endswith(".parquet")])
        report_size(settings, f"size: after one run over {units:,} units")
        code = _MANY_RUNS.format(runs=arguments.runs)
        environment = {**settings.environ, **local_stack.environment(local_stack.status(settings))}
        subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)
        report_size(settings, f"size: after {arguments.runs} flow runs and {arguments.runs} MLflow runs more")


_MANY_RUNS = """
import os
from prefect import flow, task
from ingot import tracking
@task
def step(): pass
@flow
def small():
    step()
for number in range({runs}):
    small()
    with tracking.open_run(os.environ["MLFLOW_TRACKING_URI"], experiment="many", run_key=f"run-{{number}}",
                           name=f"run {{number}}", params={{"number": number}}) as run:
        run.log_metric_lines([{{"time": 1.7e9 + s, "step": s, "loss": 5.0 - s / 100}} for s in range(100)])
"""


def report_size(settings: Settings, what: str) -> None:
    """Bytes of both databases, and the milliseconds of the questions behind the lists of runs."""
    from deployments import credentials, prefect_api

    server = local_stack.prefect_server(settings)
    state = local_stack.status(settings)
    databases = {name: (settings.home / name / f"{name}.db").stat().st_size for name in ("prefect", "mlflow")}
    asked = {
        "Prefect's list of runs": lambda: server.post("/flow_runs/paginate", {"limit": 50, "sort": "START_TIME_DESC"}),
        "Prefect's artifacts": lambda: server.post("/artifacts/latest/filter", {"limit": 50}),
        "MLflow's experiments": lambda: prefect_api.get(
            f"{state.mlflow_url}/api/2.0/mlflow/experiments/search?max_results=50",
            credential=credentials.read(settings.home), timeout_seconds=30,
        ),
    }  # fmt: skip
    times = []
    for name, ask in asked.items():
        ask()
        begun = time.monotonic()
        for _ in range(5):
            ask()
        times.append(f"{name} {(time.monotonic() - begun) * 200:.0f} ms")
    print(f"{what}: " + ", ".join(f"{name}.db {size / 1e6:.1f} MB" for name, size in databases.items()))
    print(f"      {', '.join(times)}")


def wait_for_end(server: Server, run: str) -> None:
    while server.get(f"/flow_runs/{run}")["state_type"] in ("SCHEDULED", "PENDING", "RUNNING"):
        time.sleep(0.2)


def seconds_between(first: str, last: str) -> float:
    from datetime import datetime

    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()


def write_documents(folder: Path, number: int, seed: int = 0) -> Path:
    """Made-up pages of about 2 kB, each of its own words; 500 to a folder."""
    choose = random.Random(seed)
    for index in range(number):
        place = folder / f"{index // 500:05d}"
        place.mkdir(parents=True, exist_ok=True)
        sentences = (" ".join(choose.choices(_WORDS, k=9)).capitalize() for _ in range(40))
        text = ". ".join(f"{sentence} {choose.randrange(10**6)}" for sentence in sentences)
        (place / f"{index:07d}.md").write_text(f"# Page {seed}-{index}\n\n{text}.\n")
    return folder


def write_recipe(folder: Path, name: str, documents: Path) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(RECIPE.format(name=name, documents=documents))
    return path


if __name__ == "__main__":
    main()
