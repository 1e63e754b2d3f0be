-- The register of consents of a gemeente, by pseudonym only. Times are unix milliseconds; 0 is not (yet).
-- min_binary_schema: 1
CREATE TABLE toestemmingen (
    id                 text COLLATE "C" NOT NULL PRIMARY KEY,
    betrokkene         text COLLATE "C" NOT NULL CHECK (betrokkene ~ '^v[1-9].*[.]'),
    soort              text COLLATE "C" NOT NULL,
    doel               text COLLATE "C" NOT NULL,
    doel_versie        bigint NOT NULL,
    ontvanger          text COLLATE "C" NOT NULL,
    velden             text COLLATE "C" NOT NULL, -- JSON: dienst to fields; {} is all of the purpose
    gegeven_door       text COLLATE "C" NOT NULL,
    geregistreerd_door text COLLATE "C" NOT NULL,
    tekstversie        text COLLATE "C" NOT NULL,
    kanaal             text COLLATE "C" NOT NULL,
    gegeven            bigint NOT NULL,
    geldig_tot         bigint NOT NULL,
    bevestigd_op       bigint NOT NULL,
    ingetrokken        bigint NOT NULL
);
CREATE INDEX toestemmingen_betrokkene ON toestemmingen (betrokkene, doel);
