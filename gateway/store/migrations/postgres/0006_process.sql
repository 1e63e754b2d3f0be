-- What the processes of one peer know of each other, when its roles run apart.
-- min_binary_schema: 1

-- The group certificates with which they sign, leaf first, by the role that does. Each process puts its own here again every minute.
CREATE TABLE own_certificates (
    role      text COLLATE "C" NOT NULL,
    x5t       text COLLATE "C" NOT NULL, -- thumbprint of the leaf, as in x5t#S256
    chain     bytea  NOT NULL, -- DER, one behind the other
    not_after bigint NOT NULL, -- unix milliseconds
    seen_at   bigint NOT NULL, -- unix milliseconds
    PRIMARY KEY (role, x5t)
);

-- The transaction ids that an inway took, for as long as they are timely.
CREATE TABLE transaction_claims (
    id text COLLATE "C" NOT NULL PRIMARY KEY,
    at bigint NOT NULL -- time in the id, unix milliseconds
);
CREATE INDEX transaction_claims_at ON transaction_claims (at);
