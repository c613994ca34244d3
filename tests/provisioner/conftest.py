"""A fleet of hosts that answer by SSH, for all tests of a file."""

from collections.abc import Iterator

import pytest
from mlb.provisioner.ssh import SshTransport, doors
from mlb.provisioner.ssh_session import Patience
from ssh_fleet import SshFleet, need_namespaces, running_fleet

BRIEF = Patience(connect_s=10.0, silence_s=0.5, ping_s=4.0, retry_s=60.0, grace_s=8.0)


@pytest.fixture(scope="module")
def ssh_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshFleet]:
    need_namespaces()
    with running_fleet(tmp_path_factory.mktemp("fleet"), 5) as made:
        yield made


@pytest.fixture
def nodes(ssh_fleet: SshFleet) -> Iterator[dict[str, SshTransport]]:
    """A fresh connection to every host."""
    with doors(ssh_fleet.fleet, ssh_fleet.fleet.nodes, BRIEF) as made:
        yield made
