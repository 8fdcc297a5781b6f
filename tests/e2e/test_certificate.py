"""Certificates: a pair that cannot be used is named by file and line and nobody is asked for a passphrase; one that expires is told of in time."""

import asyncio
import datetime
import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import termios
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from test_clock import clock  # noqa: F401
from test_operation import served_name
from under_test import CLEAN_ENVIRONMENT

DAY_S = 86_400
FORMATS = {"pkcs8": serialization.PrivateFormat.PKCS8, "traditional": serialization.PrivateFormat.TraditionalOpenSSL}


def certificate(name, key, days):
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    built = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key()).serial_number(x509.random_serial_number())
    built = built.not_valid_before(now - datetime.timedelta(days=100)).not_valid_after(now + datetime.timedelta(days=days))
    return built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def write_pair(folder, name="dunlin", days=60, passphrase=None, key_format="pkcs8", chain=(), key=None):
    """The pair as tls.crt and tls.key; `chain`: the days that further certificates of the chain are good for."""
    folder.mkdir(exist_ok=True)
    key = key or ec.generate_private_key(ec.SECP256R1())
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    new = folder / "new"
    new.write_bytes(b"".join([certificate(name, key, days), *[certificate("issuer", ec.generate_private_key(ec.SECP256R1()), more) for more in chain]]))
    os.replace(new, folder / "tls.crt")
    new.write_bytes(key.private_bytes(serialization.Encoding.PEM, FORMATS[key_format], encryption))
    os.replace(new, folder / "tls.key")
    return {"tls": {"certificate-file": str(folder / "tls.crt"), "key-file": str(folder / "tls.key")}}


def on_a_terminal(command):
    """Runs it with a terminal of its own, at which nobody types. Its exit code and what it said, there too."""
    master, slave = pty.openpty()

    def take_terminal():
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(command, stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=take_terminal, env=CLEAN_ENVIRONMENT)
    os.close(slave)
    try:
        out, err = process.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise AssertionError(f"{command} waits") from None
    os.set_blocking(master, False)
    try:
        asked = os.read(master, 4096)
    except OSError:
        asked = b""
    os.close(master)
    return process.returncode, out + err, asked


def spoil(folder, how):
    if how.startswith("encrypted"):
        write_pair(folder, passphrase=b"hunter2", key_format=how.split("-")[1])
        return "tls.key-file", 3
    write_pair(folder)
    if how == "key of another certificate":
        other = ec.generate_private_key(ec.SECP256R1())
        (folder / "tls.key").write_bytes(other.private_bytes(serialization.Encoding.PEM, FORMATS["pkcs8"], serialization.NoEncryption()))
        return "tls.key-file", 3
    if how == "key is none":
        (folder / "tls.key").write_text("no key at all\n")
        return "tls.key-file", 3
    if how == "key is a folder":
        (folder / "tls.key").unlink()
        (folder / "tls.key").mkdir()
        return "tls.key-file", 3
    (folder / "tls.crt").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    return "tls.certificate-file", 2


SPOILT = ["encrypted-pkcs8", "encrypted-traditional", "key of another certificate", "key is none", "key is a folder", "certificate is none"]


@pytest.mark.parametrize("command", ["check", "serve"])
@pytest.mark.parametrize("how", SPOILT)
def test_pair_that_cannot_be_used_is_refused_by_file_and_line_without_a_question(binary, tmp_path, command, how):
    option, line = spoil(tmp_path / "pair", how)
    file = tmp_path / "dunlin.yaml"
    file.write_text(f"tls:\n  certificate-file: pair/tls.crt\n  key-file: pair/tls.key\nstore:\n  path: data\nwebsocket: {{port: 0}}\ntcpsocket: {{port: 0}}\nadmin: {{listen: '127.0.0.1:0'}}\n")
    verb = ["config", "check"] if command == "check" else ["serve"]
    code, said, asked = on_a_terminal([str(binary), *verb, "--config", str(file)])
    assert code == 2, said
    assert f"{file}:{line}: {option}: " in said, said
    assert asked == b"" and "hunter2" not in said


