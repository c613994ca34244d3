"""The launch plan: a value, compared whole."""

from pathlib import Path, PurePosixPath

from mlb.provisioner.plan import Place, candidate_ports, plan, plan_local, read_plan
from mlb.results.run import RunFolder, write_json
from support import example_spec

SPEC = example_spec(ranks=4, nodes=2, node_names=("t-0", "t-1"))
PLACES = [Place(f"t-{i}", f"10.0.0.{i + 1}", "/v/bin/python", PurePosixPath("/h/runs/r"), "aws") for i in range(2)]
ENV = {
    "OMP_NUM_THREADS": "1",
    "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "10",
    "PYTHONSAFEPATH": "1",
    "PYTHONUNBUFFERED": "1",
}


def test_two_nodes_meet_on_the_private_address_of_the_first() -> None:
    made = plan(SPEC, PLACES, fleet="t", ports=(20000, 20001))
    assert " ".join(made.nodes[1].argv) == (
        "/v/bin/python -P -m mlb.runners.agent /h/runs/r 1 --meet 10.0.0.1:20001 --address 10.0.0.2 "
        "--route-to 10.0.0.1 --cloud aws -- --nnodes=2 --nproc-per-node=2 --node-rank=1 --rdzv-backend=static "
        f"--rdzv-endpoint=10.0.0.1:20000 --local-addr=10.0.0.2 --rdzv-id={SPEC.run_id} --max-restarts=0 "
        "--module mlb.runners.worker /h/runs/r"
    )
    assert "--route-to 10.0.0.2" in " ".join(made.nodes[0].argv)
    assert made.nodes[0].env == made.nodes[1].env == ENV, "the interface is each node's to find"


def test_one_node_is_the_same_plan_without_a_meeting(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "r")
    made = plan_local(example_spec(), folder)
    argv = " ".join(made.nodes[0].argv)
    assert made.ports is None
    assert "--meet" not in argv
    assert "--rdzv-endpoint=127.0.0.1:0" in argv
    assert made.nodes[0].env == {**ENV, "GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}


def test_a_plan_reads_back_as_it_was_written(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    made = plan(SPEC, PLACES, fleet="t")
    write_json(folder.plan, made)
    assert read_plan(folder) == made


def test_ports_are_pairs_below_those_of_outgoing_connections_and_differ_by_attempt() -> None:
    pairs = {candidate_ports(SPEC.run_id, attempt) for attempt in range(5)}
    assert len(pairs) == 5
    for first, second in pairs:
        assert 20_000 <= first < second == first + 1 < 30_000
    assert candidate_ports(SPEC.run_id) == candidate_ports(SPEC.run_id)


def test_ranks_are_counted_node_by_node() -> None:
    assert [SPEC.ranks_of(node) for node in (0, 1)] == [range(2), range(2, 4)]
    assert [SPEC.node_of(rank) for rank in range(4)] == [0, 0, 1, 1]
    assert SPEC.name_of(1) == "node 1 (t-1)"
