"""The stack is started, seen, damaged, started again and stopped, with the real servers."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from deployments import (
    credentials,
    definitions,
    local_stack,
    ports,
    prefect_api,
    processes,
    scheduled_runs,
    services,
)
from deployments.local_stack import StackState
from deployments.prefect_api import Server
from ingot.errors import RecipeError, ServiceError
from ingot.settings import Settings
from tests import door
from tests.nights import is_next_night
from tests.stack.conftest import make_settings
from tests.waiting import wait_until

pytestmark = pytest.mark.stack
TINY = Path(__file__).with_name("tiny_deployments.yaml")
# Registering happens as the command line does it: in a process that knows the server before it imports Prefect.
REGISTER = """
import json, os, sys
from pathlib import Path
from deployments import definitions, local_stack, register
from ingot.settings import Settings
settings = Settings.from_environment()
variables = {**definitions.schedule_variables(settings), "NOTE": sys.argv[2]}
found = register.register(
    definitions.read_deployments(variables, Path(sys.argv[1])), local_stack.prefect_server(settings)
)
print(json.dumps([r.model_dump() for r in found]))
"""


def register_tiny(environment: dict[str, str], note: Path) -> dict[str, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", REGISTER, str(TINY), str(note)],
        env={**environment, "PYTHONPATH": str(services.root_folder())},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return {entry["full_name"]: entry for entry in json.loads(done.stdout.splitlines()[-1])}


def wait_for_state(server: Server, flow_run_id: str, *wanted: str, seconds: float = 60.0) -> str:
    end = time.monotonic() + seconds
    while True:
        run = server.get(f"/flow_runs/{flow_run_id}")
        if run["state_type"] in wanted:
            return str(run["state_type"])
        assert time.monotonic() < end, f"run is {run['state_name']}: {run['state'].get('message')}"
        time.sleep(0.2)


def start_run(server: Server, deployment_id: str, **parameters: object) -> str:
    run = server.post(f"/deployments/{deployment_id}/create_flow_run", {"parameters": parameters})
    return str(run["id"])


def kill_hard(identity: processes.ProcessIdentity | None) -> None:
    assert identity is not None
    os.kill(identity.pid, signal.SIGKILL)
    assert processes.wait_until_gone(identity, 10.0)


@pytest.fixture(scope="module")
def note(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notes") / "note.txt"


@pytest.fixture(scope="module")
def registered(first_start: StackState, settings: Settings, note: Path) -> dict[str, dict[str, Any]]:
    return register_tiny({**settings.environ, **local_stack.environment(first_start)}, note)


def test_up_starts_servers_workers_and_supervisor(first_start: StackState, settings: Settings) -> None:
    stack = first_start
    assert stack.running and not stack.already_running
    assert [s.name for s in stack.services] == ["prefect", "mlflow", "data", "gpu", "supervisor"]
    assert stack.troubles == ()
    assert b"true" in prefect_api.get(f"{stack.prefect_api_url}/health")
    assert prefect_api.get(f"{stack.mlflow_url}/health") == b"OK"
    used = processes.memory_bytes(local_stack.stack_processes(settings))
    print(f"\nstack up in {stack.seconds} s, {used >> 20} MiB PSS")
    assert used < 1_500 << 20


def test_a_second_up_returns_at_once_and_says_so(stack: StackState, settings: Settings) -> None:
    begun = time.monotonic()
    again = local_stack.up(settings)
    assert time.monotonic() - begun < 2.0
    assert again.already_running
    assert [s.identity for s in again.services] == [s.identity for s in stack.services]


def test_two_ups_at_once_start_one_stack(stack: StackState, settings: Settings) -> None:
    code = (
        "from deployments import local_stack; from ingot.settings import Settings;"
        "s = local_stack.up(Settings.from_environment()); print([x.identity.pid for x in s.services])"
    )
    root = str(services.root_folder())
    both = [
        subprocess.Popen([sys.executable, "-c", code], env=dict(settings.environ), cwd=root, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    answers = {child.communicate(timeout=60)[0] for child in both}
    assert len(answers) == 1
    assert len(processes.find_processes(settings.home, "prefect")) == 1


def test_the_listening_sockets_are_the_documented_ones(stack: StackState, settings: Settings) -> None:
    """One a server, and one a worker; a worker has one more for each run, on which that presents its token."""

    def look() -> dict[str, list[tuple[str, int]]]:
        names = services.all_services(settings)
        return {n: ports.listening_sockets(processes.find_processes(settings.home, n)) for n in names}

    found = look()
    end = time.monotonic() + 20.0
    # The run of an earlier test has ended for the server before its worker has taken down its socket.
    while max(len(found[worker]) for worker in ("data", "gpu")) > 1 and time.monotonic() < end:
        time.sleep(0.5)
        found = look()
    assert found["prefect"] == [("127.0.0.1", stack.service("prefect").port)]
    assert found["mlflow"] == [("127.0.0.1", stack.service("mlflow").port)]
    assert [len(found[worker]) for worker in ("data", "gpu")] == [1, 1]
    assert {address for sockets in found.values() for address, _ in sockets} == {"127.0.0.1"}
    assert found["supervisor"] == []


KNOCK = """
import json, os, sys, urllib.request, urllib.error
"x".encode("idna")  # the last import: the new user may not read this Python's files
os.setgroups([]), os.setgid(65534), os.setuid(65534)
told = json.loads(sys.argv[1])
for url, body in told["addresses"]:
    try:
        urllib.request.urlopen(urllib.request.Request(url, body.encode(), {"Content-Type": "application/json"}))
        print(200)
    except urllib.error.HTTPError as error:
        print(error.code)
