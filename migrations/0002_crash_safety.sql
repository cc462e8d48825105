-- How often a worker took a deploy: one that the server left before its swap runs once more.
ALTER TABLE deploys ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
-- Who asked for its end: a server that starts again has to know.
ALTER TABLE deploys ADD COLUMN cancel_by TEXT;
-- An app that is being destroyed: what was begun is finished, by whichever server.
ALTER TABLE apps ADD COLUMN leaving INTEGER NOT NULL DEFAULT 0;
