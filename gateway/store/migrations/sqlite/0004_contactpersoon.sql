-- The register of contact persons (contactpersoon) of a gemeente whose source has none. Name and telephone are the worker's
-- business data; residents stand here by pseudonym only. Times are unix milliseconds; 0 is not (yet).
CREATE TABLE contactpersonen (
    id           TEXT    NOT NULL PRIMARY KEY,
    huishouden   TEXT    NOT NULL, -- the gemeente's own reference of the household
    naam         TEXT    NOT NULL,
    organisatie  TEXT    NOT NULL,
    telefoon     TEXT    NOT NULL,
    wet          TEXT    NOT NULL,
    geldig_van   INTEGER NOT NULL,
    beeindigd_op INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- One active contact person per household, and per person.
CREATE UNIQUE INDEX contactpersonen_actief ON contactpersonen (huishouden) WHERE beeindigd_op = 0;

CREATE TABLE contactpersoon_leden (
    betrokkene     TEXT    NOT NULL CHECK (betrokkene GLOB 'v[1-9]*.*'),
    contactpersoon TEXT    NOT NULL REFERENCES contactpersonen (id),
    actief         INTEGER NOT NULL CHECK (actief IN (0, 1)),
    PRIMARY KEY (betrokkene, contactpersoon)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX contactpersoon_leden_actief ON contactpersoon_leden (betrokkene) WHERE actief = 1;
CREATE INDEX contactpersoon_leden_contactpersoon ON contactpersoon_leden (contactpersoon);
