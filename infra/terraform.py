"""The only file that imports python_terraform, with its dangerous parts replaced.

python-terraform 0.10.1 is of 2019: its `destroy` fails on every Terraform since 0.15, `apply` waits for an
answer on standard input, failures are a number that is easily missed, a typo becomes a sub-command, a
damaged state file makes the constructor fail, ctrl-C leaves terraform running, and variables are logged. What
stays is the mapping of options to flags; `tests/infra/test_terraform.py` pins each trap.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import python_terraform
from python_terraform import IsFlagged

from ..errors import MlbError
from .engine import Engine
from .process import Finished, run_lines

ALLOWED = frozenset({"init", "validate", "plan", "apply", "show", "version", "force-unlock"})
"""`destroy` is a plan like any other; there is no way to run one that was not saved first."""

Event = Mapping[str, Any]
"""One object of Terraform's `-json` stream (`@message`, `type`, and what belongs to the type)."""

INIT_DEADLINE_S = 600.0
QUICK_DEADLINE_S = 120.0
# What may stand behind `-replace`: one resource of the root module, or one instance of it.
_ADDRESS = re.compile(r'[a-z_]+\.[a-z_]+(\[(\d+|"\d+")\])?')
# As Terraform tells of a lock, in one line.
_LOCK = re.compile(r"Error acquiring the state lock.*Lock Info: ID: (?P<id>[0-9a-f-]+) .*Who: (?P<who>\S+) ")
# Settings of the user's shell that would change what the saved plan is or where it goes.
_UNWANTED = ("TF_CLI_ARGS", "TF_VAR_", "TF_WORKSPACE", "TF_DATA_DIR", "TF_LOG")


class TerraformFailed(MlbError):
    """Terraform ended with an error.

    Attributes:
        problems: the error diagnostics, each with its detail and resource.
        timed_out: our deadline ended it.
    """

    def __init__(self, what: str, problems: Sequence[str], *, timed_out: bool = False) -> None:
        super().__init__(what, why="\n".join(problems))
        self.problems = tuple(problems)
        self.timed_out = timed_out


@dataclass(frozen=True)
class Plan:
    """A saved plan: the file that `apply` takes, and its changes as (action, address)."""

    file: Path
    changes: tuple[tuple[str, str], ...]

    def __bool__(self) -> bool:
        return bool(self.changes)

    def count(self, *actions: str) -> int:
        return sum(1 for action, _ in self.changes if action in actions)

    def beyond(self, addresses: Sequence[str]) -> tuple[str, ...]:
        """The changes of anything else, as `delete aws_instance.node[0]`."""
        return tuple(f"{action} {address}" for action, address in self.changes if address not in addresses)


