-- Temporal's role and databases. Run by psql as a superuser; safe to run again. Password: TEMPORAL_DB_PASSWORD.
\set ON_ERROR_STOP on
\getenv temporal_password TEMPORAL_DB_PASSWORD

SELECT 'CREATE ROLE temporal'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'temporal')
\gexec
ALTER ROLE temporal LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOBYPASSRLS PASSWORD :'temporal_password';

SELECT format('CREATE DATABASE %I OWNER temporal', wanted.name)
FROM (VALUES ('temporal'), ('temporal_visibility')) AS wanted (name)
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = wanted.name)
\gexec

REVOKE ALL ON DATABASE temporal FROM PUBLIC;
REVOKE ALL ON DATABASE temporal_visibility FROM PUBLIC;
