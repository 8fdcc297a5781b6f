"""What the pages tell an operator to type is typed, on a machine with the package, whose server may do what its unit file allows."""

import json
import re
import signal
import stat
import time
import urllib.request

import pytest

from im_client import TcpClient
from machine import Machine
from under_test import ROOT


def commands(page, heading):
    """The lines of the shell blocks below a heading."""
    text = (ROOT / "docs/operating" / page).read_text()
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert section, f"{page} has no {heading}"
    blocks = re.findall(r"^```sh\n(.*?)^```", section.group(1), re.M | re.S)
    assert blocks, f"{page}: nothing to type below {heading}"
    return [block.splitlines() for block in blocks]


def type_in(machine, line):
    if not line.startswith("systemctl "):
        return machine.run(line)
    verb, unit = line.split()[1:]
    assert unit == "dunlin"
    if verb == "reload":
        machine.service.send_signal(signal.SIGHUP)
    else:
        {"start": machine.start, "stop": machine.stop}[verb]()
    return ""


async def login(machine, token, device="d1"):
    client = await TcpClient.open(machine)
    return client, await client.connect(token, device)


@pytest.fixture
def machine(binary):
    with Machine(binary) as installed:
        installed.start()
        yield installed


@pytest.mark.deadline(120)
async def test_what_the_pages_tell_to_type_works_with_the_package(machine):
    (first,) = commands("running.md", "Install")
    assert [line.split()[0] for line in first] == ["sudo", "sudo", "systemctl"]
    token = type_in(machine, first[0]).strip()
    type_in(machine, first[1])
    type_in(machine, first[2])
    alice, told = await login(machine, token)
    epoch = told["epoch"]
    for i in range(50):
        await alice.send("bob", f"m{i}", f"m{i}")
    (back_up,) = commands("backup.md", "Backup")
    for line in back_up:
        type_in(machine, line)
    for i in range(50, 60):
        await alice.send("bob", f"m{i}", f"m{i}")
    deadline = time.monotonic() + 10
    while "configuration reloaded" not in machine.log.read_text():
        assert time.monotonic() < deadline
    drill, earnest = commands("backup.md", "Restore")
    for line in drill:
        type_in(machine, line)
    await alice.close()
    for line in earnest:
        type_in(machine, line)
    alice, told = await login(machine, token)  # the key is the old one, and so are the tokens of users
    assert told["epoch"] != epoch
    page = await alice.request("history", {"with": "bob", "limit": 100})
    assert [m["body"]["text"] for m in page["messages"]] == [f"m{i}" for i in range(50)]
    await alice.send("bob", "after", "after", abandon=True)
    await alice.close()
    machine.stop()
    for folder in machine.unit.state:
        for path in [machine.root / folder[1:], *(machine.root / folder[1:]).rglob("*")]:
            assert path.lstat().st_mode & 0o077 == 0, f"{path} {stat.filemode(path.lstat().st_mode)}"
            assert path.lstat().st_uid != 0, path


async def test_data_of_an_installation_from_before_there_was_a_place_for_backups_goes_on(machine):
    """It lies where it was, in a folder that a wide umask may have left open; the place for backups is made."""
    token = type_in(machine, "sudo -u dunlin dunlin token alice").strip()
    alice, _ = await login(machine, token)
    await alice.send("bob", "before", "x1")
    await alice.close()
    machine.stop()
    machine.run("rmdir /var/lib/dunlin-backups && chmod -R a+rX /var/lib/dunlin && rm -f /var/lib/dunlin/reserve")
    machine.run("/usr/share/dunlin-postinst configure 0.0.1")  # an upgrade
    machine.start()
    alice, _ = await login(machine, token)
    assert [m["body"]["text"] for m in (await alice.request("history", {"with": "bob"}))["messages"]] == ["before"]
    await alice.close()
    machine.run("sudo -u dunlin dunlin backup /var/lib/dunlin-backups/after --config /etc/dunlin/dunlin.yaml")
    with urllib.request.urlopen(f"http://{machine.admin}/info", timeout=5) as answer:
        assert json.loads(answer.read())
    machine.stop()


async def test_configuration_that_may_not_be_read_is_no_reason_to_check_another(machine):
    """For anyone but root and the server's group; defaults in its place would be called good."""
    machine.run("useradd --system someone")
    machine.run("! sudo -u someone dunlin config check 2>/tmp/said && grep -q 'cannot read /etc/dunlin/dunlin.yaml' /tmp/said")
