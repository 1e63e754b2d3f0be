-- The register of contact persons (contactpersoon) of a gemeente whose source has none. Name and telephone are the worker's
-- business data; residents stand here by pseudonym only. Times are unix milliseconds; 0 is not (yet).
-- min_binary_schema: 1
CREATE TABLE contactpersonen (
    id           text COLLATE "C" NOT NULL PRIMARY KEY,
    huishouden   text COLLATE "C" NOT NULL, -- the gemeente's own reference of the household
    naam         text COLLATE "C" NOT NULL,
    organisatie  text COLLATE "C" NOT NULL,
    telefoon     text COLLATE "C" NOT NULL,
    wet          text COLLATE "C" NOT NULL,
    geldig_van   bigint NOT NULL,
    beeindigd_op bigint NOT NULL
);
-- One active contact person per household, and per person.
CREATE UNIQUE INDEX contactpersonen_actief ON contactpersonen (huishouden) WHERE beeindigd_op = 0;

CREATE TABLE contactpersoon_leden (
    betrokkene     text COLLATE "C" NOT NULL CHECK (betrokkene ~ '^v[1-9].*[.]'),
    contactpersoon text COLLATE "C" NOT NULL REFERENCES contactpersonen (id),
    actief         integer NOT NULL CHECK (actief IN (0, 1)),
    PRIMARY KEY (betrokkene, contactpersoon)
);
CREATE UNIQUE INDEX contactpersoon_leden_actief ON contactpersoon_leden (betrokkene) WHERE actief = 1;
CREATE INDEX contactpersoon_leden_contactpersoon ON contactpersoon_leden (contactpersoon);
