"""A machine with the package on it, as far as that goes without systemd: the root folder with a layer of its own over it (nothing of what
happens there reaches the real one), the package's files in their places, its postinst run, and a service that is held to what the unit file allows.

Needs root, for mounts and users."""

import configparser
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

from im_server import READY, START_DEADLINE_S
from under_test import CLEAN_ENVIRONMENT, ROOT

SUDO = """#!/bin/sh
[ "$1" = -u ] || { echo "only sudo -u" >&2; exit 2; }
user=$2
shift 2
exec setpriv --reuid "$user" --regid "$user" --init-groups "$@"
"""

# In a chroot the root folder is no mount point, whose propagation could be changed: whoever made it has seen to that.
OWN_MOUNTS = ["unshare", "--mount", "--propagation", "unchanged"]

LAYER = """set -e
mount --make-rprivate / 2>/dev/null || true
mount -t tmpfs -o mode=755 tmpfs "$0"
mkdir "$0/upper" "$0/work" "$0/root"
mount -t overlay -o "lowerdir=/,upperdir=$0/upper,workdir=$0/work" overlay "$0/root"
for folder in proc sys dev; do mount --rbind "/$folder" "$0/root/$folder"; done
mount -t tmpfs -o mode=1777 tmpfs "$0/root/tmp"
echo made
exec sleep 3600
"""

# What ProtectSystem=strict, StateDirectory=, ReadWritePaths=, PrivateTmp= and ProtectHome= make of the file system.
SANDBOX = """set -e
root=$0
for path in $WRITABLE; do mount --bind "$root$path" "$root$path"; done
for path in /home /root; do mount -t tmpfs -o ro,mode=000 tmpfs "$root$path"; done
for path in /tmp /var/tmp; do mount -t tmpfs -o mode=1777 tmpfs "$root$path"; done
mount -o remount,bind,ro "$root"
for path in $WRITABLE /tmp /var/tmp; do touch "$root$path/may-be-written" && rm "$root$path/may-be-written"; done
! touch "$root/var/lib/may-not" 2>/dev/null
exec chroot "$root" setpriv --reuid "$RUN_AS" --regid "$RUN_AS" --init-groups --no-new-privs --bounding-set=-all,+net_bind_service \
  --inh-caps=-all,+net_bind_service --ambient-caps=-all,+net_bind_service sh -c "umask $MASK; exec $START"
"""


class Unit:
    """What the test needs of deploy/systemd/dunlin.service."""

    def __init__(self):
        parser = configparser.ConfigParser(strict=False, interpolation=None)
        parser.optionxform = str
        parser.read(ROOT / "deploy/systemd/dunlin.service")
        service = parser["Service"]
        assert service["ProtectSystem"] == "strict" and service["PrivateTmp"] == "yes" and service["ProtectHome"] == "yes"
        assert service["NoNewPrivileges"] == "yes" and service["CapabilityBoundingSet"] == service["AmbientCapabilities"] == "CAP_NET_BIND_SERVICE"
        self.state = [f"/var/lib/{name}" for name in service["StateDirectory"].split()]
        self.state_mode = service["StateDirectoryMode"]
        self.writable = [*self.state, *service.get("ReadWritePaths", "").split()]
        self.mask, self.user, self.start = service["UMask"], service["User"], service["ExecStart"]


class Machine:
    def __init__(self, binary):
        assert os.geteuid() == 0, "this test needs root, for mounts and users"
        self.unit = Unit()
        self.place = pathlib.Path(tempfile.mkdtemp(prefix="machine-"))
        self.holder = subprocess.Popen([*OWN_MOUNTS, "sh", "-c", LAYER, str(self.place)], stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
        assert self.holder.stdout.readline() == "made\n", "no layer over the root folder"
        self.root = pathlib.Path(f"/proc/{self.holder.pid}/root{self.place}/root")
        self.service = None
        self.log = self.place.parent / f"{self.place.name}.log"
        self._install(binary)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.service is not None and self.service.poll() is None:
            self.service.kill()
            self.service.wait(10)
        self.holder.kill()
        self.holder.wait(10)
        self.log.unlink(missing_ok=True)
        self.place.rmdir()

    def _install(self, binary):
        """As tools/package.sh lays it out and dpkg would unpack it."""
        (self.root / "etc/dunlin").mkdir(exist_ok=True)
        for source, target, mode in ((binary, "usr/bin/dunlin", 0o755), (ROOT / "deploy/dunlin.yaml", "etc/dunlin/dunlin.yaml", 0o644), (ROOT / "deploy/debian/postinst", "usr/share/dunlin-postinst", 0o755)):
            shutil.copyfile(source, self.root / target)
            (self.root / target).chmod(mode)
        (self.root / "usr/local/bin/sudo").write_text(SUDO)
        (self.root / "usr/local/bin/sudo").chmod(0o755)
        self.run("/usr/share/dunlin-postinst configure")

    def run(self, command):
        """As an administrator's shell would: as root, outside of the unit's restrictions, with a umask as usual."""
        enter = ["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", f"--root=/proc/{self.holder.pid}/root", "chroot", f"{self.place}/root", "sh", "-c", f"umask 022; cd /; {command}"]
        done = subprocess.run(enter, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, env={**CLEAN_ENVIRONMENT, "PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"})
        assert done.returncode == 0, f"{command}: {done.stderr}\n{self.log.read_text() if self.log.exists() else ''}"
        return done.stdout

    # -- systemctl

    def start(self):
        for folder in self.unit.state:
            self.run(f"install -d -o {self.unit.user} -g {self.unit.user} -m {self.unit.state_mode} {folder}")
        ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ready.bind(f"\0{self.place.name}")
        environment = {**CLEAN_ENVIRONMENT, "WRITABLE": " ".join(self.unit.writable), "RUN_AS": self.unit.user, "MASK": self.unit.mask, "START": self.unit.start, "NOTIFY_SOCKET": f"@{self.place.name}"}
        # A drop-in of the test's: ports that are free.
        environment |= {"DUNLIN_WEBSOCKET_PORT": "0", "DUNLIN_TCPSOCKET_PORT": "0", "DUNLIN_ADMIN_LISTEN": "127.0.0.1:0"}
        enter = ["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", f"--root=/proc/{self.holder.pid}/root", *OWN_MOUNTS, "sh", "-c", SANDBOX, f"{self.place}/root"]
        with ready, open(self.log, "ab") as log:
            self.service = subprocess.Popen(enter, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, text=True, env=environment)
            ready.settimeout(0.1)
            deadline = time.monotonic() + START_DEADLINE_S
            while True:
                assert self.service.poll() is None and time.monotonic() < deadline, self.log.read_text()
                try:
                    if "READY=1" in ready.recv(4096).decode():
                        break
                except TimeoutError:
                    pass
        match = READY.match(self.service.stdout.readline().rstrip("\n"))
        assert match, self.log.read_text()
        self.ws, self.tcp, self.admin = match.group(1), match.group(2), match.group(3)

    def stop(self):
        self.service.terminate()
        assert self.service.wait(20) == 0, self.log.read_text()

    @property
    def ws_url(self):
        return f"ws://{self.ws}/im"

    @property
    def tcp_address(self):
        host, port = self.tcp.rsplit(":", 1)
        return host.strip("[]"), int(port)
