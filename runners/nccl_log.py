"""Which network NCCL goes over, by its own words: what it chose, not what it was meant to choose.

NCCL falls back to TCP sockets without an error where its plugin or its driver is missing, at a tenth of the speed.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from pathlib import Path

# "host:12:34 [0] NCCL INFO Channel 00/0 : 0[0] -> 1[0] [send] via NET/AWS Libfabric/0/GDRDMA"
_VIA = re.compile(r"NCCL INFO Channel [^\n]*\] via NET/([^/\n]{1,40})")
# "host:12:34 [0] NCCL INFO Using network Socket"
_USING = re.compile(r"NCCL INFO Using network ([^\n]{1,40})")
_MOST_BYTES = 4 << 20


def have_nccl_tell(environment: MutableMapping[str, str], file: Path) -> None:
    """Have NCCL, once it is initialised by this process, write how it set itself up to `file`."""
    environment.update(NCCL_DEBUG="INFO", NCCL_DEBUG_SUBSYS="INIT,NET", NCCL_DEBUG_FILE=str(file))


def networks(file: Path) -> list[str]:
    """The networks between nodes that NCCL's log names, sorted: `Socket`, `IB`, `AWS Libfabric`; none without a log.

    What channels go over counts; where no channel leaves the node, the network that NCCL has ready for it.
    """
    try:
        with file.open("rb") as log:
            text = log.read(_MOST_BYTES).decode(errors="replace")
    except OSError:
        return []
    return sorted({name.strip() for name in _VIA.findall(text) or _USING.findall(text)})
