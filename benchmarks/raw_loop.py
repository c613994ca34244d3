"""Task 0a against a bare loop over the same call and a raw TCP copy: python benchmarks/raw_loop.py --help.

Ranks of this machine, loopback. In each round of a size every kind has its turn, in an order drawn anew:

    mlb   runners/raw.py's own timed repetition, as `mlb bench task0a` makes it
    bare  the library's call between two clocks, from a barrier on: torch.distributed's for gloo, mpi4py's for mpi
    loop  the same call again and again between two clocks, no barrier: what aligning the ranks changes
    torch (mpi) the call by way of torch and mlb's process group, which is how training calls it
    tcp   the same bytes by sendall and recv_into over one TCP connection between ranks 0 and 1, from a barrier on

A repetition is as long as on its slowest rank, a round's time the median of its repetitions. A ratio is taken within a
round; shown is the median over rounds with its bootstrap 95 % interval. Share: the algorithm bandwidth (size / time)
over that of the TCP copy. Each part is a line of a JSON lines file, which the same command goes on with.
"""

import argparse
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from common import append, interval, lines_of, machine
from mlb.results.backends import mpi_packages_missing
from mlb.runners import mpi, raw
from mlb.runners.pmi import PORT_VARIABLE, MpiMeeting, local_store

SIZES = (4, 1 << 10, 1 << 16, 1 << 20, 64 << 20)
BOUND = 1.05
"""Task 0a over the bare loop."""
SHARES = {2: 0.51, 4: 0.36}
"""At 64 MB, by ranks. MLBench's own task 0a (float32 on CPUs, links of 7.5 Gbit/s by iperf), where MPI was the best of
gloo and MPI: 85 ms for 40 MB and 789 ms for 400 MB on 2 nodes, 122 and 1,060 ms on 4; between them on a log scale."""
LARGE, MORE_OF_SMALL = 16 << 20, 4
"""Small sizes have more rounds: theirs are short, and vary more."""
WARM_UP, MOST, FEWEST = 1, 100, 3

Timed = Callable[[int], list[int]]
"""So many repetitions; nanoseconds of each."""


def each(once: Callable[[], int]) -> Timed:
    return lambda repetitions: [once() for _ in range(repetitions)]


def aligned(barrier: Callable[[], object], call: Callable[[], object]) -> Timed:
    def once() -> int:
        barrier()
        start = time.monotonic_ns()
        call()
        return time.monotonic_ns() - start

    return each(once)


