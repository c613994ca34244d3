"""Terraform's state in a bucket, for those who ask for it: `s3://BUCKET/PREFIX`, with `?region=` if it is elsewhere."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import UsageError

_FORM = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/[A-Za-z0-9._=-]+)*)/?(?:\?region=([a-z0-9-]+))?")


@dataclass(frozen=True)
class Bucket:
    """Where the state lies; `key` is the object's name."""

    bucket: str
    key: str
    region: str


def bucket_of(text: str, name: str, region: str) -> Bucket:
    """The object of a fleet's state; raises UsageError for a form that is none."""
    match = _FORM.fullmatch(text)
    if match is None or ".." in text:
        raise UsageError(f"--state {text!r} is no place for a state.", fix="Write s3://BUCKET/PREFIX[?region=REGION].")
    bucket, prefix, there = match.groups()
    return Bucket(bucket, f"{prefix.lstrip('/')}/{name}.tfstate".lstrip("/"), there or region)
