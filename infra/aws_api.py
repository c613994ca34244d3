"""The only file that imports boto3: one call at a time, errors in our own tree."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import boto3
import botocore.config
import botocore.exceptions

from ..errors import PreflightError

_HOW = "Log in (aws sso login), choose a profile (AWS_PROFILE), or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
_CREDENTIAL_CODES = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "AuthFailure", "InvalidClientTokenId"}
    | {"UnrecognizedClientException", "SignatureDoesNotMatch"}
)


class AwsRefused(PreflightError):
    """AWS answered with an error.

    Attributes:
        code: AWS's own word for it, such as `DependencyViolation`.
    """

    def __init__(self, operation: str, code: str, message: str) -> None:
        expired = code in _CREDENTIAL_CODES
        what = "The AWS credentials are not valid any more." if expired else f"AWS refused {operation}: {code}."
        super().__init__(what, why=message, fix=_HOW if expired else "")
        self.code = code

    @property
    def is_gone(self) -> bool:
        """The thing does not exist, which is what those who delete it want."""
        return "NotFound" in self.code or self.code == "InvalidPlacementGroup.Unknown"


class _Login:
    """What all regions share: the credentials, and the descriptions of the services, which take long to read."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # a session of boto3 makes one client at a time

    @cached_property
    def session(self) -> Any:
        return boto3.session.Session()


class Api:
    """AWS in one region, with the user's own credentials."""

    def __init__(self, region: str, login: _Login | None = None) -> None:
        self.region = region
        self._login = login or _Login()
        self._clients: dict[str, Any] = {}

    def elsewhere(self, region: str) -> Api:
        """The same account in another region."""
        return Api(region, self._login)

    def call(self, service: str, operation: str, **params: Any) -> dict[str, Any]:
        """One call; raises AwsRefused, or PreflightError when there is no connection or no credentials."""
        with _translated(operation):
            answer: dict[str, Any] = getattr(self._client(service), operation)(**params)
            return answer

    def pages(self, service: str, operation: str, key: str, **params: Any) -> Iterator[dict[str, Any]]:
        """The items under `key` of all pages."""
        client = self._client(service)
        with _translated(operation):
            if not client.can_paginate(operation):
                yield from getattr(client, operation)(**params)[key]
                return
            for page in client.get_paginator(operation).paginate(**params):
                yield from page[key]

    def _client(self, service: str) -> Any:
        with self._login.lock:
            return self._made(service)

    def _made(self, service: str) -> Any:
        if service not in self._clients:
            config = botocore.config.Config(
                connect_timeout=5,
                read_timeout=30,
                max_pool_connections=32,
                retries={"mode": "standard", "total_max_attempts": 4},
            )
            with _translated(service):
                self._clients[service] = self._login.session.client(service, self.region, config=config)
        return self._clients[service]


@contextmanager
def _translated(operation: str) -> Iterator[None]:
    try:
        yield
    except botocore.exceptions.ClientError as error:
        said = error.response.get("Error", {})
        raise AwsRefused(operation, str(said.get("Code", "?")), str(said.get("Message", ""))) from None
    except (botocore.exceptions.NoCredentialsError, botocore.exceptions.PartialCredentialsError) as error:
        raise PreflightError("There are no AWS credentials.", why=str(error), fix=_HOW) from None
    except botocore.exceptions.BotoCoreError as error:
        raise PreflightError("AWS could not be asked.", why=str(error), fix=_HOW) from None
