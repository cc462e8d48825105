-- What runs of a release all the time, and in how many containers. Releases of earlier versions have one
-- process: web, in one container.
CREATE TABLE processes (
    deploy_id INTEGER NOT NULL REFERENCES releases (deploy_id) ON DELETE CASCADE,
    ordinal   INTEGER NOT NULL,
    name      TEXT NOT NULL,
    replicas  INTEGER NOT NULL CHECK (replicas >= 0),
    -- Told to take no new work, for a release that is not verified yet.
    quieted   INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (deploy_id, name),
    UNIQUE (deploy_id, ordinal)
) STRICT, WITHOUT ROWID;
INSERT INTO processes (deploy_id, ordinal, name, replicas) SELECT deploy_id, 0, 'web', 1 FROM releases;
