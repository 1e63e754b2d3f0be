-- FSC Core: contracts as received, the signatures on them, what must still reach another peer, and the peers that we know.
-- Times are unix milliseconds; created_at, not_before and not_after are the contract's own unix seconds.
-- min_binary_schema: 1
CREATE TABLE contracts (
    hash        text COLLATE "C" NOT NULL PRIMARY KEY,
    iv          text COLLATE "C" NOT NULL UNIQUE,
    content     bytea NOT NULL,
    created_at  bigint NOT NULL,
    not_before  bigint NOT NULL,
    not_after   bigint NOT NULL,
    received_at bigint NOT NULL
);
CREATE INDEX contracts_created ON contracts (created_at, hash);
CREATE INDEX contracts_not_after ON contracts (not_after);

CREATE TABLE contract_parties (
    contract text COLLATE "C" NOT NULL REFERENCES contracts (hash),
    peer     text COLLATE "C" NOT NULL,
    PRIMARY KEY (contract, peer)
);
CREATE INDEX contract_parties_peer ON contract_parties (peer, contract);

CREATE TABLE contract_grants (
    contract text COLLATE "C" NOT NULL REFERENCES contracts (hash),
    position integer NOT NULL,
    hash     text COLLATE "C" NOT NULL,
    type     text COLLATE "C" NOT NULL,
    PRIMARY KEY (contract, position)
);
CREATE INDEX contract_grants_hash ON contract_grants (hash);

CREATE TABLE signatures (
    contract    text COLLATE "C" NOT NULL REFERENCES contracts (hash),
    peer        text COLLATE "C" NOT NULL,
    type        text COLLATE "C" NOT NULL CHECK (type IN ('accept', 'reject', 'revoke')),
    jws         text COLLATE "C" NOT NULL,
    x5t         text COLLATE "C" NOT NULL,
    chain       bytea NOT NULL, -- DER certificates, signer first, one after the other
    signed_at   bigint NOT NULL,
    received_at bigint NOT NULL,
    PRIMARY KEY (contract, peer, type)
);

CREATE TABLE deliveries (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    contract   text COLLATE "C" NOT NULL REFERENCES contracts (hash),
    receiver   text COLLATE "C" NOT NULL,
    type       text COLLATE "C" NOT NULL CHECK (type IN ('accept', 'reject', 'revoke')),
    submit     boolean NOT NULL,
    jws        text COLLATE "C" NOT NULL,
    state      text COLLATE "C" NOT NULL CHECK (state IN ('open', 'delivered', 'failed')),
    attempts   integer NOT NULL,
    next_at    bigint NOT NULL,
    reason     text COLLATE "C" NOT NULL,
    changed_at bigint NOT NULL,
    UNIQUE (contract, receiver, type)
);
CREATE INDEX deliveries_open ON deliveries (next_at, id) WHERE state = 'open';

CREATE TABLE peers (
    id         text COLLATE "C" NOT NULL PRIMARY KEY,
    name       text COLLATE "C" NOT NULL,
    address    text COLLATE "C" NOT NULL,
    changed_at bigint NOT NULL
);

-- One row that counts changes of contracts and signatures, so that a process sees what another one changed.
CREATE TABLE contract_changes (
    one     integer NOT NULL PRIMARY KEY CHECK (one = 1),
    counter bigint NOT NULL
);
INSERT INTO contract_changes (one, counter) VALUES (1, 0);
