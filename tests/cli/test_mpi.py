"""The backend mpi, from the command line: a run like any other, and the end of a rank named as its cause."""

import os
import signal
from pathlib import Path

import pytest
from mlb.errors import PreflightError
from mlb.provisioner import shape
from mlb.provisioner.nodes import Node
from mlb.results import backends
from mlb.results.log import read_log
from mlb.results.run import RunFolder
from support import Mlb, wait_for_steps

NODE = Node("n", gpus=0, cores=2, memory_bytes=8 << 30)


def chosen(backend: str) -> shape.Shape:
    return shape.choose(NODE, ranks=2, backend=backend, memory_bytes_per_rank=1)


def test_without_mpi_the_backend_is_refused_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "MPI_PACKAGES", ("numpy", "no-such-mpi"))
    with pytest.raises(PreflightError) as refused:
        chosen("mpi")
    assert "no-such-mpi is not installed" in str(refused.value)
    assert "pip install 'mlb[mpi]'" in str(refused.value)


def test_ucc_is_refused_where_torch_was_built_without_it() -> None:
    import torch.distributed as dist

    if dist.is_ucc_available():
        assert chosen("ucc").backend == "ucc"
        return
    with pytest.raises(PreflightError, match="USE_UCC=1"):
        chosen("ucc")


@pytest.fixture
def mlb(tmp_path: Path) -> Mlb:
    pytest.importorskip("mpi4py")
    return Mlb(tmp_path / "home", tmp_path)


@pytest.mark.system
@pytest.mark.parametrize("aggregation", ["allreduce", "ddp"])
def test_a_run_over_mpi_is_logged_like_one_over_gloo(mlb: Mlb, aggregation: str) -> None:
    options = ("--goal", "smoke", "--data", "synthetic", "--steps", "8", "--aggregation", aggregation)
    mlb.json("bench", "task3a", *options, "--backend", "mpi")
    (path,) = (mlb.home / "runs").iterdir()
    folder = RunFolder(path)
    for rank in range(2):
        steps = [event.fields for event in read_log(folder.rank_events(rank)).events if event.key == "step"]
        assert len(steps) == 8
        for step in steps:
            assert set(step["collective_operation"]) == {"all_reduce"}
            assert all(size > 0 for size in step["collective_bytes"])
            times = zip(step["collective_arrival_ns"], step["collective_end_ns"], strict=True)
            assert all(0 <= arrival < end for arrival, end in times)


@pytest.mark.system
def test_a_killed_rank_ends_the_others_and_is_the_cause(mlb: Mlb) -> None:
    folder = mlb.detached("--backend", "mpi")
    wait_for_steps(folder, 5)
    os.kill(int(folder.rank_pid(1).read_text()), signal.SIGKILL)
    done = mlb("bench", "attach", folder.run_id)
    assert done.returncode != 0
    assert "Rank 1 failed first: killed by SIGKILL" in done.stderr
