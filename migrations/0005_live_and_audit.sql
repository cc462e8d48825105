-- Milliseconds from a deploy's arrival until its release was live and verified.
ALTER TABLE deploys ADD COLUMN live_ms INTEGER;
UPDATE deploys SET live_ms = (
    SELECT max(0, p.started_at + p.duration_ms - deploys.queued_at) FROM phases p
    WHERE p.deploy_id = deploys.id AND p.phase = 'verify' AND p.duration_ms IS NOT NULL
    ORDER BY p.ordinal DESC LIMIT 1)
WHERE status IN ('live', 'retired');
-- Live releases behind which an old container still drains.
CREATE INDEX deploys_draining ON deploys (app_id, id) WHERE finished_at IS NULL AND status IN ('live', 'retired');

-- What came of an action. A row is written before the action is begun, and its outcome once, afterwards:
-- a row without one is an action that is under way, or one that the server did not live to see the end
-- of. Rows of earlier versions say only what was refused.
ALTER TABLE audit ADD COLUMN outcome TEXT CHECK (outcome IN ('done', 'refused', 'failed'));
DROP TRIGGER audit_is_not_changed;
UPDATE audit SET outcome = 'refused' WHERE denied <> 0;
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
WHEN OLD.outcome IS NOT NULL OR NEW.outcome IS NULL
    OR NEW.id IS NOT OLD.id OR NEW.at IS NOT OLD.at OR NEW.actor IS NOT OLD.actor OR NEW.via IS NOT OLD.via
    OR NEW.address IS NOT OLD.address OR NEW.action IS NOT OLD.action OR NEW.app IS NOT OLD.app
    OR NEW.denied IS NOT OLD.denied OR substr(NEW.detail, 1, length(OLD.detail)) IS NOT OLD.detail
BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END;
