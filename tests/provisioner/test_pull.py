"""Files of a run, pulled by the real program of the node, in a process of its own; hostile content and answers."""

import base64
import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from mlb.errors import DiskFull, ResultsInvalid
from mlb.provisioner import feed_on_node, pull
from mlb.provisioner.program import LOADER, program
from mlb.provisioner.pull import NodePull
from mlb.provisioner.transport import LocalTransport
from mlb.results.metrics import compute
from mlb.results.process import start_ticks
from mlb.results.report import to_text
from mlb.results.run import NodeStatus, RunFolder, write_json
from support import example_spec

SPEC = example_spec(ranks=2, nodes=2, node_names=("t-0", "t-1"))


def ask(request: dict[str, Any]) -> dict[str, Any]:
    text = program(feed_on_node)
    argv = ["python3", "-IS", "-c", LOADER, str(len(text)), "feed"]
    done = LocalTransport().run(argv, stdin=text + json.dumps(request).encode() + b"\n", timeout_s=60)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture
def there(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "node" / SPEC.run_id)
    folder.create()
    return folder


@pytest.fixture
def here(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "here" / SPEC.run_id)
    folder.create()
    write_json(folder.spec, SPEC)
    return folder


def puller(here: RunFolder, there: RunFolder) -> NodePull:
    return NodePull(here, SPEC, 1, str(there.path), ask)


def drain(node: NodePull) -> None:
    while not node.look().drained:
        pass


def test_files_grow_here_as_they_grow_there(here: RunFolder, there: RunFolder) -> None:
    node = puller(here, there)
    assert (node.look().agent, node.look().drained) == ("none", True)
    whole = b""
    for piece in (b"a line\nhalf a ", b"line\n", b"", b"\xff\x00 no text\n"):
        whole += piece
        with there.rank_events(1).open("ab") as file:
            file.write(piece)
        drain(node)
        assert here.rank_events(1).read_bytes() == whole
    assert node.verify() == ()
    assert not here.rank_events(0).exists(), "the other node's ranks are not this one's to send"


def test_two_pulls_at_once_write_nothing_twice(here: RunFolder, there: RunFolder) -> None:
    there.rank_log(1).write_bytes(os.urandom(20 << 20))
    one, other = puller(here, there), puller(here, there)
    while not (one.look().drained and other.look().drained):
        pass
    assert here.rank_log(1).read_bytes() == there.rank_log(1).read_bytes()


def test_what_differs_is_found_at_the_end_and_pulled_again(here: RunFolder, there: RunFolder) -> None:
    there.rank_events(1).write_bytes(b"right\n")
    here.rank_events(1).write_bytes(b"wrong\n")
    node = puller(here, there)
    assert node.verify() == ("events/rank-00001.jsonl",)
    drain(node)
    assert node.verify() == ()


def test_the_agent_is_seen_alive_and_gone(here: RunFolder, there: RunFolder) -> None:
    node = puller(here, there)
    for ticks, word in ((start_ticks(os.getpid()), "alive"), (1, "gone")):
        write_json(there.node_status(1), NodeStatus(1, "running", os.getpid(), ticks, 0))
        assert node.look().agent == word
        status = here.read_status(1)
        assert status is not None
        assert status.agent_start_ticks == ticks


def test_hostile_files_come_whole_and_leave_report_and_files_sane(here: RunFolder, there: RunFolder) -> None:
    """Escape codes, markup, a line of 100 MB, NaN, deep JSON, names that climb: in events, output and status."""
    nasty = [
        b'{"key": "failure", "seq": 0, "time_ns": 1, "kind": "\\u001b[2J[/red]", "message": "\\u009b31m../../etc"}\n',
        b'{"key": "step", "seq": 1, "time_ns": NaN}\n',
        b"[" * 100_000 + b"\n",
        b'{"key": "log_start", "seq": 2, "time_ns": 1, "schema_version": 1, "run_id": "../../x", "host": 1e999}\n',
        b"\x1b]0;owned\x07[bold]x[/foo]\n",
        b"\x00\xff\xfe\n",
    ]
    there.rank_events(1).write_bytes(b"".join(nasty))
    with there.rank_events(0).open("wb") as file:
        for _ in range(100):
            file.write(b"A" * (1 << 20))
        file.write(b"\n")
    there.rank_events(0).rename(there.rank_log(1))
    there.node_log(1).write_bytes(b"".join(nasty) * 20_000)
    there.node_status(1).write_bytes(b'{"node": ' + b"[" * 200_000)
    before = {path for path in here.path.parent.parent.rglob("*") if here.path not in path.parents}
    node = puller(here, there)
    drain(node)
    assert node.verify() == ()
    assert here.rank_log(1).stat().st_size == (100 << 20) + 1
    assert {path for path in here.path.parent.parent.rglob("*") if here.path not in path.parents} == before
    text = to_text(compute(here))
    assert not {c for c in text if ord(c) < 32 or 127 <= ord(c) < 160} - {"\n"}
    assert len(text) < 20_000


def packed(header: object, body: bytes = b"") -> dict[str, str]:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return {"packed": base64.b64encode(zlib.compress(struct.pack("!I", len(text)) + text + body)).decode()}


GOOD = {"agent": "none", "incarnation": "x", "unix_ns": 1}


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"packed": 7},
        {"packed": "!!!"},
        packed({**GOOD, "files": []}),
        packed({**GOOD, "files": [{"name": "../../../root/.ssh/authorized_keys", "sent": 4, "size": 4}]}, b"evil"),
        packed(b"[" * 100_000),
        packed(b"\xff"),
        {"packed": base64.b64encode(zlib.compress(b"\0" * (64 << 20))).decode()},
    ],
)
def test_answers_that_are_none_are_refused(here: RunFolder, answer: dict[str, Any]) -> None:
    node = NodePull(here, SPEC, 1, "/nowhere", lambda _: answer)
    before = sorted(here.path.rglob("*"))
    with pytest.raises(ResultsInvalid, match="something else"):
        node.look()
    assert sorted(here.path.rglob("*")) == before


def test_a_full_disk_here_loses_nothing(here: RunFolder, there: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    there.rank_events(1).write_bytes(b"first\n")
    node = puller(here, there)
    drain(node)
    with monkeypatch.context() as small:
        small.setattr(pull, "_ROOM_BYTES", 1 << 60)
        with pytest.raises(DiskFull, match="No room for the run's logs") as caught:
            node.look()
        assert "mlb bench collect" in caught.value.fix
    assert here.rank_events(1).read_bytes() == b"first\n"
