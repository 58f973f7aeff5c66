#!/bin/sh
# Brings both of Temporal's databases to the schema of this admin-tools image; safe to run again.
# The password comes from SQL_PASSWORD, which temporal-sql-tool reads itself.
set -eu

schema=/etc/temporal/schema/postgresql/v12

upgrade() {
    tool="temporal-sql-tool --plugin postgres12 --endpoint postgres --port 5432 --user temporal --database $1"
    $tool setup-schema --version 0.0
    $tool update-schema --schema-dir "$schema/$2/versioned"
}

upgrade temporal temporal
upgrade temporal_visibility visibility
