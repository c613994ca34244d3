"""Which counters of a node's network are taken: on made-up trees of /sys, and on this very node."""

from pathlib import Path

import pytest
from mlb.runners.network import counters

MB = 1_000_000


class Node:
    """A /proc/net/dev and a /sys/class below a folder."""

    def __init__(self, path: Path) -> None:
        self.devices, self.classes = path / "dev", path / "class"
        self.devices.write_text("Inter-|   Receive\n face |bytes\n")
        self.interface("lo", 5, 5)

    def interface(self, name: str, received: int, sent: int, *, hardware: bool = False, type: int = 1) -> Path:  # noqa: A002
        with self.devices.open("a") as file:
            file.write(f"{name:>6}: {received} 3 0 0 0 0 0 0 {sent} 3 0 0 0 0 0 0\n")
        folder = self.classes / "net" / name
        folder.mkdir(parents=True)
        (folder / "type").write_text(f"{type}\n")
        if hardware:
            (folder / "device").mkdir()
        return folder

    def stack(self, upper: str, *lowers: str) -> None:
        """As a bond, a bridge or a VLAN lies over others."""
        net = self.classes / "net"
        for lower in lowers:
            (net / upper / f"lower_{lower}").symlink_to(net / lower)
            (net / lower / f"upper_{upper}").symlink_to(net / upper)
            if not upper.startswith(lower):  # a VLAN is no master
                (net / lower / "master").symlink_to(net / upper)

    def port(self, name: str, folder: str, **numbers: int) -> None:
        path = self.classes / "infiniband" / name / "ports" / "1" / folder
        path.mkdir(parents=True)
        for counter, number in numbers.items():
            (path / counter).write_text(f"{number}\n")

    def sent(self) -> dict[str, int]:
        found = counters(self.devices, self.classes)
        assert found.pop("lo") == {"received_bytes": 5, "sent_bytes": 5}, "the loopback is always there"
        return {name: numbers["sent_bytes"] for name, numbers in found.items()}


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_a_bond_a_vlan_and_bridges_over_hardware_count_once(node: Node) -> None:
    for name in ("eth0", "eth1"):
        node.interface(name, MB, 50 * MB, hardware=True)
    for name in ("bond0", "bond0.7", "br0", "veth1a2b", "docker0", "tunl0"):
        node.interface(name, 2 * MB, 100 * MB)
    node.stack("bond0", "eth0", "eth1")
    node.stack("bond0.7", "bond0")
    node.stack("br0", "bond0.7", "veth1a2b")
    assert node.sent() == {"eth0": 50 * MB, "eth1": 50 * MB}


def test_a_virtual_function_below_its_interface_counts_once(node: Node) -> None:
    node.interface("eth0", MB, 9 * MB, hardware=True)
    node.interface("enP1s1", MB, 9 * MB, hardware=True)
    node.stack("eth0", "enP1s1")
    assert node.sent() == {"eth0": 9 * MB}


def test_in_a_container_its_own_end_counts(node: Node) -> None:
    node.interface("eth0", MB, 7 * MB)
    assert node.sent() == {"eth0": 7 * MB}
    node.interface("eth1", MB, 8 * MB)
    assert node.sent() == {"eth0": 7 * MB, "eth1": 8 * MB}
    node.interface("bond0", MB, 15 * MB)
    node.stack("bond0", "eth0", "eth1")
    (node.interface("docker0", MB, 15 * MB) / "bridge").mkdir()
    assert node.sent() == {"eth0": 7 * MB, "eth1": 8 * MB}


def test_where_sys_is_of_another_namespace_all_count(node: Node) -> None:
    node.interface("eth0", MB, 7 * MB, hardware=True)
    with node.devices.open("a") as file:
        file.write(" veth0: 1 3 0 0 0 0 0 0 44 3 0 0 0 0 0 0\n")
    assert node.sent() == {"eth0": 7 * MB, "veth0": 44}


def test_rdma_is_counted_by_its_ports(node: Node) -> None:
    node.interface("eth0", MB, 3, hardware=True)
    node.interface("ib0", MB, 100, hardware=True, type=32)
    node.port("mlx5_0", "counters", port_xmit_data=250 * MB, port_rcv_data=25 * MB)
    node.port("rdmap0s6", "hw_counters", tx_bytes=77, rx_bytes=66)
    node.port("dead", "counters", port_xmit_data=1)
    assert node.sent() == {"eth0": 3, "mlx5_0/1": 1000 * MB, "rdmap0s6/1": 77}, "words of 4 bytes; IP over it is in it"
    received = counters(node.devices, node.classes)
    assert [received[name]["received_bytes"] for name in ("mlx5_0/1", "rdmap0s6/1")] == [100 * MB, 66]


def test_ip_over_infiniband_counts_where_its_port_does_not(node: Node) -> None:
    node.interface("ib0", MB, 100, hardware=True, type=32)
    assert node.sent() == {"ib0": 100}


def test_this_node_has_what_the_kernel_counts() -> None:
    before = counters()
    known = {line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]}
    assert "lo" in before
    assert {name for name in before if "/" not in name} <= known
    if known > {"lo"}:
        assert len(before) > 1, "what leaves the node is counted somewhere"
