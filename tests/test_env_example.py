"""`.env.example` is what the code says."""

from pydantic import BaseModel

from settings import Settings
from stack.env_example import env_example
from stack.files import ROOT


def test_the_committed_file_is_the_generated_one():
    assert (ROOT / ".env.example").read_text("utf-8") == env_example(), "run: vanta env-example > .env.example"


def test_every_setting_says_what_it_means():
    annotations = [f.annotation for f in Settings.model_fields.values()]
    groups: list[type[BaseModel]] = [Settings]
    groups += [a for a in annotations if isinstance(a, type) and issubclass(a, BaseModel)]
    for group in groups:
        for name, field in group.model_fields.items():
            nested = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
            assert nested or field.description, f"{group.__name__}.{name}"


def test_what_must_be_given_is_not_commented_out():
    given = [line for line in env_example().splitlines() if line.startswith("VANTA_")]
    assert given == ["VANTA_POSTGRES__DSN=", "VANTA_AUTH__JWKS=", "VANTA_SECRETS__MASTER_KEYS="]