class Terraform(python_terraform.Terraform):  # type: ignore[misc]  # the package ships no types
    """Terraform in one folder: saved plans only, failures are exceptions, every command has a deadline."""

    lock_timeout = "30s"
    """How long a state in a bucket is waited for that another has locked."""

    def __init__(
        self,
        folder: Path,
        engine: Engine,
        *,
        on_event: Callable[[Event], None] = lambda _: None,
        on_start: Callable[[int], None] = lambda _: None,
        keep_fds: Sequence[int] = (),
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.engine = engine
        self.on_event = on_event
        self.on_start = on_start
        self.keep_fds = tuple(keep_fds)
        self.environ = _clean(environ)
        super().__init__(working_dir=str(folder), terraform_bin_path=engine.argv[0])

    def __getattr__(self, item: str) -> Any:
        raise AttributeError(f"Terraform has no attribute {item!r}")

    def read_state_file(self, file_path: str | None = None) -> None:
        """Does nothing: a state that cannot be read must not keep anyone from destroying the fleet."""

    def init(self, **_options: Any) -> None:
        """Get the providers; what is in the lock file stays as it is."""
        self._checked("init", INIT_DEADLINE_S, input=False, no_color=IsFlagged)

    def validate(self) -> None:
        """Check the module against the providers' schemas."""
        done = self._run("validate", QUICK_DEADLINE_S, json=IsFlagged)
        answer = _object("".join(done.out))
        if not answer.get("valid"):
            raise self._failed("validate", [_problem(d) for d in answer.get("diagnostics", [])], done)

    def plan(
        self,
        file: Path,
        *,
        deadline_s: float,
        parallelism: int = 10,
        destroy: bool = False,
        replace: Sequence[str] = (),
    ) -> Plan:
        """Plan and save it to `file`; an empty plan is falsy.

        Args:
            replace: addresses of resources of the root module that are made anew, however they are.
        """
        wrong = [address for address in replace if not _ADDRESS.fullmatch(address)]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is no address of a resource in a module of mlb")
        options: dict[str, Any] = {"destroy": IsFlagged} if destroy else {}
        done = self._checked(
            "plan",
            deadline_s,
            json=IsFlagged,
            input=False,
            out=str(file),
            lock_timeout=self.lock_timeout,
            parallelism=parallelism,
            replace=list(replace),
            **options,
        )
        return Plan(file, tuple(_planned(done.events)))

    def apply(self, plan: Plan, *, deadline_s: float, parallelism: int = 10) -> None:
        """Apply a saved plan, and nothing that was not in it."""
        self._checked(
            "apply",
            deadline_s,
            str(plan.file),
            json=IsFlagged,
            input=False,
            lock_timeout=self.lock_timeout,
            parallelism=parallelism,
        )

    def destroy(self, file: Path, *, deadline_s: float, parallelism: int = 10) -> None:
        """Destroy everything in the state, by way of a saved plan."""
        plan = self.plan(file, deadline_s=deadline_s, parallelism=parallelism, destroy=True)
        if plan:
            self.apply(plan, deadline_s=deadline_s, parallelism=parallelism)

    def read_state(self) -> dict[str, Any]:
        """`show -json` of the state: what exists, after a failed apply too; {} when it cannot be read."""
        done = self._run("show", QUICK_DEADLINE_S, json=IsFlagged, no_color=IsFlagged)
        return _object("".join(done.out)).get("values", {}) if done.end.code == 0 else {}

    def output(self, name: str) -> Any:
        """The value of an output in the state; None if there is none."""
        return self.read_state().get("outputs", {}).get(name, {}).get("value")

    def cmd(self, cmd: str, *args: str, **options: Any) -> tuple[int, str, str]:
        """What the base class calls for everything; here for the allowed commands only, never unchecked."""
        done = self._checked(cmd, QUICK_DEADLINE_S, *args, **options)
        return done.end.code, "".join(done.out), done.end.err

    def _checked(self, cmd: str, deadline_s: float, *args: str, **options: Any) -> _Done:
        done = self._run(cmd, deadline_s, *args, **options)
        stale = self._stale_lock(done.problems()) if done.end.code != 0 else ""
        if stale:
            self._run("force-unlock", QUICK_DEADLINE_S, stale, force=IsFlagged, no_color=IsFlagged)
            done = self._run(cmd, deadline_s, *args, **options)
        if done.end.code != 0:
            raise self._failed(cmd, done.problems(), done)
        return done

    def _stale_lock(self, problems: Sequence[str]) -> str:
        """The lock in a bucket that a killed Terraform of this machine left there; empty where it may be in use.

        Whoever works on this fleet here holds its lock on this machine, as we do now: another's Terraform has ended.
        """
        found = _LOCK.search("\n".join(problems))
        mine = found is not None and found["who"] == f"{getpass.getuser()}@{socket.gethostname()}"
        return found["id"] if found and mine and self.keep_fds else ""

    def _run(self, cmd: str, deadline_s: float, *args: str, **options: Any) -> _Done:
        if cmd not in ALLOWED:
            raise ValueError(f"terraform {cmd!r} is not among the commands that mlb runs")
        if any(key in ("var", "var_file") for key in options):
            raise ValueError("values are literals of the module, never variables")
        done = _Done(self.on_event)
        argv = [*self.engine.argv, *self.generate_cmd_string(cmd, *args, **options)[1:]]
        done.end = run_lines(
            argv,
            cwd=Path(self.working_dir),
            env=self.environ,
            on_line=done.take,
            deadline_s=deadline_s,
            on_start=self.on_start,
            keep_fds=self.keep_fds,
        )
        return done

    def _failed(self, cmd: str, problems: Sequence[str], done: _Done) -> TerraformFailed:
        timed_out = done.end.why == "deadline"
        if done.end.code < 0 and not timed_out:
            problems = [*problems, f"It was ended by signal {-done.end.code}."]
        what = f"terraform {cmd} {'was stopped at its deadline' if timed_out else 'failed'}."
        return TerraformFailed(what, problems or [done.end.err.strip()], timed_out=timed_out)


def parallelism(nodes: int) -> int:
    """A fleet of 64 takes 80 s with Terraform's default of 10, 22 s with 64; more would only meet rate limits."""
    return min(64, max(10, nodes))


class _Done:
    """What a command printed: raw lines, and the events among them."""

    def __init__(self, on_event: Callable[[Event], None]) -> None:
        self.on_event = on_event
        self.out: list[str] = []
        self.events: list[Event] = []
        self.end = Finished(-1, "")

    def take(self, line: str) -> None:
        self.out.append(line)
        event = _object(line)
        if "@message" in event:
            self.events.append(event)
            self.on_event(event)

    def problems(self) -> list[str]:
        errors = [e["diagnostic"] for e in self.events if e.get("type") == "diagnostic"]
        return [_problem(d) for d in errors if d.get("severity") == "error"]


def _planned(events: Sequence[Event]) -> list[tuple[str, str]]:
    changes = [e["change"] for e in events if e.get("type") == "planned_change"]
    return [(str(c["action"]), str(c["resource"]["addr"])) for c in changes if c["action"] not in ("noop", "read")]


def _problem(diagnostic: Mapping[str, Any]) -> str:
    where = f"{diagnostic['address']}: " if diagnostic.get("address") else ""
    return " ".join(f"{where}{diagnostic.get('summary', '')} {diagnostic.get('detail', '')}".split())


def _object(text: str) -> dict[str, Any]:
    """The JSON object in a text, or {}: Terraform mixes plain lines into its stream now and then."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _clean(environ: Mapping[str, str]) -> dict[str, str]:
    kept = {key: value for key, value in environ.items() if not key.startswith(_UNWANTED)}
    return {**kept, "TF_IN_AUTOMATION": "1", "TF_INPUT": "0", "CHECKPOINT_DISABLE": "1"}
