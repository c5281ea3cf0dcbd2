"""A moto server: a quick stand-in for S3 that checks neither signatures nor Content-MD5."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def moto_program() -> Path:
    """moto_server from its own virtual environment: installed beside s3fs, pip would not find a solution."""
    own = Path(__file__).parents[1] / ".venv-moto/bin/moto_server"
    program = Path(os.environ.get("INGOT_TEST_MOTO") or own)
    if not program.is_file():
        pytest.skip(f"needs moto to stand in for S3, and {program} is not there; `make test` installs it")
    return program


@contextmanager
def running_moto(folder: Path) -> Iterator[str]:
    """A server's endpoint; its log goes to a folder."""
    program = moto_program()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "moto.log"
    with log.open("wb") as output:
        server = subprocess.Popen([program, "-H", "127.0.0.1", "-p", str(port)], stdout=output, stderr=output)
        try:
            _wait_for(port, server, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()
            server.wait()


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail(f"moto did not start: {log.read_text()[-500:]}")
