"""Regions and zones as words: enough to catch a slip; what is sold in them, only the cloud knows."""

from __future__ import annotations

import re
from collections.abc import Mapping

_AWS = """
us-east-1 us-east-2 us-west-1 us-west-2 ca-central-1 ca-west-1 mx-central-1 sa-east-1 eu-west-1 eu-west-2 eu-west-3
eu-central-1 eu-central-2 eu-north-1 eu-south-1 eu-south-2 il-central-1 me-south-1 me-central-1 af-south-1 ap-east-1
ap-east-2 ap-south-1 ap-south-2 ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-southeast-1 ap-southeast-2
ap-southeast-3 ap-southeast-4 ap-southeast-5 ap-southeast-6 ap-southeast-7
"""
_GCP = """
us-central1 us-east1 us-east4 us-east5 us-south1 us-west1 us-west2 us-west3 us-west4 northamerica-northeast1
northamerica-northeast2 northamerica-south1 southamerica-east1 southamerica-west1 europe-west1 europe-west2
europe-west3 europe-west4 europe-west6 europe-west8 europe-west9 europe-west10 europe-west12 europe-central2
europe-north1 europe-north2 europe-southwest1 me-central1 me-central2 me-west1 africa-south1 asia-east1 asia-east2
asia-northeast1 asia-northeast2 asia-northeast3 asia-south1 asia-south2 asia-southeast1 asia-southeast2
australia-southeast1 australia-southeast2
"""
REGIONS: Mapping[str, tuple[str, ...]] = {"aws": tuple(_AWS.split()), "gcp": tuple(_GCP.split())}

_DEFAULT = {"aws": "us-east-1", "gcp": "us-central1"}
_ZONE = {"aws": re.compile(r"([a-z]{2}(?:-[a-z]+)+-\d)[a-z]"), "gcp": re.compile(r"([a-z]+-[a-z]+\d+)-[a-z]")}


def region_of_zone(cloud: str, zone: str) -> str | None:
    """`us-east-1` of `us-east-1a`, `us-central1` of `us-central1-a`; None when it is no zone's name."""
    match = _ZONE[cloud].fullmatch(zone)
    return match.group(1) if match else None


def default_region(cloud: str, zone: str | None) -> str:
    """The zone's own region, so that `--zone` alone is enough; empty where there are no regions."""
    if cloud not in _DEFAULT:
        return ""
    return (region_of_zone(cloud, zone) if zone else None) or _DEFAULT[cloud]
