#!/bin/bash
# Once, on a new server: for each peer a database, a role that owns its tables and changes them (migratie), and one that a peer runs as;
# and the database of Borne's own application, that Borne's connector may read and nobody may write through it.
set -eu
password() { cat "/var/lib/postgresql/wachtwoord/$1"; }
sql() { psql -v ON_ERROR_STOP=1 --quiet --username "$POSTGRES_USER" --no-password --no-psqlrc --dbname "$@"; }

for peer in borne uwi directory; do
	sql postgres -v peer="$peer" -v migratie="${peer}_migratie" -v ww="$(password "$peer")" -v mww="$(password "${peer}-migratie")" <<-'SQL'
		CREATE ROLE :"migratie" LOGIN PASSWORD :'mww';
		CREATE ROLE :"peer" LOGIN PASSWORD :'ww' CONNECTION LIMIT 40;
		CREATE DATABASE :"peer" OWNER :"migratie";
		REVOKE ALL ON DATABASE :"peer" FROM PUBLIC;
		GRANT CONNECT ON DATABASE :"peer" TO :"peer";
	SQL
	sql "$peer" -v migratie="${peer}_migratie" <<<'REVOKE ALL ON SCHEMA public FROM PUBLIC; ALTER SCHEMA public OWNER TO :"migratie";'
done

sql postgres -v ww="$(password bron-lezer)" <<-'SQL'
	CREATE ROLE bron_lezer LOGIN PASSWORD :'ww' CONNECTION LIMIT 20;
	ALTER ROLE bron_lezer SET default_transaction_read_only = on;
	CREATE DATABASE suite;
	REVOKE ALL ON DATABASE suite FROM PUBLIC;
	GRANT CONNECT ON DATABASE suite TO bron_lezer;
SQL
sql suite -f /grensloos/bron.sql
