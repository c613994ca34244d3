"""Every error that mlb raises on purpose, as one tree; the exit code of a class holds for its subclasses.

    MlbError                     1   anything not named below: a bug, please report it
    ├── UsageError               2   the command, an option or a config file is wrong; nothing was started
    ├── PreflightError           3   something this run needs is missing
    │   ├── DataMissing              a data set is neither here nor to be had
    │   ├── DataCorrupt              a data file is not what its checksum says
    │   └── DiskFull                 no room for the run's files
    ├── CapacityError            4   no zone had the machines; what was begun is gone again
    ├── ProvisionFailed          5   the fleet could not be created; what was begun is gone again
    ├── NodeNotReady             6   a machine is there but failed its checks
    │   ├── NodeUnreachable          it does not answer over SSH, or the link to it was lost
    │   └── NodeUnfit                what it has, or how it fares, does not do for this run
    ├── RunFailed                7   a rank died or the run's processes are gone
    ├── GoalMissed               8   the run ended without reaching its goal
    ├── TeardownIncomplete       9   something of a fleet is left and may still cost money
    ├── Locked                  10   another process works on the same fleet
    ├── Interrupted             11   the run was stopped before its end
    └── ResultsInvalid          12   a run folder or its logs cannot be trusted

`docs/exit-codes.md` lists all codes, those of later commands included.
"""

from __future__ import annotations

from collections.abc import Collection


class MlbError(Exception):
    """An error with a message for people: what happened, why, and what to do about it.

    Args:
        what: one sentence that says what happened.
        why: the cause, as far as it is known; may be empty.
        fix: what the reader can do, with everything that is valid where a choice was wrong; may be empty.
    """

    exit_code = 1

    def __init__(self, what: str, *, why: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix

    def __str__(self) -> str:
        return "\n".join(part for part in (self.what, self.why, self.fix) if part)


class UsageError(MlbError):
    """The command, an option or a config file is wrong; nothing was started."""

    exit_code = 2


class PreflightError(MlbError):
    """Something that this run needs is missing; nothing was started."""

    exit_code = 3


class DataMissing(PreflightError):
    """A data set is neither on this machine nor to be had from its sources."""


class DataCorrupt(PreflightError):
    """A data file is not what its published checksum says."""


class DiskFull(PreflightError):
    """There is no room for the run's files."""


class CapacityError(MlbError):
    """No zone had the machines that were asked for; what was begun is gone again."""

    exit_code = 4


class ProvisionFailed(MlbError):
    """The fleet could not be created; what was begun is gone again."""

    exit_code = 5


class NodeNotReady(MlbError):
    """A machine was created but failed its checks; the message names it and shows the evidence."""

    exit_code = 6


class NodeUnreachable(NodeNotReady):
    """A node does not answer over SSH, shows another host key than the pinned one, or the link to it was lost."""


class NodeUnfit(NodeNotReady):
    """What a node has, or how it fares, does not do for this run; the message names it and shows the evidence."""


class RunFailed(MlbError):
    """A rank died, or the processes of a run are gone without a result."""

    exit_code = 7


class GoalMissed(MlbError):
    """The run ended by itself without reaching its goal."""

    exit_code = 8


class TeardownIncomplete(MlbError):
    """Something of a fleet is left, or could not be looked for, and may still cost money."""

    exit_code = 9


class Locked(MlbError):
    """Another process works on the same fleet."""

    exit_code = 10


class Interrupted(MlbError):
    """The run was stopped before its end."""

    exit_code = 11


class ResultsInvalid(MlbError):
    """A run folder or its logs cannot be trusted."""

    exit_code = 12


def did_you_mean(word: str, choices: Collection[str]) -> str:
    """` Did you mean …?` for the choice nearest to `word`, or nothing where none is near."""
    import difflib  # only where a word was wrong: every process imports this file

    near = difflib.get_close_matches(word.lower(), list(choices), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""
