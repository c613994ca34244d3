"""Hears of it when a cloud is about to take this machine away: AWS's spot notice, GCP's preemption flag."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping

_METADATA = "http://169.254.169.254"
_LOOK_EVERY_S = 5.0
_TIMEOUT_S = 2.0


class PreemptionWatch:
    """Asks the cloud's metadata service every few seconds; a cloud that announces nothing is not asked."""

    def __init__(self, cloud: str, on_notice: Callable[[str], None], every_s: float = _LOOK_EVERY_S) -> None:
        """Start asking.

        Args:
            cloud: `aws` or `gcp`; others have no notice.
            on_notice: called once at most, from a thread, with the cloud's words.
        """
        self._stop = threading.Event()
        ask = {"aws": aws_notice, "gcp": gcp_notice}.get(cloud)
        if ask is not None:
            threading.Thread(target=self._watch, args=(ask, on_notice, every_s), daemon=True).start()

    def close(self) -> None:
        """Stop asking."""
        self._stop.set()

    def _watch(self, ask: Callable[[], str | None], on_notice: Callable[[str], None], every_s: float) -> None:
        while not self._stop.wait(every_s):
            notice = ask()
            if notice is not None:
                on_notice(notice)
                return


def aws_notice() -> str | None:
    """`action` and time of a spot instance's end, two minutes before it (IMDSv2); None where there is none."""
    token = _ask("/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, "PUT")
    if token is None:
        return None
    notice = _ask("/latest/meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": token})
    return f"AWS announced the end of this spot instance: {notice}" if notice else None


def gcp_notice() -> str | None:
    """A preempted instance's flag, 30 seconds before its end; None while it is not set."""
    flag = _ask("/computeMetadata/v1/instance/preempted", {"Metadata-Flavor": "Google"})
    return "GCP announced the preemption of this instance" if flag == "TRUE" else None


def _ask(path: str, headers: Mapping[str, str], method: str = "GET") -> str | None:
    """The answer's text; None for "there is no such thing" and for no answer."""
    request = urllib.request.Request(_METADATA + path, headers=dict(headers), method=method)  # noqa: S310  # http alone
    try:
        # A proxy of the environment must not be asked: the address means this machine's own service.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=_TIMEOUT_S) as answer:
            return str(answer.read(4096).decode(errors="replace")).strip()
    except (urllib.error.URLError, OSError):
        return None
