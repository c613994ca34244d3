"""The counters of a node's network: each byte once, where it leaves or enters the node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

LOOPBACK = "lo"
_INFINIBAND = "32"
"""ARPHRD_INFINIBAND (linux/if_arp.h): IP over InfiniBand, whose bytes its port counts too."""
_LANES = 4
"""`port_xmit_data` and `port_rcv_data` count bytes divided by 4 (Linux, ABI/stable/sysfs-class-infiniband)."""


def counters(devices: Path = Path("/proc/net/dev"), classes: Path = Path("/sys/class")) -> dict[str, dict[str, int]]:
    """Name -> bytes since boot: the loopback, the interfaces that are counted, and the ports of RDMA adapters.

    Of interfaces, those that are hardware: a bond, bridge, VLAN or tunnel only passes on what one of them sends. Where
    none is, as in a container or a network namespace, those that are not made of others: its own end of a veth pair.
    RDMA passes by the kernel: an interface counts nothing of it, the adapter's port does, named `mlx5_0/1` here.
    """
    found = _interfaces(devices)
    ports = dict(_ports(classes / "infiniband"))
    counted = _counted(sorted(found.keys() - {LOOPBACK}), classes / "net", with_ports=bool(ports))
    return {name: numbers for name, numbers in found.items() if name in {*counted, LOOPBACK}} | ports


def _interfaces(devices: Path) -> dict[str, dict[str, int]]:
    found = {}
    for line in devices.read_text().splitlines()[2:]:
        name, numbers = line.split(":", 1)
        received, _, _, _, _, _, _, _, sent, *_ = map(int, numbers.split())
        found[name.strip()] = {"received_bytes": received, "sent_bytes": sent}
    return found


def _counted(names: list[str], net: Path, *, with_ports: bool) -> list[str]:
    if not all((net / name).exists() for name in names):
        return names  # /sys is not there, or it was mounted in another network namespace and tells of its interfaces
    hardware = {name for name in names if (net / name / "device").exists()}
    if not hardware:
        return [name for name in names if not _is_made_of_others(net / name)]
    # Hyper-V's interface passes on what its virtual function sends, and is its master; both are hardware.
    slaves = {name for name in hardware if _target(net / name / "master") in hardware}
    by_port = {name for name in hardware if with_ports and _said(net / name / "type") == _INFINIBAND}
    return sorted(hardware - slaves - by_port)


def _is_made_of_others(interface: Path) -> bool:
    return (interface / "bridge").exists() or any(interface.glob("lower_*"))


def _target(link: Path) -> str:
    return link.resolve().name if link.exists() else ""


def _ports(infiniband: Path) -> Iterator[tuple[str, dict[str, int]]]:
    for port in sorted(infiniband.glob("*/ports/*")):
        name = f"{port.parent.parent.name}/{port.name}"
        data = [_said(port / "counters" / f"port_{way}_data") for way in ("rcv", "xmit")]
        # AWS's EFA has counters of its own, in bytes.
        own = [_said(port / "hw_counters" / f"{way}_bytes") for way in ("rx", "tx")]
        for said, unit in ((data, _LANES), (own, 1)):
            if all(number.isdigit() for number in said):
                received, sent = (int(number) * unit for number in said)
                yield name, {"received_bytes": received, "sent_bytes": sent}
                break


def _said(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:  # not there, or a port that does not answer
        return ""
