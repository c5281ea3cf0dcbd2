"""Run commands where there is no network but loopback, and write down every name anybody asks for.

    unshare --net --mount python -m tests.e2e.road.offline_road JOB.json REPORT.json [--shared-network]

Inside, the only interface is lo, and the only name server is ours on 127.0.0.1:53, which knows no name.
A job is {"commands": [[argument, ...], ...], "environment": {...}, "cwd": folder}; the report has the outcome of
each command and the names that were asked for while it ran. Processes that a command leaves behind keep the
namespace, so a stack may start in one command and stop in another. With --shared-network the commands run on
the machine's own network, and names are not looked at.
"""

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_NO_SUCH_NAME = 0x8183  # a response, recursion available, NXDOMAIN
_HEADER_BYTES = 12


class NameLog:
    """A name server that answers "no such name" and remembers the question."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            question, asker = self._socket.recvfrom(4096)
            name, end = _read_name(question)
            self.names.append(name)
            # The same question back, without records: id, flags, one question, nothing else.
            answer = question[:2] + struct.pack(">HHHHH", _NO_SUCH_NAME, 1, 0, 0, 0) + question[_HEADER_BYTES : end + 4]
            self._socket.sendto(answer, asker)


def _read_name(question: bytes) -> tuple[str, int]:
    """The name asked for and where it ends; labels are length-prefixed, RFC 1035 section 4.1.2."""
    labels, place = [], _HEADER_BYTES
    while length := question[place]:
        labels.append(question[place + 1 : place + 1 + length].decode("ascii", "backslashreplace"))
        place += 1 + length
    return ".".join(labels), place + 1


def bring_loopback_up() -> None:
    """Switch lo on: in a new network namespace it is there, but down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(control, _SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))


def use_name_server_on_loopback() -> None:
    """Put a resolv.conf of ours over the system's, for this mount namespace alone."""
    with tempfile.NamedTemporaryFile("w", suffix=".conf", delete=False) as file:
        file.write("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    subprocess.run(["mount", "--bind", file.name, "/etc/resolv.conf"], check=True)


def run_all(job: dict[str, Any], log: NameLog | None) -> list[dict[str, Any]]:
    """Run the commands one after the other; a command's names are those asked until the next one starts."""
    outcomes = []
    for command in job["commands"]:
        before, begun = len(log.names) if log else 0, time.monotonic()
        done = subprocess.run(
            command,
            env=job["environment"],
            cwd=job["cwd"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )
        outcomes.append(
            {
                "arguments": command,
                "exit_code": done.returncode,
                "stdout": done.stdout,
                "stderr": done.stderr,
                "seconds": time.monotonic() - begun,
                "names": log.names[before:] if log else [],
            }
        )
    return outcomes


def main() -> None:
    """Read the job, do it, write the report."""
    job, report = Path(sys.argv[1]), Path(sys.argv[2])
    alone = "--shared-network" not in sys.argv
    if alone:
        bring_loopback_up()
        use_name_server_on_loopback()
    log = NameLog() if alone else None
    interfaces = sorted(name for _, name in socket.if_nameindex())
    outcomes = run_all(json.loads(job.read_text()), log)
    report.write_text(json.dumps({"interfaces": interfaces, "commands": outcomes, "user": os.getuid()}))


if __name__ == "__main__":
    main()
