"""Items made ahead: the same, in order, with their errors; and nobody is left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from mlb.tasks.ahead import ahead


def test_the_items_are_the_same_and_made_beforehand() -> None:
    third = threading.Event()

    def items() -> Iterator[int]:
        for i in range(5):
            if i == 3:
                third.set()
            yield i

    found = ahead(items(), depth=2)
    assert next(found) == 0
    assert third.wait(10), "the fourth is made while the first is used"
    assert list(found) == [1, 2, 3, 4]


def test_an_error_comes_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    found = ahead(items(), depth=4)
    assert next(found) == 1
    with pytest.raises(ValueError, match="no more"):
        next(found)


def test_the_thread_ends_when_nobody_wants_more() -> None:
    found = ahead(iter(range(1_000_000)), depth=1)
    next(found)
    makers = [thread for thread in threading.enumerate() if thread.name == "ahead"]
    assert makers
    found.close()
    assert not any(thread.is_alive() for thread in makers)
