"""Which network interface a node reaches its peers by: NCCL and gloo are told, instead of guessing."""

from __future__ import annotations

import array
import fcntl
import os
import socket
import struct

_SIOCGIFCONF = 0x8912
_REQUEST = struct.Struct("16sHH4s16x")
"""Linux's `ifreq` with an IPv4 address, on 64 bits: name, family, port, address."""
_MOST_ADDRESSES = 1024
_ANY_PORT = 9
_VARIABLES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "TP_SOCKET_IFNAME")


def use_interface_to(address: str, own_address: str) -> str:
    """Have NCCL and gloo use the interface that leads to a peer, and return its name.

    A variable that the user has set stays as it is: a machine may have a better network than its route says.

    Raises:
        OSError: there is no route to the peer, or it does not leave from this node's private address.
    """
    name = interface_to(address, own_address)
    for variable in _VARIABLES:
        os.environ.setdefault(variable, name)
    return name


def interface_to(address: str, own_address: str) -> str:
    """The interface whose address packets to `address` leave from.

    Raises:
        OSError: as `use_interface_to`.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Sends nothing: connecting a datagram socket only asks the kernel for the route.
        probe.connect((address, _ANY_PORT))
        source = probe.getsockname()[0]
        found = _interfaces(probe).get(source)
    if found is None:
        raise OSError(f"packets to {address} leave from {source}, which no interface of this node has")
    if source != own_address:
        raise OSError(f"packets to {address} leave from {source}, not from this node's address {own_address}")
    return found


def _interfaces(any_socket: socket.socket) -> dict[str, str]:
    """IPv4 address -> interface, with those of an interface that has several."""
    buffer = array.array("B", bytes(_MOST_ADDRESSES * _REQUEST.size))
    at, length = buffer.buffer_info()
    (used, _) = struct.unpack("iL", fcntl.ioctl(any_socket.fileno(), _SIOCGIFCONF, struct.pack("iL", length, at)))
    found = (_REQUEST.unpack_from(buffer, offset) for offset in range(0, used, _REQUEST.size))
    # A secondary address may have a label of its own, `eth0:1`; the interface is what stands before the colon.
    return {socket.inet_ntoa(ip): name.split(b"\0")[0].decode().partition(":")[0] for name, _, _, ip in found}
