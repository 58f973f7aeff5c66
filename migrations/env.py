"""Alembic's environment: runs as the owner role, from the URL that the caller put into the config."""

from alembic import context
from sqlalchemy import create_engine, pool
from sqlmodel import SQLModel

import models

assert models.__all__  # importing the tables is what fills SQLModel.metadata


def run() -> None:
    url = context.config.get_main_option("sqlalchemy.url")
    if url is None:
        raise RuntimeError("migrations need sqlalchemy.url; run `vanta db migrate`")
    engine = create_engine(url, poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=SQLModel.metadata, transactional_ddl=True)
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


run()
