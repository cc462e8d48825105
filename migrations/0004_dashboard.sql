-- Whether an app's badge and status are there for everybody.
ALTER TABLE apps ADD COLUMN public INTEGER NOT NULL DEFAULT 0;
-- A build's steps: a JSON array; NULL for every other phase.
ALTER TABLE phases ADD COLUMN steps TEXT;
-- What exactly ran: the image's id, and its size in bytes. NULL for releases of older versions.
ALTER TABLE releases ADD COLUMN image_id TEXT;
ALTER TABLE releases ADD COLUMN image_size INTEGER;
-- An app's deploys by how they ended.
CREATE INDEX deploys_by_status ON deploys (app_id, status, id);

-- What a deploy brings, measured against what was live when it began: commits and files, JSON.
CREATE TABLE changes (
    deploy_id INTEGER PRIMARY KEY REFERENCES deploys (id) ON DELETE CASCADE,
    told      TEXT    NOT NULL
) STRICT;

-- Whether all schema migrations that a deploy's gates applied are in the table below. NULL: no gate of it
-- is known to apply any.
ALTER TABLE deploys ADD COLUMN migrations_known INTEGER;

-- The schema migrations that a deploy's gate applied, in order. They stay while their app does: that a
-- deploy is forgotten does not undo them.
CREATE TABLE migrations (
    app_id    INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    deploy_id INTEGER NOT NULL,
    ordinal   INTEGER NOT NULL,
    name      TEXT    NOT NULL,
    PRIMARY KEY (app_id, deploy_id, ordinal)
) STRICT, WITHOUT ROWID;
