-- Reports of doubtful fields (terugmelding), at both sides: kant 'melder' is what this peer reported, kant 'bron' what was reported
-- to it. By pseudonym only; toelichting and antwoord are free text that was held against BSNs. Times are unix milliseconds.
CREATE TABLE terugmeldingen (
    kant        TEXT    NOT NULL CHECK (kant IN ('melder', 'bron')),
    id          TEXT    NOT NULL,
    transactie  TEXT    NOT NULL, -- the answer that the report is about
    dienst      TEXT    NOT NULL,
    veld        TEXT    NOT NULL,
    reden       TEXT    NOT NULL,
    toelichting TEXT    NOT NULL,
    doel        TEXT    NOT NULL,
    zaak        TEXT    NOT NULL,
    zaaktype    TEXT    NOT NULL,
    melder      TEXT    NOT NULL, -- peer
    bron        TEXT    NOT NULL, -- peer
    medewerker  TEXT    NOT NULL, -- pseudonym of the worker at the melder
    betrokkene  TEXT    NOT NULL CHECK (betrokkene = '' OR betrokkene GLOB 'v[1-9]*.*'), -- pseudonym of the bron; empty at the melder
    status      TEXT    NOT NULL,
    antwoord    TEXT    NOT NULL,
    gemeld      INTEGER NOT NULL,
    gewijzigd   INTEGER NOT NULL,
    PRIMARY KEY (kant, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX terugmeldingen_betrokkene ON terugmeldingen (betrokkene) WHERE betrokkene <> '';
CREATE INDEX terugmeldingen_medewerker ON terugmeldingen (kant, medewerker, id);
