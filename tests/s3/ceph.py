"""A real S3 for tests: Ceph's RADOS gateway on loopback, with one monitor and one disk in a sparse file.

From Debian's packages (`apt-get install --no-install-recommends radosgw ceph-mon ceph-osd ceph-mgr ceph-common`),
without root, systemd or containers; about 20 s to start, 120 MB of memory at rest. Daemons are children of the test
process and die with it, so that a test may kill one and start it again.
"""

import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

PROGRAMS = ("ceph-mon", "ceph-osd", "ceph", "ceph-authtool", "monmaptool", "radosgw", "radosgw-admin", "setpriv")
ACCESS_KEY, SECRET_KEY = "INGOTCEPHTESTSKEY", "ingot-ceph-tests-secret"
_DISK_BYTES = 8 << 30

# cephx stays on: with auth "none" the monitor refuses the gateway. One copy of everything, on one disk.
_CONFIG = """\
[global]
fsid = {fsid}
mon host = v1:{monitor}
mon initial members = a
public addr = 127.0.0.1
ms bind msgr2 = false
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = {folder}/keyring
run dir = {folder}/run
admin socket = {folder}/run/$name.asok
log file = {folder}/log/$name.log
log to syslog = false
crash dir = {folder}/crash
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon max pg per osd = 1000
[mon]
mon data = {folder}/mon
mon data avail crit = 1
mon data avail warn = 1
[osd]
osd data = {folder}/osd
osd objectstore = bluestore
bluestore block size = {disk_bytes}
osd memory target = 939524096
osd op num shards = 2
osd class load list = *
osd class default list = *
[client.rgw.a]
rgw data = {folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw thread pool size = 48
rgw dynamic resharding = false
"""

_KEYS = (
    ("mon.", ("mon", "allow *")),
    ("client.admin", ("mon", "allow *", "osd", "allow *", "mgr", "allow *")),
    ("osd.0", ("mon", "allow profile osd", "osd", "allow *")),
    ("client.rgw.a", ("mon", "allow *", "osd", "allow *")),
)


class CannotStart(RuntimeError):
    """A daemon of Ceph did not come up; the message holds the end of its log."""


def missing() -> list[str]:
    """The programs that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


def free_port() -> int:
    """A TCP port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Ceph:
    """One monitor, one disk, one gateway; `endpoint` answers S3."""

    def __init__(self) -> None:
        # Not pytest's folder: the path of an admin socket may have 107 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="ingot-ceph-"))
        for name in ("mon", "osd", "rgw", "run", "log", "crash"):
            (self._folder / name).mkdir()
        self._monitor = f"127.0.0.1:{free_port()}"
        self._port = free_port()
        self._fsid = str(uuid.uuid4())
        self._config = self._folder / "ceph.conf"
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.endpoint = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Make the cluster and start it; raises CannotStart."""
        self._config.write_text(
            _CONFIG.format(
                folder=self._folder, fsid=self._fsid, monitor=self._monitor, port=self._port, disk_bytes=_DISK_BYTES
            )
        )
        self._make_monitor()
        self._spawn("mon", "ceph-mon", "-i", "a")
        self._make_disk()
        self.start_disk()
        self._add_user(ACCESS_KEY, SECRET_KEY)
        self.start_gateway()

    def stop(self) -> None:
        """End the daemons and forget what they held."""
        for daemon in self._daemons.values():
            daemon.kill()
            daemon.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def kill(self, name: str) -> None:
        """SIGKILL to `gateway` or `disk`."""
        daemon = self._daemons[name]
        daemon.send_signal(signal.SIGKILL)
        daemon.wait()

    def start_disk(self) -> None:
        """Start the disk's daemon and wait until it is up."""
        self._spawn("disk", "ceph-osd", "-i", "0")
        self._wait("the disk", lambda: b"1 up" in self._ceph("osd", "stat"))

    def start_gateway(self) -> None:
        """Start the gateway and wait until it answers."""
        self._spawn("gateway", "radosgw", "-n", "client.rgw.a")
        self._wait("the gateway", self._answers)

    def remove_key(self, access_key: str) -> None:
        """Take a key away, as a rotation does."""
        self._admin("key", "rm", "--key-type=s3", f"--access-key={access_key}")

    def add_key(self, access_key: str, secret_key: str) -> None:
        """Give the user one more key."""
        self._admin("key", "create", "--uid=ingot", "--key-type=s3", f"--access-key={access_key}",
                    f"--secret-key={secret_key}")  # fmt: skip

    def _make_monitor(self) -> None:
        keyring, monmap = self._folder / "keyring", self._folder / "monmap"
        for number, (name, caps) in enumerate(_KEYS):
            words = [word for pair in zip(caps[::2], caps[1::2], strict=True) for word in ("--cap", *pair)]
            create = ["--create-keyring"] if number == 0 else []
            self._do("ceph-authtool", *create, str(keyring), "--gen-key", "-n", name, *words)
        self._do("monmaptool", "--create", "--addv", "a", f"v1:{self._monitor}", "--fsid", self._fsid, str(monmap))
        self._do("ceph-mon", "--mkfs", "-i", "a", "--monmap", str(monmap), "--keyring", str(keyring), *self._with())

    def _make_disk(self) -> None:
        disk = str(uuid.uuid4())
        self._ceph("osd", "new", disk)
        self._do("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk, *self._with())
        self._ceph("osd", "crush", "add", "osd.0", "1.0", "root=default", "host=tests")

    def _add_user(self, access_key: str, secret_key: str) -> None:
        self._admin("user", "create", "--uid=ingot", "--display-name=ingot", f"--access-key={access_key}",
                    f"--secret-key={secret_key}")  # fmt: skip

    def _with(self) -> list[str]:
        return ["-c", str(self._config)]

    def _admin(self, *words: str) -> None:
        self._do("radosgw-admin", *self._with(), "-n", "client.rgw.a", *words)

    def _ceph(self, *words: str) -> bytes:
        return self._do("ceph", *self._with(), "--connect-timeout", "20", *words)

    def _do(self, *words: str) -> bytes:
        done = subprocess.run(words, capture_output=True, timeout=120)
        if done.returncode:
            raise CannotStart(f"{' '.join(words)}: {done.stderr.decode(errors='replace')[-400:]}")
        return done.stdout

    def _spawn(self, name: str, *words: str) -> None:
        with open(self._folder / "log" / f"{name}.out", "ab") as output:
            self._daemons[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *words, "-f", *self._with()], stdout=output, stderr=output
            )

    def _answers(self) -> bool:
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(self.endpoint, timeout=2):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False

    def _wait(self, what: str, ready: object) -> None:
        assert callable(ready)
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            if ready():
                return
            time.sleep(0.3)
        logs = "\n".join(path.read_text(errors="replace")[-300:] for path in (self._folder / "log").iterdir())
        raise CannotStart(f"{what} of Ceph did not come up: {logs}")
