"""A dashboard as users have it: a process of its own, found by the address that it prints."""

import asyncio
import http.client
import json
import signal
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from support import Mlb


def run_async(coroutine: Coroutine[Any, Any, None]) -> None:
    """As `asyncio.run`, on a thread of its own: a browser's test leaves a loop running on the main one."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, coroutine).result()


class Dashboard:
    """`mlb dashboard` over a home."""

    def __init__(self, mlb: Mlb) -> None:
        self.mlb = mlb
        self.process = mlb.start("dashboard", "--no-open")
        assert self.process.stdout
        self.address = self.process.stdout.readline().strip()
        assert self.address.startswith("http://127.0.0.1:"), self.process.communicate(timeout=10)
        self.root, _, self.token = self.address.partition("/?token=")
        self.port = int(self.root.rpartition(":")[2])

    def ask(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> tuple[int, str]:
        """One request; headers are given with _ for -."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
        connection.close()
        return answer.status, text

    def get(self, path: str) -> tuple[int, str]:
        return self.ask(path, x_mlb_token=self.token)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=30)
        return self.process.returncode
