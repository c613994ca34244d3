"""Which network interface a node reaches its peers by: NCCL and gloo are told, instead of guessing."""

from __future__ import annotations

import fcntl
import os
import socket
import struct

_SIOCGIFADDR = 0x8915
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
        found = next((name for _, name in socket.if_nameindex() if _address_of(probe, name) == source), None)
    if found is None:
        raise OSError(f"packets to {address} leave from {source}, which no interface of this node has")
    if source != own_address:
        raise OSError(f"packets to {address} leave from {source}, not from this node's address {own_address}")
    return found


def _address_of(probe: socket.socket, name: str) -> str:
    try:
        answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
    except OSError:
        return ""
    return socket.inet_ntoa(answer[20:24])
