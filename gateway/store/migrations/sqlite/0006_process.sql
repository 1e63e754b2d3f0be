-- What the processes of one peer know of each other, when its roles run apart.

-- The group certificates with which they sign, leaf first, by the role that does. Each process puts its own here again every minute.
CREATE TABLE own_certificates (
    role      TEXT    NOT NULL,
    x5t       TEXT    NOT NULL, -- thumbprint of the leaf, as in x5t#S256
    chain     BLOB    NOT NULL, -- DER, one behind the other
    not_after INTEGER NOT NULL, -- unix milliseconds
    seen_at   INTEGER NOT NULL, -- unix milliseconds
    PRIMARY KEY (role, x5t)
) STRICT;

-- The transaction ids that an inway took, for as long as they are timely.
CREATE TABLE transaction_claims (
    id TEXT    PRIMARY KEY,
    at INTEGER NOT NULL -- time in the id, unix milliseconds
) STRICT;
CREATE INDEX transaction_claims_at ON transaction_claims (at);
