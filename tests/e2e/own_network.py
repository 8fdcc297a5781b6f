"""A server in a network namespace of its own: with addresses that are not loopback, or without IPv6, whatever the machine has."""

import os
import subprocess
import sys

ADDRESS = "192.0.2.1"  # TEST-NET-1: of the limits by address, unlike loopback, nothing is exempt here

SET_UP = f"""
import fcntl, os, socket, struct, sys
if sys.argv[1] == "without-ipv6":
    open("/proc/sys/net/ipv6/conf/all/disable_ipv6", "w").write("1")
SIOCSIFADDR, SIOCSIFFLAGS, IFF_UP = 0x8916, 0x8914, 1
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any:
    fcntl.ioctl(any, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
    fcntl.ioctl(any, SIOCSIFADDR, struct.pack("16sHH4s8x", b"lo:1", socket.AF_INET, 0, socket.inet_aton("{ADDRESS}")))
os.execvp(sys.argv[2], sys.argv[2:])
"""
AS_ROOT = os.geteuid() == 0


def prefix(kind="plain"):
    """For server_factory. `kind`: "plain", or "without-ipv6" as by sysctl net.ipv6.conf.all.disable_ipv6=1."""
    return ["unshare", *([] if AS_ROOT else ["--map-root-user"]), "--net", sys.executable, "-c", SET_UP, kind]


def missing(kind="plain"):
    """Why this machine lets nobody have a network of his own; empty if it does."""
    tried = subprocess.run([*prefix(kind), "true"], capture_output=True, text=True, timeout=20)
    return tried.stderr if tried.returncode else ""


def run_beside(server, script, *arguments):
    """Runs Python text in the server's network; what it printed."""
    enter = ["nsenter", "--target", str(server.process.pid), *([] if AS_ROOT else ["--user", "--preserve-credentials"]), "--net"]
    done = subprocess.run([*enter, sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, timeout=40)
    assert done.returncode == 0, done.stderr
    return done.stdout
