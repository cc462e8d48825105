-- Milliseconds from a deploy's arrival until its release was live and verified.
ALTER TABLE deploys ADD COLUMN live_ms INTEGER;
UPDATE deploys SET live_ms = (
    SELECT max(0, p.started_at + p.duration_ms - deploys.queued_at) FROM phases p
    WHERE p.deploy_id = deploys.id AND p.phase = 'verify' AND p.duration_ms IS NOT NULL
    ORDER BY p.ordinal DESC LIMIT 1)
WHERE status IN ('live', 'retired');
-- Live releases behind which an old container still drains.
CREATE INDEX deploys_draining ON deploys (app_id, id) WHERE finished_at IS NULL AND status IN ('live', 'retired');
