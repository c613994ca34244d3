"""Terraform's state in a bucket, for those who ask for it: `s3://BUCKET/PREFIX[?region=R]` on AWS, `gs://…` on GCP."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import UsageError

_SCHEMES = {"aws": "s3", "gcp": "gs"}
_FORM = re.compile(r"(s3|gs)://([a-z0-9][a-z0-9._-]{1,61}[a-z0-9])((?:/[A-Za-z0-9._=-]+)*)/?(?:\?region=([a-z0-9-]+))?")


@dataclass(frozen=True)
class Bucket:
    """Where the state lies; `key` is the object's name in S3, and the folder of it in Cloud Storage."""

    bucket: str
    key: str
    region: str


def bucket_of(text: str, cloud: str, name: str, region: str) -> Bucket:
    """The object of a fleet's state; raises UsageError for a form that is none, or of another cloud."""
    scheme = _SCHEMES.get(cloud)
    if scheme is None:
        raise UsageError(f"The state of a {cloud} fleet is kept on this machine.", fix="Leave --state out.")
    form = f"{scheme}://BUCKET/PREFIX{'[?region=REGION]' if scheme == 's3' else ''}"
    match = _FORM.fullmatch(text)
    if match is None or ".." in text or match[1] != scheme or (match[4] and scheme == "gs"):
        raise UsageError(f"--state {text!r} is no place for the state of a fleet on {cloud}.", fix=f"Write {form}.")
    _, bucket, prefix, there = match.groups()
    ending = ".tfstate" if scheme == "s3" else ""
    return Bucket(bucket, f"{prefix.lstrip('/')}/{name}{ending}".lstrip("/"), there or region)
