# ruff: noqa: N802  # the methods are named by Terraform's protocol
"""A stand-in for Terraform's provider hashicorp/google 6.50.0: a plugin of protocol 6, run as an executable.

Its names and types are the real provider's (fixtures/README.md), so a wrong argument fails as it would with the real
one; its resources are made in the fake Compute Engine (fake_gce.py). What it cannot show: Google's own rules beyond
that fake, the real provider's checks of values at plan time, its defaults, and its waits.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import tf.runner
from google_resources import RESOURCES, Failed, Service, Values, image
from tf.gen import tfplugin_pb2 as pb
from tf.gen import tfplugin_pb2_grpc as rpc

SCHEMA = json.loads((Path(__file__).parent / "fixtures" / "google-6.50.0-schema.json").read_text())
NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


class Unknown:
    """A value that only the apply will know."""


UNKNOWN = Unknown()


def decoded(value: pb.DynamicValue) -> Any:
    if value.json:
        return json.loads(value.json)
    return msgpack.unpackb(value.msgpack, raw=False, ext_hook=lambda _code, _data: UNKNOWN, strict_map_key=False)


def encoded(value: Any) -> pb.DynamicValue:
    return pb.DynamicValue(msgpack=msgpack.packb(value, default=lambda _: msgpack.ExtType(0, b"\x00")))


def message(block: Values) -> pb.Schema.Block:
    """A block of the schema file as the protocol spells it."""
    modes = pb.Schema.NestedBlock.NestingMode
    return pb.Schema.Block(
        attributes=[
            pb.Schema.Attribute(
                name=name,
                type=json.dumps(a["type"]).encode(),
                required=a.get("required", False),
                optional=a.get("optional", False),
                computed=a.get("computed", False),
            )
            for name, a in block["attributes"].items()
        ],
        block_types=[
            pb.Schema.NestedBlock(
                type_name=name,
                nesting=modes.Value(nested["nesting_mode"].upper()),
                min_items=nested.get("min_items", 0),
                max_items=nested.get("max_items", 0),
                block=message(nested["block"]),
            )
            for name, nested in block.get("block_types", {}).items()
        ],
    )


def each(block: Values, values: Any, change: Callable[[Values, Any], Any]) -> Any:
    """A copy of a block's values, `change`d attribute by attribute, in all nested blocks too."""
    if not isinstance(values, dict):
        return values
    done = {name: change(a, values.get(name)) for name, a in block["attributes"].items()}
    for name, nested in block.get("block_types", {}).items():
        inner = values.get(name)
        done[name] = [each(nested["block"], v, change) for v in inner] if isinstance(inner, list) else inner
    return done


def planned(attribute: Values, value: Any) -> Any:
    return UNKNOWN if value is None and attribute.get("computed") else value


def settled(_attribute: Values, value: Any) -> Any:
    return None if value is UNKNOWN else value


