"""Who may ask: the holder of the token, from a page of this dashboard, by this machine's own name."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

COOKIE: Final = "mlb_dashboard"
HEADER: Final = "x-mlb-token"


@dataclass(frozen=True)
class Guard:
    """Checks requests to a dashboard on 127.0.0.1 at `port`.

    Other users of this machine can reach the port, and so can any web page in the user's browser: by a form, by a
    script, or by a name of its own that it lets point to 127.0.0.1. So every request needs the token, the right
    name in `Host`, and every action the token once more in a header that no foreign page can set.
    """

    port: int
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    @property
    def hosts(self) -> frozenset[str]:
        return frozenset({f"127.0.0.1:{self.port}", f"localhost:{self.port}"})

    def knows(self, token: str | None) -> bool:
        """Whether this is the token, in constant time."""
        return token is not None and hmac.compare_digest(token.encode(), self.token.encode())

    def refusal(self, method: str, headers: Mapping[str, str], cookie: str | None) -> tuple[int, str] | None:
        """Why a request is refused, as (HTTP status, words); None where it may go on."""
        if headers.get("host", "") not in self.hosts:
            return 421, "This dashboard answers to 127.0.0.1 only."
        if not (self.knows(headers.get(HEADER)) or self.knows(cookie)):
            return 401, "Open the address that mlb dashboard printed: it holds the token."
        if method in ("GET", "HEAD"):
            return None
        if not self.knows(headers.get(HEADER)):
            return 401, "An action needs the token in its header."
        origin = headers.get("origin")
        if origin is not None and origin.removeprefix("http://") not in self.hosts:
            return 403, "An action has to come from the dashboard's own page."
        return None
