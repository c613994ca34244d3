"""Checks of what the clouds ask for: credentials that are whole; with `online`, that they are accepted."""

from __future__ import annotations

import configparser
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ..errors import MlbError
from .finding import Finding, Place, fail, ok, warn

_PAIR: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def aws(place: Place) -> Iterator[Finding]:
    """Both halves of a key, a profile that exists, files that are private."""
    environ = place.environ
    given = [name for name in _PAIR if environ.get(name)]
    if len(given) == 1:
        other = next(name for name in _PAIR if name not in given)
        yield fail("aws", f"{given[0]} is set and {other} is not", f"export {other}=..., or unset {given[0]}")
        return
    file = Path(
        environ.get("AWS_SHARED_CREDENTIALS_FILE") or Path(environ.get("HOME", "~")).expanduser() / ".aws/credentials"
    )
    profile = environ.get("AWS_PROFILE")
    if file.is_file() and stat.S_IMODE(file.stat().st_mode) & 0o077:
        yield fail("aws", f"others may read {file}", f"chmod 600 {file}")
        return
    if profile and not given and profile not in _profiles(file):
        known = ", ".join(sorted(_profiles(file))) or "none"
        yield fail(
            "aws",
            f"AWS_PROFILE names {profile!r}, which is not there",
            f"Profiles: {known}. aws configure --profile {profile}",
        )
        return
    if not given and not file.is_file() and not profile:
        yield ok("aws", "no credentials: fleets on AWS cannot be rented from here (aws configure)")
        return
    yield from _asked(place) if place.online else [ok("aws", "credentials are there; --online tries them")]


def gcp(place: Place) -> Iterator[Finding]:
    """The file of application default credentials, if one is named."""
    named = place.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    if not named:
        yield ok("gcp", "no credentials file named: fleets on GCP cannot be rented from here")
        return
    try:
        kind = json.loads(Path(named).read_text())["type"]
    except FileNotFoundError:
        yield fail(
            "gcp",
            f"GOOGLE_APPLICATION_CREDENTIALS names {named}, which is not there",
            "gcloud auth application-default login",
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield fail(
            "gcp", f"{named} holds no credentials ({type(error).__name__})", "gcloud auth application-default login"
        )
    else:
        yield ok("gcp", f"credentials of kind {kind} in {named}")


def _profiles(file: Path) -> set[str]:
    found: set[str] = set()
    for path, prefix in ((file, ""), (file.parent / "config", "profile ")):
        parser = configparser.ConfigParser(strict=False, interpolation=None)
        try:
            parser.read(path)
        except (configparser.Error, UnicodeDecodeError):
            continue
        found |= {name.removeprefix(prefix) for name in parser.sections()}
    return found


def _asked(place: Place) -> Iterator[Finding]:
    from ..infra.aws_api import Api

    region = place.environ.get("AWS_REGION") or place.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    api = Api(region)
    try:
        who = api.call("sts", "get_caller_identity")
    except MlbError as error:
        yield fail(
            "aws", f"{error.what} {error.why}".strip(), error.fix or "aws sts get-caller-identity shows the same"
        )
        return
    yield ok("aws", f"account {who.get('Account')} as {who.get('Arn')}")
    try:
        api.call("service-quotas", "get_service_quota", ServiceCode="ec2", QuotaCode="L-DB2E81BA")
    except MlbError as error:
        fix = "Allow servicequotas:GetServiceQuota; without it a quota that is too small shows only at apply."
        yield warn("aws quotas", f"cannot be read in {region}: {error.what}", fix)
    else:
        yield ok("aws quotas", f"can be read in {region}")
