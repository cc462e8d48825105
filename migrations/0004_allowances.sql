-- What an admin allows an app beyond what every app may; without a row nothing.
CREATE TABLE allowances (
    app_id       INTEGER PRIMARY KEY REFERENCES apps (id) ON DELETE CASCADE,
    memory       INTEGER,           -- bytes
    pids         INTEGER,
    cpus         INTEGER,           -- thousandths of a processor
    capabilities TEXT    NOT NULL   -- JSON, an array of names
) STRICT;
