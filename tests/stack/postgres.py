"""A real PostgreSQL from Debian's packages for one test module: a folder of its own, loopback, password."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

USER, PASSWORD = "ingot", "only-of-this-test"


def programs() -> Path:
    """The newest PostgreSQL of this machine; the test is skipped when there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if not found:
        pytest.skip("needs PostgreSQL's programs in /usr/lib/postgresql; apt-get install postgresql")
    return found[-1].parent


@dataclass
class Postgres:
    """A running server."""

    folder: Path
    port: int
    account: str | None
    """The unprivileged user it runs as; None when we are one."""

    def url(self, name: str) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{name}"

    def run(self, program: str, *words: str) -> str:
        done = subprocess.run(
            [programs() / program, *words], cwd=self.folder, capture_output=True, text=True, timeout=60,
            env={**os.environ, "PGPASSWORD": PASSWORD}, stdin=subprocess.DEVNULL, **_as(self.account),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def client(self, program: str, *words: str) -> str:
        return self.run(program, "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, *words)

    def start(self) -> None:
        options = f"-p {self.port} -h 127.0.0.1 -k {self.folder} -c fsync=off"
        # pg_ctl's own output goes to the log: a pipe would be held open by the server it leaves behind.
        log = str(self.folder / "log")
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-l", log, "-o", options, "-w", "start")

    def stop(self, mode: str) -> None:
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-m", mode, "-w", "stop")


def _as(account: str | None) -> dict[str, Any]:
    if account is None:
        return {}
    entry = pwd.getpwnam(account)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


@contextmanager
def running() -> Iterator[Postgres]:
    """PostgreSQL refuses to run as root, and another user cannot pass pytest's folders: it gets one below /tmp."""
    programs()
    account = "nobody" if os.getuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="ingot-postgres-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Postgres(folder, port, account)
    try:
        (folder / "password").write_text(PASSWORD)
        if account is not None:
            for path in (folder, folder / "password"):
                shutil.chown(path, account)
        server.run("initdb", "-D", str(folder / "data"), "-U", USER, "--auth=scram-sha-256",
                   "--pwfile", str(folder / "password"), "--no-sync", "--encoding=UTF8", "--locale=C")  # fmt: skip
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
