"""This machine's public address, for the one rule that lets it in."""

from __future__ import annotations

import ipaddress
import urllib.request

from ..errors import PreflightError

ASKED = "https://checkip.amazonaws.com"


def my_cidr(url: str = ASKED, timeout_s: float = 5.0) -> str:
    """`198.51.100.7/32`; raises PreflightError when nobody says so."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer:  # noqa: S310  # a fixed https address
            text = answer.read(64).decode("ascii").strip()
        return f"{ipaddress.IPv4Address(text)}/32"
    except (OSError, ValueError) as error:
        raise PreflightError(
            "This machine's public address could not be found out.",
            why=f"{url}: {error}",
            fix="Say who may reach port 22 of the nodes: --allow-cidr ADDRESS/32.",
        ) from None
