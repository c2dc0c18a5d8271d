"""huggingface_hub, which is optional, and its errors as sentences."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from metricforge.errors import MetricForgeError, ResourceError, UsageError, told

_NETWORK = {"httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3"}
"""Libraries that huggingface_hub's versions use, and whose errors are the network's."""

LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


def client(needed_by: str) -> Any:
    """The module huggingface_hub; UsageError, with pip's line, if it is missing."""
    try:
        return import_module("huggingface_hub")
    except ImportError as error:
        raise UsageError(
            f'{needed_by} requires the package huggingface_hub: pip install "metricforge[hub]".'
        ) from error


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Turn errors of huggingface_hub into ours; `what` is what is asked of the hub.

    Raises UsageError if the hub does not have it, ResourceError if the network or the user's rights
    don't suffice. No message has the token.
    """
    try:
        with _quiet():
            yield
    except MetricForgeError:
        raise
    except Exception as error:
        ours = _ours(error, what)
        if ours is None:
            raise
        raise ours from error


def _ours(error: Exception, what: str) -> MetricForgeError | None:
    """The error to raise in place of one of huggingface_hub; None if it is none of them."""
    chain = list(_chain(error))
    names = {base.__name__ for each in chain for base in type(each).__mro__}
    status = next(filter(None, map(_status, chain)), None)
    if "OfflineModeIsEnabled" in names:
        return ResourceError(f"can't {what}: HF_HUB_OFFLINE is set, and it is not in the cache.")
    if "GatedRepoError" in names:
        return ResourceError(f"can't {what}: its owner grants access; ask for it on its page.")
    if "RevisionNotFoundError" in names:
        return UsageError(f"can't {what}: the hub has no such branch, tag or commit.")
    # The hub answers 401 for a repository that a reader without a token can't see, too.
    if status == 401 or (status == 404 and not _token()):
        return ResourceError(
            f"can't {what}: the hub has none of that name, or it is private, or the token is "
            f"wrong; check the name, and {LOG_IN}."
        )
    if status == 403:
        return ResourceError(
            f"can't {what}: the token does not allow it; take one that may write there, and "
            f"{LOG_IN}."
        )
    if status == 404:
        return UsageError(f"can't {what}: the hub has none of that name; check it.")
    if status is not None:
        return ResourceError(f"can't {what}: the hub answers {status}{_reason(chain)}.")
    if "LocalEntryNotFoundError" in names or any(map(_of_network, chain)):
        return ResourceError(f"can't {what}: the hub can't be reached; check the network.")
    if isinstance(error, OSError):
        return ResourceError(f"can't {what}: {_without_token(told(error))}.")
    if isinstance(error, ValueError) and type(error).__module__.startswith("huggingface_hub"):
        return UsageError(f"can't {what}: {_without_token(told(error))}.")
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and its causes, of which there are few."""
    for _ in range(20):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def _status(error: BaseException) -> int | None:
    """The status of an answer that an exception is of."""
    return getattr(getattr(error, "response", None), "status_code", None)


def _reason(chain: list[BaseException]) -> str:
    """What the hub itself says, in one line."""
    said = next(filter(None, (getattr(each, "server_message", None) for each in chain)), "")
    line = " ".join(_without_token(str(said)).split()).rstrip(".")
    return f", {line[:200]}" if line else ""


def _of_network(error: BaseException) -> bool:
    module = type(error).__module__.partition(".")[0]
    return module in _NETWORK or isinstance(error, ConnectionError | TimeoutError)


def _token() -> str | None:
    token: str | None = import_module("huggingface_hub").get_token()
    return token


def _without_token(line: str) -> str:
    token = _token()
    return line.replace(token, "***") if token else line


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars where stderr is no terminal, which would fill a log."""
    utils = import_module("huggingface_hub.utils")
    if sys.stderr.isatty() or utils.are_progress_bars_disabled():
        yield
        return
    utils.disable_progress_bars()
    try:
        yield
    finally:
        utils.enable_progress_bars()
