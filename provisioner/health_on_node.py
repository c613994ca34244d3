"""What a node says about its own fitness, and its links to its neighbours; sent there as text, like `on_node`."""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from .on_node import VERBS, Refused, at_home

GPU_FIELDS = (
    "index",
    "name",
    "driver_version",
    "ecc.mode.current",
    "ecc.errors.uncorrected.volatile.total",
    "clocks.current.sm",
    "clocks.max.sm",
    "clocks_throttle_reasons.active",
    "temperature.gpu",
    "power.limit",
)
_PINGS = 50
_STREAM_S = 0.15
_BLOCK = bytes(128 * 1024)
_LINK_TIMEOUT_S = 15.0
_QUIET_LOAD = 0.5
_BUSY_LOOK_S = 0.25
_PORT_LOWEST, _PORT_HIGHEST = 20000, 32000
"""Below the range from which the kernel takes the ports of outgoing connections."""


def examine(request: dict[str, Any], _source: BinaryIO, sink: BinaryIO) -> None:
    """The node's GPUs, disk, shared memory, interface, load and boot."""
    home = at_home(request["home"])
    device = interface_of(request["address"])
    said = {
        "gpus": _gpu_rows(),
        "topology": _nvidia_smi("topo", "-m"),
        "disk_free_bytes": shutil.disk_usage(home if home.exists() else Path.home()).free,
        "shm_free_bytes": shutil.disk_usage("/dev/shm").free if Path("/dev/shm").is_dir() else 0,  # noqa: S108  # POSIX's
        "interface": device,
        "mtu": _mtu(device),
        "load_1min": os.getloadavg()[0],
        "busy_cores": _busy_cores(),
        "cores": len(os.sched_getaffinity(0)),
        "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "free_port": _free_port(request["address"]),
    }
    sink.write(json.dumps(said).encode() + b"\n")


def _busy_cores() -> float:
    """How many cores work right now; 0 where even the last minute was quiet, which is known without waiting.

    The load of the last minute alone would blame the run before this one on somebody else.
    """
    if os.getloadavg()[0] < _QUIET_LOAD:
        return 0.0
    before = _processor_ticks()
    time.sleep(_BUSY_LOOK_S)
    worked, whole = (b - a for a, b in zip(before, _processor_ticks(), strict=True))
    return (os.cpu_count() or 1) * worked / max(1, whole)


def _processor_ticks() -> tuple[int, int]:
    """Those that the node's cores worked, and all of them, since the boot."""
    user, nice, system, idle, waiting, *others = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9])
    worked = user + nice + system + sum(others)
    return worked, worked + idle + waiting


def interface_of(address: str) -> str:
    """The network interface that has an address: what NCCL and Gloo have to be told; empty if none has it."""
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            packed = struct.pack("256s", name.encode()[:15])
            with suppress(OSError):
                answer = fcntl.ioctl(asked.fileno(), 0x8915, packed)  # SIOCGIFADDR
                if socket.inet_ntoa(answer[20:24]) == address:
                    return name
    return ""


def serve_links(request: dict[str, Any], source: BinaryIO, sink: BinaryIO) -> None:
    """Answer the probes of other nodes that show the token, until standard input ends."""
    server = socket.create_server((request["address"], 0), backlog=64)
    sink.write(json.dumps({"port": server.getsockname()[1]}).encode() + b"\n")
    sink.flush()

    def accept() -> None:
        while True:
            caller, _ = server.accept()
            threading.Thread(target=_answer_probe, args=(caller, request["token"]), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    source.read()


def probe_link(request: dict[str, Any], _source: BinaryIO, sink: BinaryIO) -> None:
    """Round trip and bandwidth, both ways, to a node that serves links.

    The answer: `rtt_s`, the least of fifty; `bits_per_s_out` and `bits_per_s_in`, of one TCP connection each.
    """
    try:
        with socket.create_connection((request["host"], request["port"]), _LINK_TIMEOUT_S) as peer:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer.sendall(request["token"].encode().ljust(64))
            said = {"rtt_s": min(_ping(peer) for _ in range(_PINGS))}
            peer.sendall(b"S")
            _stream(peer)
            said["bits_per_s_out"] = struct.unpack("!d", _exactly(peer, 8))[0]
            peer.sendall(b"R")
            said["bits_per_s_in"] = _drain(peer)
    except OSError as error:
        raise Refused(f"it does not reach {request['host']}: {error}") from None
    sink.write(json.dumps(said).encode() + b"\n")


def _answer_probe(caller: socket.socket, token: str) -> None:
    with caller, suppress(OSError, EOFError):
        caller.settimeout(_LINK_TIMEOUT_S)
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if _exactly(caller, 64).strip().decode() != token:
            return
        while True:
            verb = _exactly(caller, 1)
            if verb == b"P":
                caller.sendall(b"P")
            elif verb == b"S":
                caller.sendall(struct.pack("!d", _drain(caller)))
            else:
                _stream(caller)


def _ping(peer: socket.socket) -> float:
    begun = time.monotonic()
    peer.sendall(b"P")
    _exactly(peer, 1)
    return time.monotonic() - begun


def _stream(peer: socket.socket) -> None:
    """Send blocks for a while: each begins with 1, the last with 0."""
    until = time.monotonic() + _STREAM_S
    block = b"\1" + _BLOCK[1:]
    while time.monotonic() < until:
        peer.sendall(block)
    peer.sendall(_BLOCK)


def _drain(peer: socket.socket) -> float:
    """Bits a second of what `_stream` sends, from the first block's arrival to the last's."""
    view = memoryview(bytearray(len(_BLOCK)))
    begun, blocks = 0.0, 0
    while True:
        got = 0
        while got < len(view):
            count = peer.recv_into(view[got:])
            if not count:
                raise EOFError
            got += count
        if not blocks:
            begun = time.monotonic()
        blocks += 1
        if view[0] == 0:
            return 8 * (blocks - 1) * len(view) / max(time.monotonic() - begun, 1e-9)


def _exactly(peer: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = peer.recv(count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def _gpu_rows() -> list[dict[str, str]]:
    """One entry a GPU. A driver refuses a whole query for one field that it does not know, and fields get new names."""
    renamed = ",".join(GPU_FIELDS).replace("clocks_throttle_reasons", "clocks_event_reasons")
    for fields in (",".join(GPU_FIELDS), renamed, ",".join(GPU_FIELDS[:3])):
        listed = _nvidia_smi(f"--query-gpu={fields}", "--format=csv,noheader,nounits")
        if listed:
            rows = (map(str.strip, line.split(",")) for line in listed.splitlines())
            return [dict(zip(GPU_FIELDS, row)) for row in rows]  # noqa: B905  # a word of Python 3.10
    return []


def _nvidia_smi(*arguments: str) -> str:
    with suppress(OSError, subprocess.SubprocessError):
        asked = subprocess.run(["nvidia-smi", *arguments], capture_output=True, text=True, timeout=60, check=True)
        return asked.stdout
    return ""


def _mtu(device: str) -> int:
    with suppress(OSError, ValueError):
        return int(Path(f"/sys/class/net/{device}/mtu").read_text())
    return 0


def _free_port(address: str) -> int:
    for port in range(_PORT_LOWEST + os.getpid() % 4096, _PORT_HIGHEST):
        with suppress(OSError), socket.socket() as tried:
            tried.bind((address, port))
            return port
    return 0


VERBS.update(examine=examine, serve_links=serve_links, probe_link=probe_link)
