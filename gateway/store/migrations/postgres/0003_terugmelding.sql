-- Reports of doubtful fields (terugmelding), at both sides: kant 'melder' is what this peer reported, kant 'bron' what was reported
-- to it. By pseudonym only; toelichting and antwoord are free text that was held against BSNs. Times are unix milliseconds.
-- min_binary_schema: 1
CREATE TABLE terugmeldingen (
    kant        text COLLATE "C" NOT NULL CHECK (kant IN ('melder', 'bron')),
    id          text COLLATE "C" NOT NULL,
    transactie  text COLLATE "C" NOT NULL, -- the answer that the report is about
    dienst      text COLLATE "C" NOT NULL,
    veld        text COLLATE "C" NOT NULL,
    reden       text COLLATE "C" NOT NULL,
    toelichting text COLLATE "C" NOT NULL,
    doel        text COLLATE "C" NOT NULL,
    zaak        text COLLATE "C" NOT NULL,
    zaaktype    text COLLATE "C" NOT NULL,
    melder      text COLLATE "C" NOT NULL, -- peer
    bron        text COLLATE "C" NOT NULL, -- peer
    medewerker  text COLLATE "C" NOT NULL, -- pseudonym of the worker at the melder
    betrokkene  text COLLATE "C" NOT NULL CHECK (betrokkene = '' OR betrokkene ~ '^v[1-9].*[.]'), -- pseudonym of the bron; empty at the melder
    status      text COLLATE "C" NOT NULL,
    antwoord    text COLLATE "C" NOT NULL,
    gemeld      bigint NOT NULL,
    gewijzigd   bigint NOT NULL,
    PRIMARY KEY (kant, id)
);
CREATE INDEX terugmeldingen_betrokkene ON terugmeldingen (betrokkene) WHERE betrokkene <> '';
CREATE INDEX terugmeldingen_medewerker ON terugmeldingen (kant, medewerker, id);
