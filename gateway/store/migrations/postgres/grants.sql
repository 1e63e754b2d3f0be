-- What the role that runs may do: the least that the statements of gateway/store need, column by column where rows change.
-- `grensloos migrate` runs this each time, after the migrations and in their transaction, with the configuration's role in the place
-- of :"rol". By hand: psql -v rol=grensloos -f grants.sql
REVOKE ALL ON ALL TABLES IN SCHEMA grensloos FROM PUBLIC, :"rol";
REVOKE ALL ON SCHEMA grensloos FROM PUBLIC, :"rol";
GRANT USAGE ON SCHEMA grensloos TO :"rol";

GRANT SELECT ON grensloos.schema_migrations TO :"rol";

-- Contracts are never changed and never deleted.
GRANT SELECT, INSERT ON grensloos.contracts, grensloos.contract_parties, grensloos.contract_grants TO :"rol";
GRANT SELECT, INSERT, UPDATE (jws, x5t, chain, signed_at, received_at) ON grensloos.signatures TO :"rol";
GRANT SELECT, INSERT, UPDATE (jws, state, attempts, next_at, reason, changed_at) ON grensloos.deliveries TO :"rol";
GRANT SELECT, UPDATE (counter) ON grensloos.contract_changes TO :"rol";

GRANT SELECT, INSERT, DELETE, UPDATE (name, address, changed_at, announced_at) ON grensloos.peers TO :"rol";
GRANT SELECT, INSERT, DELETE ON grensloos.directory_peers, grensloos.directory_services, grensloos.membership_ended TO :"rol";

GRANT SELECT, INSERT, UPDATE (bevestigd_op, ingetrokken) ON grensloos.toestemmingen TO :"rol";
GRANT SELECT, INSERT, UPDATE (status, antwoord, gewijzigd) ON grensloos.terugmeldingen TO :"rol";
GRANT SELECT, INSERT, UPDATE (beeindigd_op) ON grensloos.contactpersonen TO :"rol";
GRANT SELECT, INSERT, UPDATE (actief) ON grensloos.contactpersoon_leden TO :"rol";

GRANT SELECT, INSERT, DELETE, UPDATE (seen_at) ON grensloos.own_certificates TO :"rol";
GRANT SELECT, INSERT, DELETE ON grensloos.transaction_claims TO :"rol";
