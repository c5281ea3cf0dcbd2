"""What happens to a run when workers die, what workers load, and who can talk to them."""

import os
import signal
import socket
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from datasets_pipeline.parallel import DaskPool, Killed, Pool, open_pool
from datasets_pipeline.worker_units import Done
from ingot.errors import RecipeError
from tests.curation.fork_server import ForkServer
from tests.curation.pages import ADDRESS
from tests.curation.road import Road, WatchingPool


class KillingPool(WatchingPool):
    """A pool in which a worker is killed as soon as the first unit of a function has finished."""

    def __init__(self, pool: DaskPool, function: str, num_victims: int = 1) -> None:
        super().__init__(pool)
        self.dask, self.function, self.num_victims = pool, function, num_victims
        self.killed: list[int] = []

    def map(
        self,
        function: Callable[[Any], Any],
        units: Iterable[Any],
        *,
        split: Callable[[Any], Sequence[Any]] | None = None,
    ) -> Iterator[Done | Killed]:
        for item in super().map(function, units, split=split):
            if function.__name__ == self.function and len(units) > 3 and not self.killed:
                self.killed = self.dask.worker_pids()[: self.num_victims]
                for pid in self.killed:
                    os.kill(pid, signal.SIGKILL)
            yield item


def alive(pids: Sequence[int]) -> list[int]:
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize(
    ("function", "num_victims"), [("read_unit", 1), ("analyse_unit", 2)]
)
def test_killed_workers_cost_at_most_their_units_in_flight(
    road: Road, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, num_victims: int
) -> None:
    expected = Road(road.corpus, tmp_path / "calm").run()
    log = tmp_path / "points.log"
    monkeypatch.setenv("INGOT_CRASH_LOG", str(log))
    with open_pool(2, scratch=tmp_path / "pool") as pool:
        assert isinstance(pool, DaskPool)
        killing = KillingPool(pool, function, num_victims)
        found = Road(road.corpus, road.folder, unit_bytes=2_000).run(killing)
        assert len(killing.killed) == num_victims
        assert not alive(killing.killed)
        assert len(alive(pool.worker_pids())) == 2, "the dead are replaced"
    assert found.manifest.identity == expected.manifest.identity
    assert found.reasons == expected.reasons, "nothing is quarantined because of a death that it did not cause"
    # Each worker holds one unit at a time, and may have died with a result that was not fetched yet.
    point = {"read_unit": "acquire.unit.after", "analyse_unit": "analyse.unit.after"}[function]
    finished = Counter(log.read_text().split())[point]
    assert killing.num(function) <= finished <= killing.num(function) + 2 * num_victims


def test_workers_that_died_idle_are_replaced(two_workers: DaskPool, road: Road, tmp_path: Path) -> None:
    before = two_workers.worker_pids()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    night = road.run(two_workers)
    assert night.digests == Road(road.corpus, tmp_path / "calm").run().digests
    assert not set(before) & set(two_workers.worker_pids())


def test_an_error_of_a_unit_rises_as_it_is(two_workers: DaskPool) -> None:
    with pytest.raises(RecipeError, match="unit 3 is refused"):
        list(two_workers.map(refuse_three, range(8)))
    assert sorted(results(two_workers, refuse_three, [1, 2])) == [1, 2]


def test_units_are_made_a_few_at_a_time_and_what_fails_to_make_one_rises(two_workers: DaskPool) -> None:
    made: list[int] = []

    def units() -> Iterator[int]:
        for unit in range(10, 60):
            made.append(unit)
            yield unit
        raise RecipeError("no more units")

    with pytest.raises(RecipeError, match="no more units"):
        for done, _ in enumerate(two_workers.map(refuse_three, units())):
            # Three a worker run or wait; what came back together with this one was replaced too.
            assert len(made) <= done + 1 + 4 * two_workers.num_workers * 2
    assert len(made) == 50
    assert sorted(results(two_workers, refuse_three, [1, 2])) == [1, 2]


def results(pool: Pool, function: Callable[[Any], Any], units: Sequence[Any]) -> list[Any]:
    return [item.result for item in pool.map(function, units) if isinstance(item, Done)]