def unaligned(call: Callable[[], object]) -> Timed:
    def loop(repetitions: int) -> list[int]:
        start = time.monotonic_ns()
        for _ in range(repetitions):
            call()
        return [(time.monotonic_ns() - start) // repetitions]

    return loop


def of_mlb(size: int, backend: str, group: Any) -> Timed:
    """What `mlb bench task0a` does for a repetition; its result checked once, as there."""
    place = raw.Place(backend, torch.device("cpu"), group)
    case = raw.Case("all_reduce", torch.float32, size // 4, place, dist.get_world_size(), dist.get_rank())
    case.fill()
    case.run()
    assert case.is_correct()
    return each(case.timed)


def of_gloo(size: int) -> dict[str, Timed]:
    tensor = torch.ones(size // 4)
    return {
        "gloo mlb": of_mlb(size, "gloo", dist.group.WORLD),
        "gloo bare": aligned(dist.barrier, lambda: dist.all_reduce(tensor)),
        "gloo loop": unaligned(lambda: dist.all_reduce(tensor)),
    }


def of_mpi(size: int, group: Any, world: Any) -> dict[str, Timed]:
    from mpi4py import MPI

    tensor, other = torch.ones(size // 4), torch.ones(size // 4)
    memory = [tensor.numpy(), MPI.FLOAT]
    return {
        "mpi mlb": of_mlb(size, "mpi", group),
        "mpi bare": aligned(world.Barrier, lambda: world.Allreduce(MPI.IN_PLACE, memory, MPI.SUM)),
        "mpi loop": unaligned(lambda: world.Allreduce(MPI.IN_PLACE, memory, MPI.SUM)),
        "mpi torch": aligned(world.Barrier, lambda: dist.all_reduce(other, group=group)),
    }


def of_tcp(size: int, connection: socket.socket | None) -> dict[str, Timed]:
    """One copy of the bytes from rank 0 to rank 1; other ranks only meet at the barrier, asleep."""
    memory = memoryview(bytearray(size))

    def send() -> None:
        assert connection is not None
        connection.sendall(memory)

    def receive() -> None:
        assert connection is not None
        there = 0
        while there < size:
            there += connection.recv_into(memory[there:])

    copy = {0: send, 1: receive}.get(dist.get_rank(), lambda: None)
    return {"tcp": aligned(dist.barrier, copy)}


def connect() -> socket.socket | None:
    """Ranks 0 and 1, over loopback."""
    rank = dist.get_rank()
    listener = socket.create_server(("127.0.0.1", 0)) if rank == 1 else None
    port = [listener.getsockname()[1] if listener else 0]
    dist.broadcast_object_list(port, src=1)
    connection = None
    if rank == 0:
        connection = socket.create_connection(("127.0.0.1", port[0]))
    if listener:
        connection, _ = listener.accept()
    if connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def rank_main(folder: Path, sizes: Sequence[int], rounds: int, seconds: float) -> None:
    """One rank: every kind in turn, round after round, size after size."""
    torch.set_num_threads(1)
    with_mpi = not mpi_packages_missing()
    dist.init_process_group("gloo")
    if with_mpi:
        mpi.start()
        from mpi4py import MPI

        group, world = dist.new_group(backend=mpi.NAME), MPI.COMM_WORLD.Dup()
    connection = connect()
    found: dict[int, dict[str, list[list[int]]]] = {}
    for size in sizes:
        kinds = of_gloo(size) | (of_mpi(size, group, world) if with_mpi else {}) | of_tcp(size, connection)
        found[size] = _rounds(kinds, rounds * (1 if size >= LARGE else MORE_OF_SMALL), seconds)
    (folder / f"{dist.get_rank()}.json").write_text(json.dumps(found))
    dist.barrier()
    # As a rank of mlb leaves: MPI's own end would wait for torch's threads.
    sys.stdout.flush()
    os._exit(0)


def _rounds(kinds: dict[str, Timed], rounds: int, seconds: float) -> dict[str, list[list[int]]]:
    chance = random.Random(1)  # the same order on all ranks
    backends = dict.fromkeys(kind.split()[0] for kind in kinds)
    repetitions = {backend: _repetitions(kinds, backend, seconds) for backend in backends}
    found: dict[str, list[list[int]]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind in chance.sample(list(kinds), len(kinds)):
            dist.barrier()
            kinds[kind](WARM_UP)
            found[kind].append(kinds[kind](repetitions[kind.split()[0]]))
    return found


def _repetitions(kinds: dict[str, Timed], backend: str, seconds: float) -> int:
    """As many as fit into a turn's time, the same for all kinds of a backend and on all ranks."""
    once = min(kinds["tcp" if backend == "tcp" else f"{backend} bare"](5))
    wanted = torch.tensor([max(FEWEST, min(MOST, int(seconds * 1e9 / max(1, once))))])
    dist.all_reduce(wanted, dist.ReduceOp.MIN)
    return int(wanted.item())


def measure(ranks: int, sizes: Sequence[int], rounds: int, seconds: float) -> dict[str, dict[str, list[float]]]:
    """Size -> kind -> microseconds of each round."""
    meeting = MpiMeeting(f"raw-loop-{os.getpid()}-{time.monotonic_ns()}", ranks, 1, local_store)
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        arguments = [folder, json.dumps(sizes), str(rounds), str(seconds)]
        command = [sys.executable, "-P", __file__, "--rank", *arguments]
        shared = {
            "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo",
            "OMP_NUM_THREADS": "1", PORT_VARIABLE: meeting.address, "PYTHONPATH": str(Path(__file__).parent),
        }  # fmt: skip
        environments = [{**os.environ, **shared, "RANK": str(rank)} for rank in range(ranks)]
        processes = [subprocess.Popen(command, env=environment) for environment in environments]
        _wait_for(processes)
        meeting.close()
        logs = [json.loads((Path(folder) / f"{rank}.json").read_text()) for rank in range(ranks)]
    return {size: {kind: _together([log[size][kind] for log in logs]) for kind in logs[0][size]} for size in logs[0]}


def _wait_for(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """All ended well; where one did not, the others are ended: over MPI they would wait for it for ever."""
    while None in (codes := [process.poll() for process in processes]) and not any(codes):
        time.sleep(0.2)
    if any(codes):
        for process in processes:
            process.kill()
        raise RuntimeError(f"the ranks ended with {codes}")


def _together(of_ranks: Sequence[list[list[int]]]) -> list[float]:
    """Rounds' medians, in microseconds, of the slowest rank's repetitions."""
    by_round = zip(*of_ranks, strict=True)
    return [statistics.median(map(max, zip(*times, strict=True))) / 1e3 for times in by_round]


def table(lines: Sequence[dict[str, Any]], ranks: int) -> Iterator[str]:
    """What all parts of so many ranks say together."""
    mine = [line["found"] for line in lines if line["ranks"] == ranks]
    sizes = sorted({int(size) for found in mine for size in found})
    yield (
        f"{f'{ranks} ranks':<8}{'bytes':>12}{'rounds':>8}{'tcp, us':>11}{'mlb, us':>11}{'bare, us':>11}{'loop, us':>11}"
        f"{'mlb / bare (95 %)':>23}{'torch / bare':>21}{'share of TCP (95 %)':>22}"
    )
    for size in sizes:
        times: dict[str, list[float]] = {}
        for found in mine:
            for kind, rounds in found.get(str(size), {}).items():
                times.setdefault(kind, []).extend(rounds)
        for backend in ("gloo", "mpi"):
            if f"{backend} mlb" in times:
                yield _row(times, size, backend, ranks)


def _row(times: dict[str, list[float]], size: int, backend: str, ranks: int) -> str:
    def ratio(one: str, other: str) -> tuple[float, float, float]:
        return interval([a / b for a, b in zip(times[one], times[other], strict=True)])

    middle = [statistics.median(times[kind]) for kind in ("tcp", *(f"{backend} {w}" for w in ("mlb", "bare", "loop")))]
    over, share = ratio(f"{backend} mlb", f"{backend} bare"), ratio("tcp", f"{backend} mlb")
    by_torch = f"{ratio('mpi torch', 'mpi bare')[0]:.2f}" if backend == "mpi" else "-"
    row = (
        f"{backend:<8}{size:>12,}{len(times['tcp']):>8}"
        + "".join(f"{value:>11,.1f}" for value in middle)
        + "{:>9.3f} ({:.3f}-{:.3f})".format(*over)
        + f" {_verdict(over[2] <= BOUND, over[1] > BOUND):<7}{by_torch:>13}"
        + "{:>9.2f} ({:.2f}-{:.2f})".format(*share)
    )
    wanted = SHARES.get(ranks)
    if size != SIZES[-1] or wanted is None:
        return row
    return f"{row} of {wanted}: {_verdict(share[1] >= wanted, share[2] < wanted)}"


def _verdict(held: bool, missed: bool) -> str:
    return "held" if held else "MISSED" if missed else "open"


def main() -> None:
    if sys.argv[1:2] == ["--rank"]:
        rank_main(Path(sys.argv[2]), json.loads(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="BYTES")
    parser.add_argument(
        "--rounds", type=int, default=10, help="of the largest size in a part; of small ones 4 times as many"
    )
    parser.add_argument(
        "--seconds", type=float, default=0.02, help="of each kind's turn in a round, three calls at least"
    )
    parser.add_argument("--parts", type=int, default=3, help="the file is to have of each number of ranks")
    parser.add_argument("--file", type=Path, default=Path("raw_loop.jsonl"))
    given = parser.parse_args()
    for ranks in given.ranks:
        asked = {"ranks": ranks, "sizes": list(given.sizes), "rounds": given.rounds, "seconds": given.seconds}
        there = sum(all(line[k] == v for k, v in asked.items()) for line in lines_of(given.file))
        for part in range(there, given.parts):
            print(f"{ranks} ranks, part {part + 1} of {given.parts}", flush=True)
            start = time.monotonic()
            found = measure(ranks, given.sizes, given.rounds, given.seconds)
            append(given.file, {**asked, "machine": machine(), "took_s": time.monotonic() - start, "found": found})
    for ranks in dict.fromkeys(line["ranks"] for line in lines_of(given.file)):
        print("\n".join(table(lines_of(given.file), ranks)))


if __name__ == "__main__":
    main()
