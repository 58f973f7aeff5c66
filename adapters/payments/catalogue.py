"""The catalogue of plans from its file."""

from pathlib import Path

import yaml

from domain.errors import InvalidInput
from domain.plans import Catalogue, parse_catalogue

SHIPPED = Path(__file__).with_name("catalogue.yaml")


def load_catalogue(path: Path | None = None) -> Catalogue:
    """The shipped one without a path. Raises InvalidInput naming the file and what is wrong in it."""
    file = path or SHIPPED
    try:
        stored = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidInput("catalogue", f"{file} cannot be read: {error}") from error
    if not isinstance(stored, dict):
        raise InvalidInput("catalogue", f"{file} holds no catalogue")
    try:
        return parse_catalogue(stored)
    except InvalidInput as error:
        raise InvalidInput("catalogue", f"{file}: {error}") from error
