-- Roles and the database. Run by psql as a superuser; safe to run again. Grants on tables belong to the migrations.
-- Reads the passwords from VANTA_OWNER_PASSWORD, VANTA_APP_PASSWORD and VANTA_RELAY_PASSWORD.
\set ON_ERROR_STOP on
\getenv owner_password VANTA_OWNER_PASSWORD
\getenv app_password VANTA_APP_PASSWORD
\getenv relay_password VANTA_RELAY_PASSWORD

SELECT format('CREATE ROLE %I', wanted.name)
FROM (VALUES ('vanta_owner'), ('vanta_app'), ('vanta_relay')) AS wanted (name)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted.name)
\gexec

-- Row-level security must hold for every role that the application logs in with.
ALTER ROLE vanta_owner LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOBYPASSRLS PASSWORD :'owner_password';
ALTER ROLE vanta_app LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOBYPASSRLS PASSWORD :'app_password';
ALTER ROLE vanta_relay LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOBYPASSRLS PASSWORD :'relay_password';

SELECT 'CREATE DATABASE vanta OWNER vanta_owner'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'vanta')
\gexec

REVOKE ALL ON DATABASE vanta FROM PUBLIC;
GRANT CONNECT ON DATABASE vanta TO vanta_app, vanta_relay;