for path in told["files"]:
    try:
        open(path).read()
        print("read")
    except OSError as error:
        print(type(error).__name__)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_second_user_of_the_machine_can_neither_start_a_flow_nor_move_an_alias_nor_read_the_secret(
    server: Server, stack: StackState, settings: Settings, registered: dict[str, dict[str, Any]]
) -> None:
    deployment = registered["write-note/nightly"]["id"]
    alias = json.dumps({"name": "mini", "alias": "champion", "version": "1"})
    told = {
        "addresses": [
            [f"{server.url}/deployments/{deployment}/create_flow_run", "{}"],
            [f"{server.url}/flow_runs/filter", "{}"],
            [f"{stack.mlflow_url}/api/2.0/mlflow/registered-models/alias", alias],
            [f"{stack.mlflow_url}/ajax-api/3.0/mlflow/assistant/config", "{}"],
        ],
        "files": [str(credentials.path_of(settings.home)), str(settings.home / "prefect" / "prefect.db")],
    }
    command = [sys.executable, "-I", "-c", KNOCK, json.dumps(told)]
    nobody = subprocess.run(command, cwd="/", capture_output=True, text=True)
    assert nobody.stdout.split() == ["401", "401", "401", "401", "PermissionError", "PermissionError"], nobody.stderr
    # The same questions with the secret are answered: it was the door that refused.
    assert server.post("/flow_runs/filter", {"limit": 1}) is not None


def test_mlflow_is_one_server_process_that_refuses_other_host_names(stack: StackState, settings: Settings) -> None:
    commands = [" ".join(p.cmdline()) for p in processes.find_processes(settings.home, "mlflow")]
    assert len([c for c in commands if "uvicorn" in c]) == 1
    assert not [c for c in commands if "huey" in c]
    import urllib.error
    import urllib.request

    for foreign in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
        headers = {**door.HEADERS, **foreign}
        request = urllib.request.Request(
            f"{stack.mlflow_url}/api/2.0/mlflow/experiments/create", b'{"name": "x"}', headers, method="POST"
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=5)
        assert refused.value.code == 403


def test_state_and_logs_are_for_their_owner_only(stack: StackState, settings: Settings) -> None:
    for path in (settings.home / "run").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    for folder in ("run", "logs", "prefect", "mlflow"):
        assert stat.S_IMODE((settings.home / folder).stat().st_mode) == 0o700, folder
    for database in (settings.home / "prefect" / "prefect.db", settings.home / "mlflow" / "mlflow.db"):
        assert stat.S_IMODE(database.stat().st_mode) == 0o600, database


def test_the_user_interface_is_told_its_own_address(stack: StackState) -> None:
    told = json.loads(prefect_api.get(f"{stack.prefect_ui_url}/ui-settings"))
    assert told["api_url"] == stack.prefect_api_url


def test_a_registered_nightly_has_a_run_scheduled_for_the_next_two_o_clock(
    server: Server, stack: StackState, registered: dict[str, dict[str, Any]]
) -> None:
    nightly = registered["write-note/nightly"]
    assert is_next_night(scheduled_runs.next_scheduled(server, nightly["id"]))


