"""At most one request to a host at a time and every so many seconds, over all processes of this user on this machine.

Workers read pages side by side; a lock in a file for each host keeps them apart, and holds when the last one asked.
"""

import fcntl
import hashlib
import os
import tempfile
import time
from pathlib import Path


def wait(host: str, seconds: float) -> None:
    """Return once `seconds` have passed since anyone here last asked this host; 0 waits for nothing."""
    if seconds <= 0:
        return
    name = hashlib.sha256(host.encode()).hexdigest()[:32]
    descriptor = os.open(_folder() / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        # The monotonic clock is one for all processes, and begins anew with the machine.
        pause = _number(file.read(32)) + seconds - time.monotonic()
        if 0 < pause <= seconds:
            time.sleep(pause)
        file.seek(0)
        file.truncate()
        file.write(f"{time.monotonic():.6f}".encode())
        file.flush()


def _folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"ingot-pace-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        folder = Path(tempfile.mkdtemp(prefix="ingot-pace-"))  # someone else's: then each process keeps its own pace
    return folder


def _number(text: bytes) -> float:
    try:
        return float(text or b"0")
    except ValueError:
        return 0.0
