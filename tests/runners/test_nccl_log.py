"""Which network NCCL says that it goes over; lines as NCCL 2.18 to 2.28 write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlb.runners.nccl_log import have_nccl_tell, networks

HEAD = """ip-10-0-0-5:311:311 [0] NCCL INFO Bootstrap : Using ens5:10.0.0.5<0>
ip-10-0-0-5:311:311 [0] NCCL INFO NET/Plugin: Failed to find ncclNetPlugin symbol.
ip-10-0-0-5:311:340 [0] NCCL INFO Using network {network}
"""
CHANNEL = "ip-10-0-0-5:311:340 [0] NCCL INFO Channel 0{channel}/0 : 1[0] -> 0[0] [{way}] via {via}\n"


def channels(*vias: str) -> str:
    return "".join(CHANNEL.format(channel=n, way=w, via=via) for n, via in enumerate(vias) for w in ("send", "receive"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEAD.format(network="Socket") + channels("NET/Socket/0", "NET/Socket/0"), ["Socket"]),
        (HEAD.format(network="AWS Libfabric") + channels("NET/AWS Libfabric/0/GDRDMA"), ["AWS Libfabric"]),
        (HEAD.format(network="IBext_v8") + channels("NET/IBext_v8/1/GDRDMA(PCI)/Shared"), ["IBext_v8"]),
        (HEAD.format(network="IB") + channels("P2P/CUMEM/read", "NET/IB/0", "SHM/direct/direct"), ["IB"]),
        # Within one node nothing goes over it, but it is what NCCL would take.
        (HEAD.format(network="IB") + channels("P2P/IPC/read"), ["IB"]),
        (channels("NET/IB/0/GDRDMA", "NET/Socket/0"), ["IB", "Socket"]),
        ("via NET/IB/0\nUsing network IB\n", []),
        ("NCCL INFO Using network " + 1_000_000 * "x", [40 * "x"]),
        ("", []),
    ],
)
def test_what_it_goes_over(tmp_path: Path, text: str, expected: list[str]) -> None:
    (tmp_path / "log").write_text(text)
    assert networks(tmp_path / "log") == expected


def test_without_a_log_nothing_is_known(tmp_path: Path) -> None:
    assert networks(tmp_path / "none") == []


def test_nccl_is_asked_for_what_is_read(tmp_path: Path) -> None:
    environment = {"NCCL_DEBUG": "WARN"}
    have_nccl_tell(environment, tmp_path / "log")
    assert environment == {
        "NCCL_DEBUG": "INFO",
        "NCCL_DEBUG_SUBSYS": "INIT,NET",
        "NCCL_DEBUG_FILE": str(tmp_path / "log"),
    }