def test_registering_again_changes_nothing(
    server: Server,
    stack: StackState,
    registered: dict[str, dict[str, Any]],
    client_environment: dict[str, str],
    note: Path,
) -> None:
    again = register_tiny(client_environment, note)
    assert [entry["changed"] for entry in again.values()] == [False, False]
    assert [e["id"] for e in again.values()] == [e["id"] for e in registered.values()]
    deployment = server.get(f"/deployments/{again['write-note/nightly']['id']}")
    assert len(deployment["schedules"]) == 1
    assert deployment["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    assert deployment["pull_steps"] == []


def test_a_triggered_run_completes_on_the_worker(
    server: Server, stack: StackState, registered: dict[str, dict[str, Any]], note: Path
) -> None:
    begun = time.monotonic()
    run = start_run(server, registered["write-note/nightly"]["id"], overrides={"a": "1"})
    assert wait_for_state(server, run, "COMPLETED", "FAILED", "CRASHED") == "COMPLETED"
    assert note.read_text() == "note [('a', '1')]\n"
    print(f"\ntriggered run done after {time.monotonic() - begun:.1f} s")


def test_a_wrong_parameter_is_refused_by_the_server(
    server: Server, stack: StackState, registered: dict[str, dict[str, Any]]
) -> None:
    with pytest.raises(ServiceError, match="409|422"):
        start_run(server, registered["write-note/nightly"]["id"], path=3, colour="blue")


def test_after_a_kill_of_server_and_worker_up_settles_the_dead_run_and_frees_its_slot(
    server: Server, stack: StackState, settings: Settings, registered: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    api_url = stack.prefect_api_url
    assert api_url is not None
    sleeper = registered["sleep-long/sleeper"]["id"]
    first = start_run(server, sleeper, path=str(tmp_path / "first"))
    wait_for_state(server, first, "RUNNING")
    while not (tmp_path / "first").exists():
        time.sleep(0.1)
    for process in processes.find_processes(settings.home, "gpu"):
        process.kill()
    kill_hard(stack.service("prefect").identity)
    damaged = local_stack.status(settings)
    assert not damaged.running
    assert damaged.service("mlflow").healthy

    again = local_stack.up(settings)
    assert again.running
    assert again.prefect_api_url == api_url  # the port is remembered
    assert again.service("mlflow").identity == stack.service("mlflow").identity  # what lived was left alone
    assert wait_for_state(server, first, "CRASHED") == "CRASHED"
    second = start_run(server, sleeper, path=str(tmp_path / "second"), seconds=0.0)
    assert wait_for_state(server, second, "COMPLETED", "FAILED", "CRASHED") == "COMPLETED"


def test_a_run_whose_deployment_was_removed_while_it_held_its_slot_can_be_ended(
    server: Server, registered: dict[str, dict[str, Any]]
) -> None:
    flow = server.get(f"/deployments/{registered['sleep-long/sleeper']['id']}")["flow_id"]
    made = server.post("/deployments/", {"name": "removed", "flow_id": flow, "concurrency_limit": 1})
    run = server.post(f"/deployments/{made['id']}/create_flow_run", {})["id"]
    server.post(f"/flow_runs/{run}/set_state", {"state": {"type": "PENDING"}})
    server.delete(f"/deployments/{made['id']}")
    with pytest.raises(ServiceError, match="500"):  # what the server does on its own
        server.post(f"/flow_runs/{run}/set_state", {"state": {"type": "CRASHED"}, "force": True})
    prefect_api.end_run(server, run, "CRASHED", "its process was killed")
    assert server.get(f"/flow_runs/{run}")["state"]["message"] == "its process was killed"


def test_down_during_a_run_leaves_no_process_and_no_state(
    server: Server, stack: StackState, settings: Settings, registered: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    run = start_run(server, registered["sleep-long/sleeper"]["id"], path=str(tmp_path / "third"))
    wait_for_state(server, run, "RUNNING")
    before = local_stack.stack_processes(settings)
    assert len(before) >= 5
    begun = time.monotonic()
    assert local_stack.down(settings) >= 5
    print(f"\ndown during a run took {time.monotonic() - begun:.1f} s")
    assert not [p for p in before if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert local_stack.stack_processes(settings) == []
    assert not (settings.home / "run" / "stack.json").exists()
    assert not local_stack.status(settings).running
    assert local_stack.down(settings) == 0


def test_a_state_from_before_a_reboot_is_not_believed(tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "home")
    mine = processes.identify(os.getpid())
    assert mine is not None
    stranger = mine.model_copy(update={"start_time": mine.start_time - 1.0})  # the same pid, another process
    state = StackState(
        home=str(settings.home),
        services=(local_stack.ServiceState(name="data", identity=stranger),),
    )
    (settings.home / "run").mkdir(parents=True)
    (settings.home / "run" / "stack.json").write_text(state.model_dump_json())
    assert not local_stack.status(settings).service("data").healthy
    assert local_stack.down(settings) == 0  # and nobody was signalled: this test still runs


def test_a_service_that_ends_early_is_an_error_with_its_log(tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "home")
    (settings.home / "prefect").mkdir(parents=True)
    (settings.home / "prefect" / "profiles.toml").write_text("this is not TOML")
    with pytest.raises(ServiceError, match=r"prefect ended with status 1; its log is .*prefect\.log(.|\n)*TOML"):
        local_stack.up(settings)
    assert local_stack.stack_processes(settings) == []
    assert local_stack.down(settings) == 0


def test_a_taken_port_is_avoided_and_a_free_one_chosen() -> None:
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        assert not ports.is_free(taken)
        assert ports.choose_port([taken]) != taken
    assert ports.choose_port([taken]) == taken


@pytest.mark.parametrize(
    ("told", "first", "last"), [("32768\t60999", 32768, 60999), ("1024\t60999", 1024, 60999), ("", 49152, 65535)]
)
def test_a_chosen_port_is_never_one_the_system_lends_to_outgoing_connections(
    told: str, first: int, last: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "range").write_text(told)
    monkeypatch.setattr(ports, "_LENT_PORTS", tmp_path / "range")
    assert not [port for port in (ports.choose_port([]) for _ in range(50)) if first <= port <= last]


def test_a_failed_inner_service_is_seen_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "prefect.log"
    log.write_text("all good\n12:00:00 | ERROR   | prefect.server - Service 'Scheduler' exited unexpectedly\n")
    (line,) = services.find_trouble("prefect", log)
    assert services.tells_of_a_dead_part(line)
    log.write_text("12:00:00 | ERROR   | prefect.server - encountered an exception, tries again\n")
    (line,) = services.find_trouble("prefect", log)
    assert not services.tells_of_a_dead_part(line)
    busy = ("12:00:00.123 | ERROR   | prefect.server - tries again", "Traceback (most recent call last):",
            "sqlite3.OperationalError: database is locked", "12:00:01.000 | INFO    | prefect - goes on")  # fmt: skip
    log.write_text("\n".join(busy))
    assert services.find_trouble("prefect", log) == ()
    log.write_text("Check out the dashboard at http://127.0.0.1:4200\n")
    assert services.find_trouble("prefect", log) == ()


def test_an_unset_variable_of_the_deployments_file_is_named() -> None:
    with pytest.raises(RecipeError, match="NOTE"):
        definitions.read_deployments({"INGOT_TIMEZONE": "UTC"}, TINY)


def test_the_shipped_deployments_are_readable_and_have_one_nightly_that_enqueues(tmp_path: Path) -> None:
    variables = definitions.schedule_variables(make_settings(tmp_path))
    shipped = {d.name: d for d in definitions.read_deployments(variables)}
    assert set(shipped) == {"nightly", "train", "evaluate", "build", "retrain", "adapt", "promote"}
    nightly = shipped["nightly"]
    assert [(s.cron, s.timezone) for s in nightly.schedules] == [("0 2 * * *", "Europe/Berlin")]
    assert nightly.concurrency_limit is not None
    assert nightly.concurrency_limit.collision_strategy == "ENQUEUE"


def test_a_port_lost_between_looking_and_starting_is_answered_with_another_one_that_a_living_worker_is_told(
    stack: StackState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Prefect's server loses its port, and one worker is enough to lose its server.
    monkeypatch.setattr(services, "workers", lambda settings: ("data",))
    looked = ports.is_free
    settings = make_settings(tmp_path / "home", INGOT_MLFLOW_URI=str(stack.mlflow_url))
    try:
        first = local_stack.up(settings)
        lost = first.service(services.PREFECT).port
        assert lost is not None
        # Not the supervisor, but this test is to start Prefect again.
        kill_hard(first.service(services.SUPERVISOR).identity)
        kill_hard(first.service(services.PREFECT).identity)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            wait_until(lambda: looked(lost), "the port to be free", 30.0)
            other.bind((ports.LOOPBACK, lost))
            other.listen()
            # Another program took the port after it was found free: the look says free, the start fails.
            monkeypatch.setattr(ports, "is_free", lambda port: port == lost or looked(port))
            again = local_stack.up(settings)
            assert again.service(services.PREFECT).healthy
            assert again.service(services.PREFECT).port != lost
            worker = again.service("data").identity
            assert worker is not None and worker != first.service("data").identity
            assert processes.is_alive(worker) and not processes.is_alive(first.service("data").identity)
    finally:
        local_stack.down(settings)


def test_a_lost_port_is_seen_behind_the_traceback_of_the_shutdown_that_follows(tmp_path):
    log = tmp_path / "prefect.log"
    log.write_text("ERROR: [Errno 98] error while attempting to bind: address already in use\n" + "  File x\n" * 60)
    assert services.lost_its_port(log)
    log.write_text("ERROR: something else\n" + "  File x\n" * 60)
    assert not services.lost_its_port(log)
