"""The only file that imports google.cloud and its login: one call at a time, errors in our own tree."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import google.auth
import google.auth.exceptions
import google.auth.transport.requests
import requests
from google.api_core import exceptions, retry
from google.api_core.client_options import ClientOptions
from google.cloud import compute_v1

from ..errors import PreflightError

CALL_TIMEOUT_S = 30.0
OPERATION_TIMEOUT_S = 300.0
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 3.0
_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_LOGIN = (
    "Log in (gcloud auth application-default login), or set GOOGLE_APPLICATION_CREDENTIALS to the path of a key file."
)
_PROJECT = "Add --project PROJECT-ID, set GOOGLE_CLOUD_PROJECT, or run `gcloud config set project PROJECT-ID`."
_PRICES = "https://cloudbilling.googleapis.com/v1/"
_COMPUTE_ENGINE = "services/6F81-5844-456A"
_PAGE = 5000
# A call that was never answered is asked again for a while; a refusal is an answer.
_RETRY = retry.Retry(
    predicate=retry.if_exception_type(exceptions.ServiceUnavailable, exceptions.TooManyRequests),
    initial=0.5,
    timeout=20.0,
)


class GcpRefused(PreflightError):
    """Google answered with an error.

    Attributes:
        status: the HTTP status.
        reason: Google's own word for it, such as `resourceInUseByAnotherResource`.
    """

    def __init__(self, operation: str, status: int, reason: str, message: str, fix: str = "") -> None:
        what = f"Google refused {operation}: {status} {reason}".rstrip() + "."
        if status == 401:
            what, fix = "The Google Cloud credentials are not valid any more.", _LOGIN
        super().__init__(what, why=message, fix=fix)
        self.status = status
        self.reason = reason

    @property
    def is_gone(self) -> bool:
        """The thing does not exist, which is what those who delete it want."""
        return self.status == 404 or self.reason == "RESOURCE_NOT_FOUND"


class Api:
    """Compute Engine in one project, with the user's own credentials (application default credentials).

    GOOGLE_COMPUTE_CUSTOM_ENDPOINT, which Terraform's provider reads, holds here too: both ask the same service.
    """

    def __init__(self, project: str = "") -> None:
        self._asked = project
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    @cached_property
    def project(self) -> str:
        """The id that was given, or the one that the environment or the credentials name; else PreflightError."""
        project = self._asked or self._credentials[1]
        if not project:
            raise PreflightError("Which Google Cloud project?", why="The credentials do not name one.", fix=_PROJECT)
        return str(project)

    def call(self, service: str, operation: str, /, **request: Any) -> Any:
        """One call; raises GcpRefused, or PreflightError when there is no connection or no credentials."""
        with _translated(f"{service}.{operation}"):
            return self._method(service, operation)({"project": self.project, **request}, **_limits())

    def pages(self, service: str, operation: str = "list", /, **request: Any) -> Iterator[Any]:
        """The items of all pages."""
        with _translated(f"{service}.{operation}"):
            yield from self._method(service, operation)({"project": self.project, **request}, **_limits())

    def everywhere(self, service: str, field: str, filter: str = "") -> Iterator[tuple[str, Any]]:  # noqa: A002
        """All items of all zones and regions, each with its place, such as `us-central1-a`.

        A zone that does not answer is an error (no partial success): what could not be seen is not called gone.
        """
        for scope, found in self.pages(service, "aggregated_list", filter=filter):
            for item in getattr(found, field):
                yield scope.rpartition("/")[2], item

    def finish(self, operation: Any, what: str) -> None:
        """Wait for an operation (of a `..._unary` call); raises GcpRefused when it failed or takes too long.

        The library's own waiting asks another client than the one that was configured, and so another endpoint.
        """
        until, pause = time.monotonic() + OPERATION_TIMEOUT_S, FIRST_PAUSE_S
        service, place = _operations_of(operation)
        while operation.status != compute_v1.Operation.Status.DONE:
            if time.monotonic() >= until:
                raise GcpRefused(what, 0, "no end", f"The operation {operation.name} is not done yet.")
            threading.Event().wait(pause)
            pause = min(pause * 1.6, LONGEST_PAUSE_S)
            operation = self.call(service, "get", operation=operation.name, **place)
        if operation.error.errors:
            first = operation.error.errors[0]
            raise GcpRefused(what, operation.http_error_status_code, first.code, first.message)

    @cached_property
    def _credentials(self) -> tuple[Any, str | None]:
        return _login()

    def _method(self, service: str, operation: str) -> Any:
        with self._lock:
            if service not in self._clients:
                endpoint = os.environ.get("GOOGLE_COMPUTE_CUSTOM_ENDPOINT", "")
                options = ClientOptions(api_endpoint=re.sub(r"/compute/v1/?$", "", endpoint) or None)
                client = getattr(compute_v1, f"{service}Client")
                self._clients[service] = client(credentials=self._credentials[0], client_options=options)
        return getattr(self._clients[service], operation)


def price_list(project: str = "") -> Iterator[Mapping[str, Any]]:
    """The rows of Compute Engine's price list in US dollars, as the Cloud Billing Catalog API writes them in JSON.

    GOOGLE_CLOUD_BILLING_CUSTOM_ENDPOINT, which Terraform's provider reads, holds here too.

    Args:
        project: who asks; it needs that API switched on. Empty is the login's own.

    Raises:
        GcpRefused, PreflightError: as for every call.
    """
    credentials, named = _login()
    project = project or named or ""
    if project and hasattr(credentials, "with_quota_project"):
        credentials = credentials.with_quota_project(project)
    base = os.environ.get("GOOGLE_CLOUD_BILLING_CUSTOM_ENDPOINT") or _PRICES
    url = f"{base.rstrip('/')}/{_COMPUTE_ENGINE}/skus"
    asked: dict[str, Any] = {"currencyCode": "USD", "pageSize": _PAGE}
    new_session: Any = google.auth.transport.requests.AuthorizedSession  # has no types
    with _translated("the price list"), new_session(credentials) as session:
        while True:
            answer = session.get(url, params=asked, timeout=CALL_TIMEOUT_S)
            if answer.status_code != 200:
                raise _price_list_refused(answer, project)
            page = answer.json()
            yield from page.get("skus", ())
            if not page.get("nextPageToken"):
                return
            asked["pageToken"] = page["nextPageToken"]


def _price_list_refused(answer: requests.Response, project: str) -> GcpRefused:
    try:
        error = answer.json()["error"]
        reason, message = str(error.get("status", "")), str(error.get("message", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        reason, message = "", answer.text[:300]
    of = f" --project {project}" if project else ""
    hint = f"gcloud services enable cloudbilling.googleapis.com{of}" if answer.status_code == 403 else ""
    return GcpRefused("the price list", answer.status_code, reason, message, hint)


def _login() -> tuple[Any, str | None]:
    """The credentials, and the project that they or the environment name."""
    try:
        found: tuple[Any, str | None] = google.auth.default(scopes=_SCOPES)
        return found
    except google.auth.exceptions.GoogleAuthError as error:
        raise PreflightError("There are no Google Cloud credentials.", why=str(error), fix=_LOGIN) from None


def _operations_of(operation: Any) -> tuple[str, dict[str, str]]:
    """Which client knows the operation, and where it runs: in a zone, a region, or all over."""
    for place in ("zone", "region"):
        where = getattr(operation, place).rpartition("/")[2]
        if where:
            return f"{place.capitalize()}Operations", {place: where}
    return "GlobalOperations", {}


def _limits() -> dict[str, Any]:
    return {"retry": _RETRY, "timeout": CALL_TIMEOUT_S}


@contextmanager
def _translated(operation: str) -> Iterator[None]:
    try:
        yield
    except exceptions.GoogleAPICallError as error:
        reason = str((error.errors[0] if error.errors else {}).get("reason", ""))
        raise GcpRefused(operation, int(error.code or 0), reason, error.message) from None
    except exceptions.RetryError as error:
        raise GcpRefused(operation, 0, "no answer", str(error)) from None
    except google.auth.exceptions.GoogleAuthError as error:
        raise PreflightError("The Google Cloud credentials do not work.", why=str(error), fix=_LOGIN) from None
    except requests.exceptions.RequestException as error:
        raise PreflightError("Google Cloud could not be asked.", why=str(error), fix="Is there a network?") from None
