-- An imagined application for work and income, with its own names and conventions. All persons are fictitious: numbers from
-- 999000000-999999999. The connector reads the views in schema koppeling and nothing else.
CREATE SCHEMA suite;
CREATE TABLE suite.client (
    clientnr     integer PRIMARY KEY,
    bsn          char(9) NOT NULL UNIQUE,
    naam         text    NOT NULL,
    geboren      date    NOT NULL,
    straat       text    NOT NULL,
    huisnummer   text    NOT NULL,
    postcode     text    NOT NULL,
    woonplaats   text    NOT NULL,
    telefoon     text,
    geheim       boolean NOT NULL,
    gewijzigd_op date    NOT NULL
);
CREATE TABLE suite.uitkering (
    clientnr     integer NOT NULL REFERENCES suite.client,
    regeling     text    NOT NULL CHECK (regeling IN ('PW', 'IOAW', 'IOAZ')),
    vanaf        date    NOT NULL,
    tot          date,
    bedrag       numeric(9, 2) NOT NULL,
    gewijzigd_op date    NOT NULL
);
CREATE INDEX uitkering_client ON suite.uitkering (clientnr);
INSERT INTO suite.client VALUES
    (1, '999990019', 'A. Voorbeeld', '1985-12-01', 'Marktstraat', '12 a', '7622AA', 'Borne', '0740000001', false, '2026-11-01'),
    (2, '999990020', 'B. Proef', '1990-06-15', 'Grotestraat', '3', '7622AB', 'Borne', NULL, true, '2026-11-01'),
    (3, '999990032', 'C. Fictief', '1971-02-28', 'Dorpsplein', '8', '7622AC', 'Borne', '0740000003', false, '2026-11-01');
INSERT INTO suite.uitkering VALUES
    (1, 'PW', '2024-03-01', NULL, 1234.56, '2026-11-01'),
    (2, 'PW', '2025-01-01', NULL, 987.65, '2026-11-01'),
    (3, 'IOAW', '2020-01-01', '2021-12-31', 0.05, '2026-11-01');

CREATE SCHEMA koppeling;
CREATE VIEW koppeling.client AS SELECT * FROM suite.client;
CREATE VIEW koppeling.uitkering AS SELECT u.*, (tot IS NULL OR tot > current_date) AS loopt FROM suite.uitkering u;
GRANT USAGE ON SCHEMA koppeling TO bron_lezer;
GRANT SELECT ON ALL TABLES IN SCHEMA koppeling TO bron_lezer;
