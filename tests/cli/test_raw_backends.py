"""Which backends task 0a measures, and that each other one is named with its reason."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from mlb.cli import bench_fleet, bench_raw, raw_backends
from mlb.cli.bench_spec import Where
from mlb.cli.raw_backends import libraries_of, measured
from mlb.cli.request import Request
from mlb.errors import PreflightError, UsageError
from mlb.provisioner import backends
from mlb.provisioner.fleet import Fleet, FleetNode
from mlb.provisioner.shape import BACKENDS, Shape
from mlb.results.backends import MPI_PACKAGES

PLAIN = Request("task0a")
CPUS, GPUS, ONE_GPU = Shape(2, "gloo", 1), Shape(2, "nccl", 1), Shape(1, "nccl", 1)
Missing = Callable[..., None]


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> Missing:
    """Makes some backends missing, and all others there."""

    def make(*names: str) -> None:
        found = dict.fromkeys(names, ("no such package.", "Get it."))
        monkeypatch.setattr(raw_backends, "missing", lambda backend, _wheelhouse=None: found.get(backend))

    return make


@pytest.mark.parametrize("on_fleet", [False, True])
@pytest.mark.parametrize(
    ("asked", "shape", "there_not", "expected"),
    [
        (None, CPUS, ("ucc",), ("gloo", "mpi")),
        (None, CPUS, ("mpi", "ucc"), ("gloo",)),
        (None, GPUS, ("ucc",), ("gloo", "mpi", "nccl")),
        (None, GPUS, ("mpi", "ucc"), ("gloo", "nccl")),
        ("nccl", GPUS, ("ucc",), ("gloo", "mpi", "nccl")),
        ("mpi", replace(CPUS, backend="mpi"), ("ucc",), ("gloo", "mpi")),
        ("ucc", replace(CPUS, backend="ucc"), ("mpi",), ("gloo", "ucc")),
        (None, ONE_GPU, (), ("nccl",)),
    ],
)
def test_every_backend_is_measured_or_left_out_with_a_reason(
    lacking: Missing, asked: str | None, shape: Shape, there_not: tuple[str, ...], expected: tuple[str, ...],
    on_fleet: bool,
) -> None:  # fmt: skip
    lacking(*there_not)
    names, notes = measured(replace(PLAIN, backend=asked), shape, on_fleet=on_fleet)
    assert names == expected
    assert [note.split(" is left out: ")[0] for note in notes] == [name for name in BACKENDS if name not in expected]
    assert all(len(note.split(": ", 1)[1]) > 10 for note in notes)


def test_gloo_alone_is_what_was_asked_for(lacking: Missing) -> None:
    lacking()
    assert measured(replace(PLAIN, backend="gloo"), CPUS, on_fleet=False) == (("gloo",), ())
    assert libraries_of(replace(PLAIN, backend="gloo")) == ()


def test_what_nccl_lacks_is_said(lacking: Missing) -> None:
    lacking("mpi", "ucc")
    _, notes = measured(PLAIN, CPUS, on_fleet=False)
    assert "nccl is left out: it needs GPUs, and there are none." in notes
    _, notes = measured(replace(PLAIN, backend="mpi"), replace(CPUS, backend="mpi"), on_fleet=True)
    assert "nccl is left out: it needs GPUs, and --backend mpi puts ranks on CPUs." in notes


def test_ucc_of_this_machine_says_nothing_of_the_nodes(lacking: Missing) -> None:
    lacking()
    assert "ucc" in measured(PLAIN, CPUS, on_fleet=False)[0]
    names, notes = measured(PLAIN, CPUS, on_fleet=True)
    assert "ucc" not in names
    assert any("--backend ucc" in note for note in notes)


def test_mpi_goes_to_the_nodes_where_it_can(lacking: Missing) -> None:
    lacking("ucc")
    assert libraries_of(PLAIN) == MPI_PACKAGES
    assert libraries_of(replace(PLAIN, backend="nccl")) == MPI_PACKAGES
    lacking("mpi")
    assert libraries_of(PLAIN) == ()


def test_a_fleets_nodes_are_made_ready_with_mpi(
    lacking: Missing, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lacking("ucc")
    given = []

    class Asked(Exception):
        pass

    def make_ready(_request: Request, _names: object, _doors: object, libraries: tuple[str, ...] = ()) -> None:
        given.append(libraries)
        raise Asked

    monkeypatch.setattr(bench_fleet, "held", lambda *_, **__: nullcontext())
    monkeypatch.setattr(bench_raw.fleets, "doors_to", lambda *_: nullcontext({}))
    monkeypatch.setattr(bench_fleet, "make_ready", make_ready)
    node = FleetNode("t-0", "10.0.0.1", 22, "root", "10.0.0.1", 0)
    fleet = Fleet("t", "ssh", "ready", None, None, (node,), tmp_path)
    for backend in (None, "gloo"):
        with pytest.raises(Asked):
            bench_raw._start_on(fleet, replace(PLAIN, backend=backend))
    assert given == [MPI_PACKAGES, ()]


def test_a_folder_of_wheels_has_to_hold_mpi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(backends, "mpi_packages_missing", list)
    monkeypatch.setattr(backends.metadata, "version", {"mpi4py": "4.1.0", "mpich": "4.3.2"}.__getitem__)
    request = replace(PLAIN, wheelhouse=tmp_path)
    (tmp_path / "mpi4py-4.1.0-cp311-abi3-manylinux_2_17_x86_64.whl").touch()
    (tmp_path / "mpich-4.2.0-py3-none-manylinux_2_17_x86_64.whl").touch()
    assert libraries_of(request) == ()
    names, notes = measured(request, CPUS, on_fleet=True)
    assert names == ("gloo",)
    (note,) = (note for note in notes if note.startswith("mpi"))
    assert f"{tmp_path} has no wheel of mpich==4.3.2" in note
    assert note.endswith(f"pip download --only-binary :all: --dest {tmp_path} mpich==4.3.2.")
    with pytest.raises(PreflightError, match=r"has no wheel of mpich==4\.3\.2"):
        backends.refuse_if_missing("mpi", tmp_path)
    assert measured(request, CPUS, on_fleet=False)[0] == ("gloo", "mpi"), "this machine needs no wheels"
    (tmp_path / "mpich-4.3.2-py3-none-manylinux_2_17_x86_64.whl").touch()
    assert libraries_of(request) == MPI_PACKAGES
    assert measured(request, CPUS, on_fleet=True)[0] == ("gloo", "mpi")


@pytest.mark.parametrize("shape", [Shape(1, "gloo", 1), Shape(1, "mpi", 1)])
def test_one_rank_on_a_cpu_is_refused(shape: Shape) -> None:
    with pytest.raises(UsageError, match="One rank has nobody to communicate with"):
        bench_raw._spec(PLAIN, shape, Where("r", "local"))