@pytest.mark.parametrize("by_signal", [True, False])
async def test_encrypted_key_at_a_reload_leaves_the_old_pair_and_a_server_that_ends(server_factory, tmp_path, by_signal):
    server = server_factory(write_pair(tmp_path / "pair", "first"))
    host, port = server.tcp_address
    write_pair(tmp_path / "pair", "second", passphrase=b"hunter2")
    if by_signal:
        server.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 15
    lines = (server.folder / "dunlin.yaml").read_text().splitlines()
    number = next(i for i, line in enumerate(lines, 1) if "key-file" in line)
    # The pair may be seen while only half of it is written, and the log is written behind.
    while f"dunlin.yaml:{number}: tls.key-file: " not in server.log or "encrypted" not in server.log:
        assert time.monotonic() < deadline, server.log
        await asyncio.sleep(0.1)
    assert server.metric("dunlin_config_reload_failures_total") > 0
    assert await asyncio.to_thread(served_name, host, port) == "first"
    write_pair(tmp_path / "pair", "third")
    while await asyncio.to_thread(served_name, host, port) != "third":
        assert time.monotonic() < deadline + 15, server.log
        await asyncio.sleep(0.1)
    assert server.stop() == 0


def warnings(server):
    return re.findall(r"WARN .*the certificate (has expired|expires in \d+ (?:days|hours))", server.log)


@pytest.mark.parametrize("days, chain, said", [(15.5, (), []), (13.5, (), ["expires in 13 days"]), (1.5, (), ["expires in 36 hours"]), (-1, (), ["has expired"]), (60, (5.5, 90), ["expires in 5 days"])])
def test_certificate_is_warned_of_at_the_start_from_fourteen_days_before_its_end(server_factory, tmp_path, days, chain, said):
    server = server_factory(write_pair(tmp_path / "pair", days=days + 60 / DAY_S, chain=chain))
    assert warnings(server) == said, server.log
    end = time.time() + min([days, *chain]) * DAY_S
    assert abs(server.metric("dunlin_tls_certificate_end_seconds") - end) < 300


async def test_end_of_a_certificate_is_looked_at_again_at_a_reload_and_once_a_day(server_factory, tmp_path, clock):  # noqa: F811
    server = server_factory(write_pair(tmp_path / "pair", days=60), prefix=["env", "NO_FAKE_STAT=1", *clock.prefix])
    assert warnings(server) == []

    async def until_warned(expected):
        deadline = time.monotonic() + 15
        while len(warnings(server)) < len(expected):
            assert time.monotonic() < deadline, server.log
            await asyncio.sleep(0.1)
        await asyncio.sleep(2.5)  # longer than two looks: once a day means once
        assert warnings(server) == expected

    clock.step(50 * DAY_S)
    await until_warned(["expires in 9 days"])
    clock.step(51 * DAY_S + 60)
    await until_warned(["expires in 9 days", "expires in 8 days"])
    clock.step(61 * DAY_S)
    await until_warned(["expires in 9 days", "expires in 8 days", "has expired"])
    write_pair(tmp_path / "pair", days=70.5)
    server.process.send_signal(signal.SIGHUP)
    await until_warned(["expires in 9 days", "expires in 8 days", "has expired", "expires in 9 days"])


def test_without_tls_no_certificate_ends(server):
    assert "dunlin_tls_certificate_end_seconds 0" in server.get("/metrics")[1]
    assert "certificate" not in server.log


def test_origin_of_a_bad_file_is_the_environment_variable_that_named_it(binary, tmp_path):
    write_pair(tmp_path / "pair", passphrase=b"x" * 8)
    (tmp_path / "dunlin.yaml").write_text(json.dumps({"tls": {"certificate-file": "pair/tls.crt"}}))
    done = subprocess.run([binary, "config", "check", "--config", tmp_path / "dunlin.yaml"], capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL,
                          env={**CLEAN_ENVIRONMENT, "DUNLIN_TLS_KEY_FILE": str(tmp_path / "pair/tls.key")})
    assert done.returncode == 2 and "DUNLIN_TLS_KEY_FILE: tls.key-file: " in done.stderr, done
