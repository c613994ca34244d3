"""Links between ranks of one machine: a network namespace a rank, a rate (tbf), a delay (a switch in user space).

Everything lies in namespaces of its own, the bridge too: neither the machine's firewall nor other bridges matter.
"""

from __future__ import annotations

import fcntl
import heapq
import itertools
import json
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PREFIX = "mlbtr"
_TUNSETIFF, _TAP_WITHOUT_HEADER = 0x400454CA, 0x1002


def address(rank: int) -> str:
    """The address of a rank's end."""
    return f"10.78.0.{rank + 1}"


def burst_bytes(rate_mbit: float) -> int:
    """What a link's token bucket saves up at most: a millisecond's worth, as this kernel is late by a part of one."""
    return max(32 << 10, round(rate_mbit * 125))


def space(rank: int) -> str:
    """The name of a rank's namespace."""
    return f"{PREFIX}{rank}"


def ip(*lines: str, inside: str = "") -> None:
    """Run lines of `ip -batch`, in a namespace where one is named."""
    command = ["ip", *(["-n", inside] if inside else []), "-batch", "-"]
    subprocess.run(command, input="\n".join(lines) + "\n", text=True, check=True, capture_output=True)


@contextmanager
def links(rates_mbit: Sequence[float], delay_ms: float = 0.0) -> Iterator[None]:
    """One end for each rank, sending at its rate; every frame takes `delay_ms` to its receiver."""
    clear(len(rates_mbit))
    switch = None
    try:
        for rank in range(len(rates_mbit)):
            ip(f"netns add {space(rank)}")
        switch = _tap_switch(len(rates_mbit), delay_ms) if delay_ms else _bridge(len(rates_mbit))
        for rank, rate in enumerate(rates_mbit):
            _configure(rank, rate)
        yield
    finally:
        if switch is not None:
            switch.send_signal(signal.SIGTERM)
            switch.wait()
        clear(len(rates_mbit))


def run_ranks(
    script: str, arguments: Sequence[str], rates_mbit: Sequence[float], delay_ms: float, port: int
) -> list[Any]:
    """Run `script --rank FOLDER ARGUMENTS...` as each rank at its end of the links.

    Returns:
        What each wrote into FOLDER/RANK.json, in rank order.
    """
    with tempfile.TemporaryDirectory() as folder, links(rates_mbit, delay_ms):
        processes = []
        for rank in range(len(rates_mbit)):
            environment = {
                "RANK": str(rank), "WORLD_SIZE": str(len(rates_mbit)), "MASTER_ADDR": address(0),
                "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "eth0", "OMP_NUM_THREADS": "1",
                "PYTHONPATH": str(Path(__file__).parent),
            }  # fmt: skip
            command = ["ip", "netns", "exec", space(rank), sys.executable, "-P", script, "--rank", folder, *arguments]
            processes.append(subprocess.Popen(command, env={**os.environ, **environment}))
        codes = [process.wait() for process in processes]
        if any(codes):
            raise RuntimeError(f"the ranks ended with {codes}")
        return [json.loads((Path(folder) / f"{rank}.json").read_text()) for rank in range(len(rates_mbit))]


def clear(ranks: int) -> None:
    """Remove what an earlier run left."""
    for name in [f"{PREFIX}sw", *map(space, range(ranks))]:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _bridge(ranks: int) -> None:
    ip(f"netns add {PREFIX}sw")
    ip("link add name br0 type bridge", "link set br0 up", inside=f"{PREFIX}sw")
    for rank in range(ranks):
        ip(f"link add port{rank} netns {PREFIX}sw type veth peer name eth0 netns {space(rank)}")
        ip(f"link set port{rank} master br0", f"link set port{rank} up", inside=f"{PREFIX}sw")


def _tap_switch(ranks: int, delay_ms: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, __file__, str(ranks), str(delay_ms), PREFIX]
    switch = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert switch.stdout is not None
    assert switch.stdout.readline() == b"up\n", "the switch did not come up"
    return switch


def _configure(rank: int, rate_mbit: float) -> None:
    ip("link set lo up", f"addr add {address(rank)}/24 dev eth0", "link set eth0 up", inside=space(rank))
    enter = ["ip", "netns", "exec", space(rank)]
    # A training step is an idle link for TCP: without this it would start slowly at every collective.
    subprocess.run([*enter, "sysctl", "-qw", "net.ipv4.tcp_slow_start_after_idle=0"], check=True)
    if rate_mbit:
        shape = f"tbf rate {rate_mbit:g}mbit burst {burst_bytes(rate_mbit)} latency 500ms"
        subprocess.run([*enter, "tc", "qdisc", "add", "dev", "eth0", "root", *shape.split()], check=True)


def serve(ranks: int, delay_ms: float) -> None:
    """The switch: takes frames from each end's TAP device and hands each on when its time has come."""
    ends = []
    for rank in range(ranks):
        end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        name = f"{PREFIX}{rank}"
        fcntl.ioctl(end, _TUNSETIFF, struct.pack("16sH14x", name.encode(), _TAP_WITHOUT_HEADER))
        ip(f"link set {name} netns {space(rank)}")
        ip(f"link set {name} name eth0", inside=space(rank))
        ends.append(end)
    print("up", flush=True)
    poller, place_of, due, order = select.epoll(), {}, [], itertools.count()
    for end in ends:
        poller.register(end, select.EPOLLIN)
    while True:
        now = time.monotonic()
        for end, _ in poller.poll(max(0.0, due[0][0] - now) if due else -1):
            for frame in _frames(end):
                place_of[frame[6:12]] = end
                known = place_of.get(frame[:6])
                for other in [known] if known is not None else [e for e in ends if e != end]:
                    heapq.heappush(due, (time.monotonic() + delay_ms / 1e3, next(order), other, frame))
        while due and due[0][0] <= time.monotonic():
            _, _, end, frame = heapq.heappop(due)
            with suppress(OSError):  # to an end that is not up (yet): lost, as on any cable
                os.write(end, frame)


def _frames(end: int) -> Iterator[bytes]:
    for _ in range(64):
        try:
            yield os.read(end, 65600)
        except BlockingIOError:
            return


if __name__ == "__main__":
    PREFIX = sys.argv[3]
    serve(int(sys.argv[1]), float(sys.argv[2]))
