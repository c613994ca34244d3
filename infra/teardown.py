"""The end of a fleet, with proof: Terraform first, then by tag over the place's own interface, then a last look."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import MlbError, TeardownIncomplete
from .blueprint import Blueprint
from .cloud import Cloud, Leftover
from .folder import FleetFolder

SWEEPS = 3
SWEEP_PAUSE_S = 2.0


@dataclass
class Teardown:
    """Removes one fleet; `swept` counts what only the sweep by tag found."""

    cloud: Cloud
    blueprint: Blueprint
    folder: FleetFolder
    say: Callable[[str], None]
    usd_per_hour: float | None = None
    swept: int = 0

    def run(self, terraform_destroy: Callable[[], None] | None) -> Teardown:
        """Returns when nothing is left; raises TeardownIncomplete otherwise."""
        try:
            problems = self._by_terraform(terraform_destroy)
            left, more = self._by_tag()
        except KeyboardInterrupt:
            raise self._incomplete(_in_state(self.folder), ["It was stopped before its end."]) from None
        if left:
            raise self._incomplete(left, [*problems, *more])
        return self

    def _by_terraform(self, terraform_destroy: Callable[[], None] | None) -> list[str]:
        if terraform_destroy is None:
            return []
        self.say("Destroying with Terraform")
        try:
            terraform_destroy()
        except (MlbError, OSError) as error:
            # A lost state, no Terraform any more, a blocked network: the sweep goes by tags and needs none of it.
            self.say("Terraform could not destroy everything; going on by tag")
            return [str(error)]
        return []

    def _by_tag(self) -> tuple[list[Leftover], list[str]]:
        self.say("Looking for what is left, by tag")
        problems: list[str] = []
        try:
            left = list(self.cloud.left(self.blueprint.fleet_id))
            if not left and self.blueprint.spec.cloud in ("aws", "gcp"):
                # A cloud shows a machine a moment after it was made: one that was just asked for is not taken for none.
                threading.Event().wait(SWEEP_PAUSE_S)
                left = list(self.cloud.left(self.blueprint.fleet_id))
            for _ in range(SWEEPS):
                if not left:
                    break
                if self.swept:
                    threading.Event().wait(SWEEP_PAUSE_S)
                self.swept += len(left)
                problems = list(self.cloud.remove(left))
                left = list(self.cloud.left(self.blueprint.fleet_id))
        except MlbError as error:
            raise self._incomplete(_in_state(self.folder), [f"It could not be looked for: {error}"]) from None
        return left, problems

    def _incomplete(self, left: Sequence[Leftover], problems: Sequence[str]) -> TeardownIncomplete:
        spec = self.blueprint.spec
        lines = [f"{x.kind} {x.id} {x.place}{' (is billed)' if x.bills else ''}".rstrip() for x in left]
        cost = f"at most ${self.usd_per_hour:.2f} per hour" if self.usd_per_hour else "its hourly cost is not known"
        if self.usd_per_hour == 0 or spec.cloud in ("docker", "ssh"):
            cost = "nothing of it is billed"
        return TeardownIncomplete(
            f"The fleet {spec.name} is not provably gone: {len(left)} left that are known of; {cost}.",
            why="\n".join([*lines, *problems]),
            fix=f"Run `mlb infra destroy --name {spec.name}` again; by themselves the nodes end at "
            f"{self.blueprint.expires_at}.",
        )


def _in_state(folder: FleetFolder) -> list[Leftover]:
    """What the state file says exists, read without Terraform or a network: for those who must leave at once."""
    try:
        raw = json.loads((folder.module / "terraform.tfstate").read_text(encoding="utf-8"))
        return [
            Leftover(f"{entry['type']}.{entry['name']}", str(instance["attributes"].get("id", "?")))
            for entry in raw["resources"]
            if entry["mode"] == "managed"
            for instance in entry["instances"]
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
