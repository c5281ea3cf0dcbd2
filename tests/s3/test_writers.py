"""Put-if-absent on real services: races, lost replies, and who learns what (CONTRACTS 9)."""

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ingot.storage import Store
from tests.s3.conftest import Faulty
from tests.s3.fault_proxy import CutAfter, CutBefore, Fault, Request, first

SPAWN = multiprocessing.get_context("spawn")
PROCESSES, THREADS = 3, 8


def _race(root: str, process: int, rounds: int, start: Any, wins: Any) -> None:
    store = Store(root)
    store.exists("warm/up")
    meet = threading.Barrier(THREADS)

    def write(thread: int, number: int) -> bool:
        meet.wait(60)
        return store.put_if_absent(f"corpora/handbook/{number}.json", {"who": f"{process}.{thread}"})

    with ThreadPoolExecutor(THREADS) as threads:
        for number in range(rounds):
            start.wait(120)
            won = list(threads.map(write, range(THREADS), [number] * THREADS))
            wins.put((number, [f"{process}.{thread}" for thread in range(THREADS) if won[thread]]))


@pytest.mark.faults
def test_of_24_writers_in_three_processes_exactly_one_wins_each_version(store: Store, root: str, is_long: bool) -> None:
    rounds = 200 if is_long else 3
    start, wins = SPAWN.Barrier(PROCESSES), SPAWN.Queue()
    racers = [SPAWN.Process(target=_race, args=(root, n, rounds, start, wins)) for n in range(PROCESSES)]
    for racer in racers:
        racer.start()
    winners: dict[int, list[str]] = {}
    for _ in range(PROCESSES * rounds):
        number, names = wins.get(timeout=300)
        winners.setdefault(number, []).extend(names)
    for racer in racers:
        racer.join(60)
    assert len(winners) == rounds
    for number, names in winners.items():
        assert len(names) == 1, f"round {number}: {names} all believe that they won"
        assert store.read_record(f"corpora/handbook/{number}.json") == {"who": names[0]}


@pytest.mark.faults
def test_a_writer_whose_reply_was_cut_after_the_commit_learns_that_it_won(
    faulty: Faulty, store: Store, is_long: bool
) -> None:
    # The client asks again by itself, is told 412 by its own commit, reads back, and finds its own attempt.
    faulty.store.put_if_absent("ledger/0.json", {"warm": "up"})
    for number in range(1, 500 if is_long else 12):
        faulty.use(first(1, CutAfter(), method="PUT", path="/ledger/"))
        assert faulty.store.put_if_absent(f"ledger/{number}.json", {"n": number})
        assert store.read_record(f"ledger/{number}.json") == {"n": number}
    assert faulty.proxy.done["CutAfter"] == number


def test_a_request_that_was_cut_on_its_way_is_sent_again(faulty: Faulty, store: Store) -> None:
    faulty.store.put_if_absent("ledger/0.json", {"warm": "up"})
    faulty.use(first(2, CutBefore(), method="PUT", path="/ledger/"))
    assert faulty.store.put_if_absent("ledger/1.json", {"n": 1})
    assert store.read_record("ledger/1.json") == {"n": 1}
    assert faulty.proxy.done["CutBefore"] == 2


@pytest.mark.faults
def test_of_two_writers_whose_replies_are_cut_in_turn_one_wins_and_both_know(
    faulty: Faulty, store: Store, is_long: bool
) -> None:
    faulty.store.put_if_absent("ledger/0.json", {"warm": "up"})

    def cut_each_second(request: Request) -> Fault | None:
        if request.method != "PUT":
            return None
        return (CutAfter(), None, CutBefore())[request.number % 3]

    faulty.use(cut_each_second)
    with ThreadPoolExecutor(2) as threads:
        for number in range(1, 300 if is_long else 10):
            key = f"ledger/{number}.json"
            won = list(threads.map(lambda who, key=key: faulty.store.put_if_absent(key, {"who": who}), "ab"))
            assert won.count(True) == 1
            assert store.read_record(key) == {"who": "ab"[won.index(True)]}
