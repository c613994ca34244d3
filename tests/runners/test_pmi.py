"""How MPI's ranks find each other: the words of PMI-1, spoken by clients in the place of MPICH's ranks."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from mlb.runners.pmi import MpiMeeting, local_store


class Rank:
    """A rank that says what MPICH's say when they start."""

    def __init__(self, meeting: MpiMeeting, number: int) -> None:
        host, _, port = meeting.address.rpartition(":")
        self.number, self.door = number, socket.create_connection((host, int(port)), timeout=20)
        self.lines = self.door.makefile("r")

    def say(self, text: str) -> None:
        self.door.sendall(f"{text}\n".encode())

    def ask(self, text: str) -> str:
        self.say(text)
        return self.lines.readline().rstrip("\n")

    def get(self, key: str) -> str:
        return self.ask(f"cmd=get kvsname=job key={key}")

    def close(self) -> None:
        self.lines.close()
        self.door.close()


@pytest.fixture
def ranks() -> Iterator[list[Rank]]:
    """Four ranks on two nodes, whose agents share a store."""
    store = local_store()
    nodes = [MpiMeeting("job", 4, 2, lambda: store) for _ in range(2)]
    found = [Rank(nodes[number // 2], number) for number in range(4)]
    yield found
    for rank in found:
        rank.close()
    for node in nodes:
        node.close()


def test_a_rank_learns_who_it_is_and_where_the_others_are(ranks: list[Rank]) -> None:
    rank = ranks[3]
    rank.say("cmd=initack pmiid=3")
    said = [rank.lines.readline().rstrip("\n") for _ in range(4)]
    assert said == ["cmd=initack", "cmd=set size=4", "cmd=set rank=3", "cmd=set debug=0"]
    assert rank.ask("cmd=init pmi_version=1 pmi_subversion=1").endswith("rc=0")
    assert rank.ask("cmd=get_my_kvsname") == "cmd=my_kvsname kvsname=job"
    assert rank.ask("cmd=get_universe_size") == "cmd=universe_size size=4"
    assert rank.get("PMI_process_mapping").endswith("value=(vector,(0,2,2))")
    assert rank.ask("cmd=spawn").startswith("cmd=spawn rc=-1")


def test_what_is_put_before_a_barrier_is_got_after_it_on_every_node(ranks: list[Rank]) -> None:
    def exchange(rank: Rank) -> list[str]:
        values = []
        for turn in range(3):
            rank.ask(f"cmd=put kvsname=job key=card{turn}-{rank.number} value=address of={rank.number} {turn}")
            assert rank.ask("cmd=barrier_in") == "cmd=barrier_out"
            values += [rank.get(f"card{turn}-{other}").partition("value=")[2] for other in range(4)]
        return values

    with ThreadPoolExecutor(4) as together:
        answers = list(together.map(exchange, ranks))
    assert answers == [[f"address of={other} {turn}" for turn in range(3) for other in range(4)]] * 4


def test_what_nobody_put_is_not_found(ranks: list[Rank]) -> None:
    assert "rc=-1" in ranks[0].get("nothing")
