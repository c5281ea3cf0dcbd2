"""A source of a workspace whose parser does, inside the jail, what a document that took it over might try.

The file's name says what; its text, when it gives one, says how far that got.
"""

import ctypes
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from datasets_pipeline.sources.base import ExtractedDocument, ExtractionResult, FileContent, FileEntry, SourceConfig

VERSION = "1"


class Config(SourceConfig):
    """Attacks by name."""


def list_files(config: Config, skipped: Counter[str] | None = None) -> Iterator[FileEntry]:
    """Every file below the uri."""
    for path in sorted(Path(config.uri).iterdir()):
        yield FileEntry(path.name, path.stat().st_size, path.stat().st_mtime_ns)


def read_file(config: Config, entry: FileEntry) -> FileContent:
    """Its bytes."""
    return FileContent((Path(config.uri) / entry.uri).read_bytes())


def extraction_version(config: Config) -> dict[str, str]:
    """Its version."""
    return {"source.attacks": VERSION}


def extract_file(config: Config, entry: FileEntry, data: bytes) -> ExtractionResult:
    """Do what the file's name says."""
    attack = entry.uri.split(".")[0]
    told = _ATTACKS[attack](data) if attack in _ATTACKS else data.decode()
    return ExtractionResult([ExtractedDocument(str(told), 0, len(data), "text/plain", "attacks", VERSION)])


def _crash(data: bytes) -> str:
    os.kill(os.getpid(), signal.SIGSEGV)  # as init of its process namespace it may be spared by a plain signal
    ctypes.string_at(0)
    return "survived"


def _exit(data: bytes) -> str:
    os._exit(0)


def _quit(data: bytes) -> str:
    sys.exit("bye")


def _spin(data: bytes) -> str:
    while True:
        pass


def _sleep(data: bytes) -> str:
    time.sleep(3600)
    return "woke"


def _eat(data: bytes) -> str:
    hoard = []
    while True:
        hoard.append(bytearray(64 << 20))


def _flood(data: bytes) -> str:
    return "x" * (20 << 20)


def _print(data: bytes) -> str:
    print("ready" * 1000)
    os.write(1, b"\x00" * 100)
    os.write(2, b"secret text")
    return "printed"


def _lie(data: bytes) -> str:
    """Answer in the protocol's place, with what is no answer."""
    for descriptor in range(3, 20):
        try:
            os.write(descriptor, (5).to_bytes(8, "big") + b"hello")
        except OSError:
            continue
    time.sleep(3600)
    return ""


def _hang_up(data: bytes) -> str:
    """Close every descriptor and go on."""
    for descriptor in range(3, 20):
        try:
            os.close(descriptor)
        except OSError:
            continue
    time.sleep(3600)
    return ""


def _call_home(data: bytes) -> str:
    host, port = data.decode().split(":")
    told = []
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
        told.append("connected")
    except OSError as error:
        told.append(type(error).__name__)
    told += [name for _, name in socket.if_nameindex()]
    return " ".join(told)


def _read(data: bytes) -> str:
    found = []
    for path in data.decode().split("\n"):
        try:
            with open(path, "rb") as file:
                found.append(f"{path}={file.read(100)!r}")
        except OSError:
            continue
    return "found " + " ".join(found)


def _environment(data: bytes) -> str:
    return " ".join(sorted(os.environ))


def _write(data: bytes) -> str:
    written = []
    for folder in data.decode().split("\n"):
        try:
            Path(folder, "dropped").write_text("x")
            written.append(folder)
        except OSError:
            continue
    return "wrote " + " ".join(written)


def _fork(data: bytes) -> str:
    children = 0
    try:
        while children < 1000:
            if os.fork() == 0:
                time.sleep(3600)
                os._exit(0)
            children += 1
    except OSError:
        pass
    return f"forked {children}"


def _fill(data: bytes) -> str:
    num_bytes = 0
    try:
        for number in range(100):
            with open(f"/tmp/fill-{number}", "wb") as file:
                for _ in range(64):
                    num_bytes += file.write(b"x" * (1 << 20))
    except OSError:
        pass
    return f"filled {num_bytes >> 20}"


def _mount(data: bytes) -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.mount(b"tmpfs", b"/usr", b"tmpfs", ctypes.c_ulong(0), None)
    namespace = libc.unshare(0x10000000 | 0x00020000)
    return f"mount {done} unshare {namespace} pids {len([p for p in os.listdir('/proc') if p.isdigit()])}"


def _surrogates(data: bytes) -> str:
    return "lone \ud800 and paired \ud83d\ude00"


_ATTACKS = {
    name[1:]: function for name, function in list(globals().items()) if name.startswith("_") and callable(function)
}
