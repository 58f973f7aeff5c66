"""Structured logs on standard error, of our own loggers and the libraries' alike: JSON, or words in a terminal.

What must not be in a log is not passed to a logger in the first place: no headers, bodies, queries or addresses of
people. What slips into an error's text all the same is blotted out in the last step, by its shape.
"""

import logging
import re
import sys
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from domain.tracing import CURRENT

# These speak of every request, some with its query; what matters of them is in our own lines, in metrics and in the
# engine's console.
_QUIET = ("aiohttp.access", "botocore", "httpcore", "httpx", "nats", "urllib3", "uvicorn.access")
_BLOT = "[redacted]"
_SECRET = re.compile(
    r"""
      (?P<head>(?i:\b(?:bearer|basic)\s+))[^\s"',;]+     # what an Authorization header holds
    | (?P<user>://)[^\s/@]+(?=@)                         # user and password of a URL
    | \beyJ[\w-]{8,}(?:\.[\w-]*){1,4}                    # a JWT
    | \bvk_[\w-]{8,}                                     # an API key
    | (?<![\w-])[A-Za-z0-9_-]{43}(?![\w-])               # 32 random bytes: refresh tokens, invitations, states
    | [\w.+-]+@[\w-]+(?:\.[\w-]+)+                       # an e-mail address
    | (?P<name>\b(?:DETAIL:|input_value=)).*             # Postgres and pydantic quote what they were given
    """,
    re.VERBOSE,
)


def configure(level: str, stream: TextIO | None = None) -> None:
    """Call once, at the start of a process. `stream` is standard error if it is not given."""
    out = stream or sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                *shared,
                structlog.stdlib.PositionalArgumentsFormatter(),
                structlog.stdlib.ExtraAdder(),
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _blot,
                _renderer(out),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def _renderer(out: TextIO) -> Processor:
    if out.isatty():
        # Plain tracebacks: the fancy ones print the values of variables, and so secrets.
        return structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    return structlog.processors.JSONRenderer(default=str)


def _add_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Which request a line belongs to."""
    trace = CURRENT.get()
    if trace is not None:
        event.setdefault("request_id", trace.request_id)
        event.setdefault("trace_id", trace.trace_id)
    return event


def _blot(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event.pop("color_message", None)  # uvicorn's, the same again with control characters
    for name, value in event.items():
        event[name] = value if isinstance(value, int | float | None) else blotted(value)
    return event


def blotted(value: object) -> object:
    """Texts without what looks like a secret or a person; in lists and mappings, too."""
    if isinstance(value, dict):
        return {name: blotted(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [blotted(item) for item in value]
    return _SECRET.sub(_without, value) if isinstance(value, str) else value


def _without(found: re.Match[str]) -> str:
    kept = found["head"] or found["user"] or found["name"] or ""
    return f"{kept}{_BLOT}"
