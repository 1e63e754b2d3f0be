-- The register of consents of a gemeente, by pseudonym only. Times are unix milliseconds; 0 is not (yet).
CREATE TABLE toestemmingen (
    id                 TEXT    NOT NULL PRIMARY KEY,
    betrokkene         TEXT    NOT NULL CHECK (betrokkene GLOB 'v[1-9]*.*'),
    soort              TEXT    NOT NULL,
    doel               TEXT    NOT NULL,
    doel_versie        INTEGER NOT NULL,
    ontvanger          TEXT    NOT NULL,
    velden             TEXT    NOT NULL, -- JSON: dienst to fields; {} is all of the purpose
    gegeven_door       TEXT    NOT NULL,
    geregistreerd_door TEXT    NOT NULL,
    tekstversie        TEXT    NOT NULL,
    kanaal             TEXT    NOT NULL,
    gegeven            INTEGER NOT NULL,
    geldig_tot         INTEGER NOT NULL,
    bevestigd_op       INTEGER NOT NULL,
    ingetrokken        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX toestemmingen_betrokkene ON toestemmingen (betrokkene, doel);
