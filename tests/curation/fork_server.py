"""Children that die on purpose, forked from one warm process: a start costs milliseconds instead of seconds.

`python -m tests.curation.fork_server` loads everything the data path uses, once, then answers one JSON
line a request: it forks, sets the environment, calls `module:function` with the arguments, and reports
how the child ended and what it returned. The server dies with the process that started it.
"""

import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit code, or minus the signal that killed it; what its function returned."""

    code: int
    result: Any
    output: str

    @property
    def was_killed(self) -> bool:
        return self.code == -signal.SIGKILL


class ForkServer:
    """The parent's side; `start` and `wait` apart let two children run at the same time on two servers."""

    def __init__(self, warm_up: str) -> None:
        """warm_up is `module:function`, called once without arguments."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("INGOT_")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.curation.fork_server", warm_up],
            cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            preexec_fn=_die_with_parent,
        )  # fmt: skip

    def start(self, function: str, *, environ: dict[str, str] | None = None, **arguments: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([function, environ or {}, arguments]) + "\n")
        self._process.stdin.flush()

    def wait(self) -> Ended:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the fork server died; its output is above"
        return Ended(**json.loads(line))

    def run(self, function: str, *, environ: dict[str, str] | None = None, **arguments: Any) -> Ended:
        """Call `module:function` in a child of its own and wait for its end."""
        self.start(function, environ=environ, **arguments)
        return self.wait()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _call(name: str, arguments: dict[str, Any]) -> Any:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)(**arguments)


def _child(name: str, environ: dict[str, str], arguments: dict[str, Any], folder: Path) -> None:
    """Never returns: leaves without the server's exit handlers."""
    _die_with_parent()
    output = os.open(folder / "output", os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.update(environ)
    try:
        (folder / "result").write_text(json.dumps(_call(name, arguments)))
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def main() -> None:
    """Serve requests until standard input ends."""
    _call(sys.argv[1], {})
    for line in sys.stdin:
        name, environ, arguments = json.loads(line)
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            pid = os.fork()
            if pid == 0:
                _child(name, environ, arguments, folder)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            result = json.loads((folder / "result").read_text()) if code == 0 else None
            output = (folder / "output").read_text(errors="replace") if (folder / "output").is_file() else ""
        print(json.dumps({"code": code, "result": result, "output": output[-4000:]}), flush=True)


if __name__ == "__main__":
    main()
