"""The interface by the route, in a namespace of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from ssh_fleet import need_namespaces

ASK = "from mlb.runners.route import *; import sys; print(interface_to(*sys.argv[1:]))"


@pytest.fixture
def space() -> Iterator[str]:
    """Two interfaces; the second one has two addresses, and no way leads out."""
    need_namespaces()
    name = f"mlbroute{os.getpid()}"
    script = (
        "link set lo up\nlink add a0 type veth peer name a1\nlink add b0 type veth peer name b1\n"
        "addr add 10.1.0.1/24 dev a0\naddr add 10.2.0.1/24 dev b0\naddr add 10.3.0.1/24 dev b0\n"
        "link set a0 up\nlink set a1 up\nlink set b0 up\nlink set b1 up\n"
    )
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "-batch", "-"], input=script, text=True, check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def ask(space: str, *addresses: str) -> str:
    command = ["ip", "netns", "exec", space, sys.executable, "-P", "-c", ASK, *addresses]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("peer", "own", "answer"),
    [
        ("10.1.0.9", "10.1.0.1", "a0"),
        ("10.2.0.9", "10.2.0.1", "b0"),
        ("10.3.0.9", "10.3.0.1", "b0"),
        (
            "10.3.0.9",
            "10.1.0.1",
            "OSError: packets to 10.3.0.9 leave from 10.3.0.1, not from this node's address 10.1.0.1",
        ),
        ("10.9.0.9", "10.1.0.1", "OSError: [Errno 101] Network is unreachable"),
    ],
)
def test_the_interface_that_leads_to_a_peer(space: str, peer: str, own: str, answer: str) -> None:
    assert ask(space, peer, own) == answer
