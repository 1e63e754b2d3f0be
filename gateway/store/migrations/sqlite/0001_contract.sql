-- FSC Core: contracts as received, the signatures on them, what must still reach another peer, and the peers that we know.
-- Times are unix milliseconds; created_at, not_before and not_after are the contract's own unix seconds.
CREATE TABLE contracts (
    hash        TEXT    NOT NULL PRIMARY KEY,
    iv          TEXT    NOT NULL UNIQUE,
    content     BLOB    NOT NULL,
    created_at  INTEGER NOT NULL,
    not_before  INTEGER NOT NULL,
    not_after   INTEGER NOT NULL,
    received_at INTEGER NOT NULL
) STRICT;
CREATE INDEX contracts_created ON contracts (created_at, hash);
CREATE INDEX contracts_not_after ON contracts (not_after);

CREATE TABLE contract_parties (
    contract TEXT NOT NULL REFERENCES contracts (hash),
    peer     TEXT NOT NULL,
    PRIMARY KEY (contract, peer)
) STRICT, WITHOUT ROWID;
CREATE INDEX contract_parties_peer ON contract_parties (peer, contract);

CREATE TABLE contract_grants (
    contract TEXT    NOT NULL REFERENCES contracts (hash),
    position INTEGER NOT NULL,
    hash     TEXT    NOT NULL,
    type     TEXT    NOT NULL,
    PRIMARY KEY (contract, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX contract_grants_hash ON contract_grants (hash);

CREATE TABLE signatures (
    contract    TEXT    NOT NULL REFERENCES contracts (hash),
    peer        TEXT    NOT NULL,
    type        TEXT    NOT NULL CHECK (type IN ('accept', 'reject', 'revoke')),
    jws         TEXT    NOT NULL,
    x5t         TEXT    NOT NULL,
    chain       BLOB    NOT NULL, -- DER certificates, signer first, one after the other
    signed_at   INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (contract, peer, type)
) STRICT, WITHOUT ROWID;

CREATE TABLE deliveries (
    id         INTEGER NOT NULL PRIMARY KEY,
    contract   TEXT    NOT NULL REFERENCES contracts (hash),
    receiver   TEXT    NOT NULL,
    type       TEXT    NOT NULL CHECK (type IN ('accept', 'reject', 'revoke')),
    submit     INTEGER NOT NULL CHECK (submit IN (0, 1)),
    jws        TEXT    NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('open', 'delivered', 'failed')),
    attempts   INTEGER NOT NULL,
    next_at    INTEGER NOT NULL,
    reason     TEXT    NOT NULL,
    changed_at INTEGER NOT NULL,
    UNIQUE (contract, receiver, type)
) STRICT;
CREATE INDEX deliveries_open ON deliveries (next_at, id) WHERE state = 'open';

CREATE TABLE peers (
    id         TEXT    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL,
    address    TEXT    NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row that counts changes of contracts and signatures, so that a process sees what another one changed.
CREATE TABLE contract_changes (
    one     INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    counter INTEGER NOT NULL
) STRICT;
INSERT INTO contract_changes (one, counter) VALUES (1, 0);
