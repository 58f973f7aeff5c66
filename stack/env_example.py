"""`.env.example`: every setting with its meaning and default, written from the code and from nothing else."""

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from settings import Settings

_HEADER = """\
# Settings of VANTA Platform; written by `vanta env-example`, so change settings.py and not this file.
# A line that begins with `# VANTA_` shows a default. Lines without `#` must be given a value.
"""


def env_example() -> str:
    """The file's text: a paragraph per group."""
    prefix = str(Settings.model_config.get("env_prefix", ""))
    single = [(name, field) for name, field in Settings.model_fields.items() if _group(field) is None]
    parts = [_HEADER, *_paragraph("", prefix, single)]
    for name, field in Settings.model_fields.items():
        group = _group(field)
        if group is not None:
            title = (group.__doc__ or "").partition("\n")[0] if group.__doc__ != BaseModel.__doc__ else ""
            parts.extend(_paragraph(title, f"{prefix}{name.upper()}__", list(group.model_fields.items())))
    return "\n".join(parts) + "\n"


def _paragraph(title: str, prefix: str, fields: list[tuple[str, FieldInfo]]) -> Iterator[str]:
    if title:
        yield f"# {title}"
    for name, field in fields:
        if field.description:
            yield f"# {field.description}"
        line = f"{prefix}{name.upper()}={_shown(field)}"
        yield line if field.is_required() else f"# {line}"
    yield ""


def _group(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _shown(field: FieldInfo) -> str:
    value: Any = None if field.is_required() else field.get_default(call_default_factory=True)
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, bool | list):
        return json.dumps(value)
    return str(value)
