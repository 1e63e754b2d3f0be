-- When a peer last announced itself to us (unix milliseconds); 0: it never did, we know it from a contract.
-- min_binary_schema: 1
ALTER TABLE peers ADD COLUMN announced_at bigint NOT NULL DEFAULT 0;

-- What each directory said when it was last read: a hint, kept for when it is away. The certificate decides who a peer is.
CREATE TABLE directory_peers (
    directory text COLLATE "C" NOT NULL,
    id        text COLLATE "C" NOT NULL,
    name      text COLLATE "C" NOT NULL,
    address   text COLLATE "C" NOT NULL,
    PRIMARY KEY (directory, id)
);
CREATE INDEX directory_peers_id ON directory_peers (id);

CREATE TABLE directory_services (
    directory      text COLLATE "C" NOT NULL,
    peer           text COLLATE "C" NOT NULL,
    name           text COLLATE "C" NOT NULL,
    delegator      text COLLATE "C" NOT NULL, -- empty: the peer offers it for itself
    delegator_name text COLLATE "C" NOT NULL,
    protocol       text COLLATE "C" NOT NULL,
    properties     text COLLATE "C" NOT NULL, -- JSON; empty: none
    confirmed      boolean NOT NULL, -- the peer itself says so too
    PRIMARY KEY (directory, peer, name, delegator)
);

-- One row when this peer has left the group: since when it no longer announces itself.
CREATE TABLE membership_ended (
    one integer NOT NULL PRIMARY KEY CHECK (one = 1),
    at  bigint NOT NULL
);