def refuse_three(unit: int) -> int:
    if unit == 3:
        raise RecipeError("unit 3 is refused")
    return unit


def test_a_file_that_kills_its_worker_is_quarantined_alone_and_tried_again(
    road: Road, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = "sheets/005.md"
    clean = Road(road.corpus, tmp_path / "clean").run()
    with monkeypatch.context() as patched:
        patched.setenv("INGOT_CRASH_AT", f"extract.file@{uri}")
        with open_pool(2, scratch=tmp_path / "pool") as pool:
            night = road.run(pool)
    assert night.reasons["notes"] == {"empty": 1, "killed": 1, "not_text": 1}
    assert night.files["notes"]["seen"] == clean.files["notes"]["seen"]
    expected, found = Road(road.corpus, tmp_path / "clean").outcomes(clean), road.outcomes(night)
    assert expected.keys() - found.keys() == {f"notes:{uri}"}
    assert all(found[name]["outcome"] == expected[name]["outcome"] for name in found)
    again = road.run()
    assert (again.files["notes"]["opened"], again.files["notes"]["read"]) == (1, 1)
    assert again.files["notes"]["superseded"] == 0
    assert again.manifest.identity == clean.manifest.identity


def poisoned(road: Road, monkeypatch: pytest.MonkeyPatch, pool_folder: Path, uri: str) -> tuple[Any, dict[str, Any]]:
    """A run in which analysing one page kills its worker: the night, and that page's final row."""
    calm = Road(road.corpus, road.folder / "calm")
    doc_id = calm.outcomes(calm.run())[f"notes:{uri}"]["doc_id"].hex()
    # Units of two pages: the guilty one is found by halving, at the price of a fresh worker each time.
    road.unit_bytes = 2_500
    with monkeypatch.context() as patched:
        patched.setenv("INGOT_CRASH_AT", f"analyse.document@{doc_id}")
        with open_pool(1, scratch=pool_folder) as pool:
            night = road.run(pool)
    return night, road.outcomes(night)[f"notes:{uri}"]


def test_a_document_that_kills_its_worker_is_dropped_alone_and_tried_again(
    road: Road, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = Road(road.corpus, tmp_path / "clean").run()
    night, row = poisoned(road, monkeypatch, tmp_path / "pool", "sheets/address.md")
    assert (row["outcome"], row["rule"], row["reason"]) == ("dropped", "analysis", "analysis_failed")
    accounting, normal = night.manifest.identity.accounting, clean.manifest.identity.accounting
    assert accounting["dropped.analysis_failed"] == 1
    assert accounting["kept"] + accounting["heldout"] == normal["kept"] + normal["heldout"] - 1
    again = road.run()
    assert again.manifest.identity == clean.manifest.identity
    (page,) = [row for row in road.shard_rows(again) if row["uri"] == "sheets/address.md"]
    assert "<EMAIL>" in page["text"] and ADDRESS not in page["text"], "its spans were looked for again, too"
    assert road.run().ref.reused


def test_a_page_that_kills_a_new_span_rule_is_not_published_unedited(
    road: Road, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its features are there from earlier nights; what the new rule would have cut out is not known."""
    rules = road.corpus.recipe["rules"]
    road.values["rules"] = [rule for rule in rules if rule["rule"] != "pii"]
    road.run()
    road.values.clear()
    night, row = poisoned(road, monkeypatch, tmp_path / "pool", "sheets/address.md")
    assert row["reason"] == "analysis_failed"
    assert not any(ADDRESS in row["text"] for row in road.shard_rows(night))
    road.run()
    assert road.outcomes(road.run())["notes:sheets/address.md"]["outcome"] in ("kept", "heldout")


def test_workers_load_neither_prefect_nor_mlflow_nor_torch(two_workers: DaskPool, road: Road) -> None:
    road.run(two_workers)
    modules = two_workers.modules()
    assert len(modules) == 2
    for names in modules.values():
        assert "datasets_pipeline.analyse" in names, "the control: what did the work is seen"
        loaded = {name.partition(".")[0] for name in names}
        assert not loaded & {"prefect", "mlflow", "torch", "transformers"}


def test_workers_do_not_see_secrets_or_servers_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = ("PREFECT_API_URL", "PREFECT_API_KEY", "MLFLOW_TRACKING_URI", "INGOT_SECRET_WAREHOUSE")
    for name in hidden:
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("INGOT_TIMEZONE", "UTC")
    with open_pool(1, scratch=tmp_path / "pool") as pool:
        (names,) = results(pool, environment_names, [None])
    assert "INGOT_TIMEZONE" in names, "the control"
    assert not set(hidden) & set(names)


def environment_names(unit: None) -> list[str]:
    return sorted(os.environ)


def test_no_worker_is_left_after_the_pool_closes(tmp_path: Path) -> None:
    with open_pool(2, scratch=tmp_path / "pool") as pool:
        assert isinstance(pool, DaskPool)
        pids = pool.worker_pids()
        assert len(alive(pids)) == 2
        (folder,) = (tmp_path / "pool").iterdir()
        for file in (folder / "tls").iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert alive(pids) == []
    assert list((tmp_path / "pool").iterdir()) == [], "keys and logs are gone, too"


def test_no_worker_outlives_a_killed_parent(servers: list[ForkServer], tmp_path: Path) -> None:
    ended = servers[0].run("tests.curation.crash_child:open_a_pool_and_die", place=str(tmp_path))
    assert ended.was_killed, ended.output
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    deadline = time.monotonic() + 10
    while alive(pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive(pids) == []


def listening(pids: Sequence[int]) -> set[tuple[str, int]]:
    connections = [c for pid in pids for c in psutil.Process(pid).net_connections(kind="inet")]
    return {(c.laddr.ip, c.laddr.port) for c in connections if c.status == psutil.CONN_LISTEN}


def test_sockets_listen_on_loopback_only_and_refuse_strangers(tmp_path: Path) -> None:
    from distributed import Client
    from distributed.security import Security

    before = listening([os.getpid()])
    with open_pool(1, scratch=tmp_path / "pool") as pool:
        assert isinstance(pool, DaskPool)
        opened = listening([os.getpid(), *pool.worker_pids()]) - before
        assert len(opened) >= 2, "scheduler and worker"
        assert {ip for ip, _ in opened} == {"127.0.0.1"}
        address = pool._cluster.scheduler_address
        assert address.startswith("tls://127.0.0.1:")
        strangers = {address: Security.temporary(), address.replace("tls://", "tcp://"): None}
        for place, certificate in strangers.items():
            with pytest.raises((OSError, TimeoutError)):
                Client(place, security=certificate, timeout=3, set_as_default=False)
        with Client(address, security=pool._cluster.security, timeout=10, set_as_default=False) as friend:
            assert friend.submit(sum, [1, 2]).result() == 3, "the control: the pool's own certificate opens"
        for _, port in opened:
            assert not answers_http(port)


def answers_http(port: int) -> bool:
    """Whether a port answers a plain request with anything but a refusal."""
    with socket.create_connection(("127.0.0.1", port), timeout=3) as connection:
        connection.settimeout(3)
        try:
            connection.sendall(b"GET /status HTTP/1.0\r\n\r\n")
            answer = connection.recv(64)
        except OSError:
            return False
    return answer.startswith(b"HTTP/") and not answer.startswith((b"HTTP/1.0 404", b"HTTP/1.1 404"))


def test_renewed_workers_are_other_processes_and_do_the_same_work(tmp_path: Path) -> None:
    with open_pool(2, scratch=tmp_path / "pool") as pool:
        assert isinstance(pool, DaskPool)
        assert [done.result for done in pool.map(str, [1]) if isinstance(done, Done)] == ["1"]
        before = pool.worker_pids()
        pool.renew()
        after = pool.worker_pids()
        assert len(after) == 2 and not set(before) & set(after) and not alive(before)
        assert {done.result for done in pool.map(str, range(9)) if isinstance(done, Done)} == set(map(str, range(9)))
        assert len(pool.modules()) == 2
