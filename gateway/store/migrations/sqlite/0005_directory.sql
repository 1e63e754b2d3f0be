-- When a peer last announced itself to us (unix milliseconds); 0: it never did, we know it from a contract.
ALTER TABLE peers ADD COLUMN announced_at INTEGER NOT NULL DEFAULT 0;

-- What each directory said when it was last read: a hint, kept for when it is away. The certificate decides who a peer is.
CREATE TABLE directory_peers (
    directory TEXT NOT NULL,
    id        TEXT NOT NULL,
    name      TEXT NOT NULL,
    address   TEXT NOT NULL,
    PRIMARY KEY (directory, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX directory_peers_id ON directory_peers (id);

CREATE TABLE directory_services (
    directory      TEXT    NOT NULL,
    peer           TEXT    NOT NULL,
    name           TEXT    NOT NULL,
    delegator      TEXT    NOT NULL, -- empty: the peer offers it for itself
    delegator_name TEXT    NOT NULL,
    protocol       TEXT    NOT NULL,
    properties     TEXT    NOT NULL, -- JSON; empty: none
    confirmed      INTEGER NOT NULL CHECK (confirmed IN (0, 1)), -- the peer itself says so too
    PRIMARY KEY (directory, peer, name, delegator)
) STRICT, WITHOUT ROWID;

-- One row when this peer has left the group: since when it no longer announces itself.
CREATE TABLE membership_ended (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    at  INTEGER NOT NULL
) STRICT;
