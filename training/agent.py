"""The parent of the ranks: torchrun, made to die with the launcher and to pass TERM on.

`python -m training.agent LAUNCHER_PID <torchrun arguments>`; started by `training/launch.py` only.
"""

import os
import signal
import sys

from training.processes import child_pids, die_with_parent

AGENT_PID_VARIABLE = "TRAINING_AGENT_PID"


def main(arguments: list[str]) -> None:
    """Run torchrun in this process until all ranks have ended, or kill them all when one fails."""
    die_with_parent(int(arguments[0]))
    os.environ[AGENT_PID_VARIABLE] = str(os.getpid())

    def pass_on(number: int, _frame: object) -> None:
        # torchrun's own answer to TERM is to kill the ranks after 30 s; they decide themselves here.
        for pid in child_pids(os.getpid()):
            os.kill(pid, number)

    signal.signal(signal.SIGTERM, pass_on)
    from torch.distributed.run import main as torchrun

    torchrun(arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