class Provider(rpc.ProviderServicer):
    """The calls of Terraform, answered for every resource alike."""

    service: Service

    def full_name(self) -> str:
        return "hashicorp/google"

    def GetProviderSchema(self, request: Any, context: Any) -> Any:
        def all_of(kind: str) -> dict[str, pb.Schema]:
            return {name: pb.Schema(version=0, block=message(s["block"])) for name, s in SCHEMA[kind].items()}

        return pb.GetProviderSchema.Response(
            provider=pb.Schema(version=0, block=message(SCHEMA["provider"]["block"])),
            resource_schemas=all_of("resource_schemas"),
            data_source_schemas=all_of("data_source_schemas"),
        )

    def ValidateProviderConfig(self, request: Any, context: Any) -> Any:
        return pb.ValidateProviderConfig.Response()

    def ValidateResourceConfig(self, request: Any, context: Any) -> Any:
        name = decoded(request.config)["name"]
        if name is UNKNOWN or NAME.fullmatch(name):
            return pb.ValidateResourceConfig.Response()
        problem = Failed(f'"name" ("{name}") doesn\'t match regexp "^(?:[a-z](?:[-a-z0-9]{{0,61}}[a-z0-9])?)$"')
        return pb.ValidateResourceConfig.Response(diagnostics=said(problem))

    def ValidateDataResourceConfig(self, request: Any, context: Any) -> Any:
        return pb.ValidateDataResourceConfig.Response()

    def UpgradeResourceState(self, request: Any, context: Any) -> Any:
        return pb.UpgradeResourceState.Response(upgraded_state=encoded(json.loads(request.raw_state.json)))

    def ConfigureProvider(self, request: Any, context: Any) -> Any:
        config = decoded(request.config)
        try:
            self.service = Service(config["project"], config["compute_custom_endpoint"])
        except Failed as error:
            return pb.ConfigureProvider.Response(diagnostics=said(error))
        self.defaults = {"region": config["region"], "zone": config["zone"], "project": self.service.project}
        return pb.ConfigureProvider.Response()

    def ReadResource(self, request: Any, context: Any) -> Any:
        state, resource = decoded(request.current_state), RESOURCES[request.type_name]
        try:
            resource.from_api(state, self.service.call("GET", f"{resource.path(state)}/{state['name']}"))
        except Failed as error:
            if " Error 404:" not in str(error):
                return pb.ReadResource.Response(new_state=request.current_state, diagnostics=said(error))
            state = None
        return pb.ReadResource.Response(new_state=encoded(state))

    def PlanResourceChange(self, request: Any, context: Any) -> Any:
        before, after = decoded(request.prior_state), decoded(request.proposed_new_state)
        block = SCHEMA["resource_schemas"][request.type_name]["block"]
        if before is None and after is not None:
            return pb.PlanResourceChange.Response(planned_state=encoded(each(block, after, planned)))
        changed = [] if after is None else [name for name in after if after[name] != before[name]]
        anew = [name for name in changed if name not in RESOURCES[request.type_name].updatable]
        paths = [pb.AttributePath(steps=[pb.AttributePath.Step(attribute_name=name)]) for name in anew]
        return pb.PlanResourceChange.Response(planned_state=encoded(after), requires_replace=paths)

    def ApplyResourceChange(self, request: Any, context: Any) -> Any:
        before, after = decoded(request.prior_state), decoded(request.planned_state)
        try:
            made = self._apply(request.type_name, before, after)
        except Failed as error:
            return pb.ApplyResourceChange.Response(new_state=encoded(before), diagnostics=said(error))
        return pb.ApplyResourceChange.Response(new_state=encoded(made))

    def _apply(self, type_name: str, before: Any, after: Any) -> Any:
        resource, service = RESOURCES[type_name], self.service
        if after is None:
            operation = service.call("DELETE", f"{resource.path(before)}/{before['name']}")
            service.wait(operation, "delete")
            return None
        made = each(SCHEMA["resource_schemas"][type_name]["block"], after, settled)
        made |= {k: v for k, v in self.defaults.items() if k in made and made[k] is None}
        path = resource.path(made)
        if before is None:
            service.wait(service.call("POST", path, resource.to_api(made)), f"{resource.kind} to create")
        else:
            service.wait(service.call("PATCH", f"{path}/{made['name']}", resource.to_api(made)), "update")
        got = service.call("GET", f"{path}/{made['name']}")
        made |= {"id": f"projects/{service.project}/{path}/{made['name']}", "self_link": got["selfLink"]}
        resource.from_api(made, got)
        return made

    def ReadDataSource(self, request: Any, context: Any) -> Any:
        values = decoded(request.config)
        try:
            return pb.ReadDataSource.Response(state=encoded({**values, **image(self.service, values)}))
        except Failed as error:
            return pb.ReadDataSource.Response(diagnostics=said(error))

    def GetFunctions(self, request: Any, context: Any) -> Any:
        return pb.GetFunctions.Response()

    def StopProvider(self, request: Any, context: Any) -> Any:
        return pb.StopProvider.Response()


def said(error: Failed) -> list[Any]:
    return [pb.Diagnostic(severity=pb.Diagnostic.ERROR, summary=str(error))]


if __name__ == "__main__":
    # The framework's own servicer knows no blocks that are lists; its plugin handshake is what is used of it.
    tf.runner.ProviderServicer = lambda provider: provider
    tf.runner.run_provider(Provider(), sys.argv)
