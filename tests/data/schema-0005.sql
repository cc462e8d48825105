-- The database as schema 0005 left it, with data of every kind. Never edited.
CREATE TABLE _sqlx_migrations (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN NOT NULL,
    checksum BLOB NOT NULL,
    execution_time BIGINT NOT NULL
);
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE apps (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT    NOT NULL UNIQUE,
    subnet     TEXT    NOT NULL UNIQUE,
    port       INTEGER,            -- the port that Caddy's route names; NULL before the first release
    created_at INTEGER NOT NULL
, leaving INTEGER NOT NULL DEFAULT 0, public INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE domains (
    domain TEXT    PRIMARY KEY,
    app_id INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    ordinal INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE env (
    app_id INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    name   TEXT    NOT NULL,
    sealed BLOB    NOT NULL,
    PRIMARY KEY (app_id, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE deploys (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    app_id          INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    commit_id       TEXT    NOT NULL,
    subject         TEXT    NOT NULL,
    author          TEXT    NOT NULL,
    trigger         TEXT    NOT NULL,
    actor           TEXT    NOT NULL,
    status          TEXT    NOT NULL,
    source_release  INTEGER,        -- the release a revert or restart starts from
    queued_at       INTEGER NOT NULL,
    started_at      INTEGER,
    finished_at     INTEGER,
    duration_ms     INTEGER,
    failure_phase   TEXT,
    failure_message TEXT
, attempts INTEGER NOT NULL DEFAULT 0, cancel_by TEXT, migrations_known INTEGER, live_ms INTEGER) STRICT;
CREATE TABLE phases (
    deploy_id   INTEGER NOT NULL REFERENCES deploys (id) ON DELETE CASCADE,
    ordinal     INTEGER NOT NULL,
    phase       TEXT    NOT NULL,
    status      TEXT    NOT NULL,
    started_at  INTEGER NOT NULL,
    duration_ms INTEGER, steps TEXT,
    PRIMARY KEY (deploy_id, ordinal)
) STRICT, WITHOUT ROWID;
CREATE TABLE releases (
    deploy_id  INTEGER PRIMARY KEY REFERENCES deploys (id) ON DELETE CASCADE,
    app_id     INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    commit_id  TEXT    NOT NULL,
    image      TEXT    NOT NULL,
    image_kept INTEGER NOT NULL,
    manifest   TEXT    NOT NULL,    -- JSON, defaults filled in
    port       INTEGER NOT NULL,
    sealed_env BLOB    NOT NULL,
    created_at INTEGER NOT NULL
, image_id TEXT, image_size INTEGER) STRICT;
CREATE TABLE users (
    id            INTEGER PRIMARY KEY,
    name          TEXT    NOT NULL UNIQUE,
    password_hash TEXT    NOT NULL,
    created_at    INTEGER NOT NULL
, role TEXT NOT NULL DEFAULT 'admin' CHECK (role IN ('viewer', 'deployer', 'admin')), sealed_totp BLOB, totp_step INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE sessions (
    token_hash BLOB    PRIMARY KEY,
    user_id    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
, id TEXT NOT NULL DEFAULT '', seen_at INTEGER NOT NULL DEFAULT 0, address TEXT NOT NULL DEFAULT '', agent TEXT NOT NULL DEFAULT '') STRICT, WITHOUT ROWID;
CREATE TABLE user_apps (
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    app_id  INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    PRIMARY KEY (user_id, app_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE recovery_codes (
    user_id   INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    code_hash BLOB    NOT NULL,
    PRIMARY KEY (user_id, code_hash)
) STRICT, WITHOUT ROWID;
CREATE TABLE keys (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id     INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name        TEXT    NOT NULL,
    public_key  TEXT    NOT NULL UNIQUE,    -- algorithm and base64, as in authorized_keys
    fingerprint TEXT    NOT NULL UNIQUE,
    created_at  INTEGER NOT NULL,
    used_at     INTEGER
) STRICT;
CREATE TABLE tokens (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name       TEXT    NOT NULL,
    token_hash BLOB    NOT NULL UNIQUE,
    scope      TEXT    NOT NULL CHECK (scope IN ('read', 'deploy', 'admin')),
    apps       TEXT,                        -- JSON array of names; NULL: every app of its user
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    used_at    INTEGER
) STRICT;
CREATE TABLE audit (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL,
    actor   TEXT    NOT NULL,
    via     TEXT    NOT NULL,
    address TEXT    NOT NULL,
    action  TEXT    NOT NULL,
    app     TEXT,
    detail  TEXT    NOT NULL,
    denied  INTEGER NOT NULL
, outcome TEXT CHECK (outcome IN ('done', 'refused', 'failed'))) STRICT;
CREATE TABLE allowances (
    app_id       INTEGER PRIMARY KEY REFERENCES apps (id) ON DELETE CASCADE,
    memory       INTEGER,           -- bytes
    pids         INTEGER,
    cpus         INTEGER,           -- thousandths of a processor
    capabilities TEXT    NOT NULL   -- JSON, an array of names
) STRICT;
CREATE TABLE changes (
    deploy_id INTEGER PRIMARY KEY REFERENCES deploys (id) ON DELETE CASCADE,
    told      TEXT    NOT NULL
) STRICT;
CREATE TABLE migrations (
    app_id    INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    deploy_id INTEGER NOT NULL,
    ordinal   INTEGER NOT NULL,
    name      TEXT    NOT NULL,
    PRIMARY KEY (app_id, deploy_id, ordinal)
) STRICT, WITHOUT ROWID;
CREATE INDEX domains_by_app ON domains (app_id, ordinal);
CREATE INDEX deploys_by_app ON deploys (app_id, id);
CREATE INDEX deploys_open ON deploys (status, id) WHERE status IN ('queued', 'running');
CREATE UNIQUE INDEX one_live_deploy ON deploys (app_id) WHERE status = 'live';
CREATE INDEX releases_by_app ON releases (app_id, deploy_id);
CREATE INDEX user_apps_by_app ON user_apps (app_id);
CREATE INDEX keys_by_user ON keys (user_id);
CREATE INDEX tokens_by_user ON tokens (user_id);
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX audit_by_app ON audit (app, id);
CREATE TRIGGER audit_stays BEFORE DELETE ON audit BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END;
CREATE INDEX deploys_by_status ON deploys (app_id, status, id);
CREATE INDEX deploys_draining ON deploys (app_id, id) WHERE finished_at IS NULL AND status IN ('live', 'retired');
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
WHEN OLD.outcome IS NOT NULL OR NEW.outcome IS NULL
    OR NEW.id IS NOT OLD.id OR NEW.at IS NOT OLD.at OR NEW.actor IS NOT OLD.actor OR NEW.via IS NOT OLD.via
    OR NEW.address IS NOT OLD.address OR NEW.action IS NOT OLD.action OR NEW.app IS NOT OLD.app
    OR NEW.denied IS NOT OLD.denied OR substr(NEW.detail, 1, length(OLD.detail)) IS NOT OLD.detail
BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END;
INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) VALUES (1, 'begin', '2026-12-01 04:07:01', 1, X'E66B2192F8716D498F4E04FA77B1F41663A356ADCFA853FC344EFF71E8C4DEB945C721A1A9064B62836A2DB95FE86D1E', 1550493);
INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) VALUES (2, 'crash safety', '2026-12-01 04:07:01', 1, X'AA4158AED6905898E5AB0B5A8063AFDE9BCACD4E7B22B048BF2FA0AAA3DD8364ED55BDD5B479FD9191A3D32B0E4B0F93', 1075104);
INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) VALUES (3, 'access', '2026-12-01 04:07:01', 1, X'39EA257F4E27F109A75B12683F4D92E2965AC6C0CE2C48987F80120AC9862054180414D94DFC3E88B12B3A8ECF7BBA1D', 3023019);
INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) VALUES (4, 'dashboard', '2026-12-01 04:07:01', 1, X'6E1588286426651C46D6F085ABF8426FBFCF61D17D74CF1A0DFB0917161BB8D73B0A56CE2CEAA4E36B7F3206C7AC5379', 1876329);
INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) VALUES (5, 'live and audit', '2026-12-01 04:07:01', 1, X'94F8EB840EE3B69FC9ADC51C808E334FC77FBD4A4AF932D018A4F2CE5473C5B457E8F7CC48B0F7160A39DEA6BFCA54E3', 1454745);
INSERT INTO meta (key, value) VALUES ('instance', 'a6298a');
INSERT INTO apps (id, name, subnet, port, created_at, leaving, public) VALUES (1, 'shop', '10.213.0.0/26', 9000, 1796098021820, 0, 0);
INSERT INTO apps (id, name, subnet, port, created_at, leaving, public) VALUES (2, 'empty', '10.213.0.64/26', NULL, 1796098021821, 0, 0);
INSERT INTO domains (domain, app_id, ordinal) VALUES ('shop.example.com', 1, 0);
INSERT INTO domains (domain, app_id, ordinal) VALUES ('a.example.com', 1, 1);
INSERT INTO env (app_id, name, sealed) VALUES (1, 'GREETING', X'9E36E34830652C5B4D86E49A273AAC80B1367B18C1F78093DFDD60C703B456A7770FC4D9B118E824C90F43F236085A7EEC10B7');
INSERT INTO env (app_id, name, sealed) VALUES (1, 'SECRET_KEY', X'EE73BC75EA6CA6675E4DB95E054A202E842790D78178EED95F068BC64F9AAD1307C1FAB937CC06197815D2718B2D');
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by, migrations_known, live_ms) VALUES (1, 1, '1111111111111111111111111111111111111111', 'Change 1 für alle', 'Ada', 'push', 'ann', 'retired', NULL, 1796098021824, 1796098021825, 1796098021832, 4321, NULL, NULL, 1, NULL, NULL, 7);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by, migrations_known, live_ms) VALUES (2, 1, '2222222222222222222222222222222222222222', 'Change 2 für alle', 'Ada', 'push', 'ann', 'retired', NULL, 1796098021833, 1796098021833, 1796098021844, 4321, NULL, NULL, 1, NULL, NULL, 10);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by, migrations_known, live_ms) VALUES (3, 1, '3333333333333333333333333333333333333333', 'Change 3 für alle', 'Ada', 'push', 'ann', 'failed', NULL, 1796098021845, 1796098021846, 1796098021850, 1234, 'gate:migrate', 'exit status 1:
no such table', 1, NULL, NULL, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by, migrations_known, live_ms) VALUES (4, 1, '4444444444444444444444444444444444444444', 'Change 4 für alle', 'Ada', 'redeploy', 'ann', 'interrupted', 2, 1796098021850, 1796098021851, 1796098021853, 1234, 'build', 'the server stopped', 1, NULL, NULL, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by, migrations_known, live_ms) VALUES (5, 1, '5555555555555555555555555555555555555555', 'Change 5 für alle', 'Ada', 'push', 'ann', 'superseded', NULL, 1796098021854, NULL, 1796098021855, NULL, 'queue', 'superseded by deploy 6 before it started', 0, NULL, NULL, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by, migrations_known, live_ms) VALUES (6, 1, '6666666666666666666666666666666666666666', 'Change 6 für alle', 'Ada', 'push', 'ann', 'cancelled', NULL, 1796098021855, NULL, 1796098021856, 1234, 'queue', 'cancelled by ann', 0, NULL, NULL, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by, migrations_known, live_ms) VALUES (7, 1, '1111111111111111111111111111111111111111', 'Change 1 für alle', 'Ada', 'revert', 'ann', 'live', 1, 1796098021857, 1796098021857, 1796098021871, 4321, NULL, NULL, 1, NULL, NULL, 13);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by, migrations_known, live_ms) VALUES (8, 1, '7777777777777777777777777777777777777777', 'Change 7 für alle', 'Ada', 'push', 'ann', 'running', NULL, 1796098021872, 1796098021873, NULL, NULL, NULL, NULL, 1, NULL, NULL, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by, migrations_known, live_ms) VALUES (9, 1, '1111111111111111111111111111111111111111', 'Change 1 für alle', 'Ada', 'restart', 'ann', 'queued', 7, 1796098021874, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (1, 0, 'checkout', 'ok', 1796098021825, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (1, 1, 'build', 'ok', 1796098021826, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (1, 2, 'gate:migrate', 'ok', 1796098021827, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (1, 3, 'start', 'ok', 1796098021828, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (1, 4, 'health', 'ok', 1796098021828, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (1, 5, 'swap', 'ok', 1796098021829, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (1, 6, 'verify', 'ok', 1796098021829, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (2, 0, 'checkout', 'ok', 1796098021834, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (2, 1, 'build', 'ok', 1796098021835, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (2, 2, 'gate:migrate', 'ok', 1796098021836, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (2, 3, 'start', 'ok', 1796098021837, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (2, 4, 'health', 'ok', 1796098021838, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (2, 5, 'swap', 'ok', 1796098021839, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (2, 6, 'verify', 'ok', 1796098021840, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (2, 7, 'drain', 'skipped', 1796098021841, 0, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (2, 8, 'retire', 'ok', 1796098021841, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (3, 0, 'checkout', 'ok', 1796098021846, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (3, 1, 'build', 'ok', 1796098021847, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (3, 2, 'gate:migrate', 'failed', 1796098021848, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (4, 0, 'checkout', 'ok', 1796098021851, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (4, 1, 'build', 'failed', 1796098021852, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (7, 0, 'build', 'skipped', 1796098021858, 0, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (7, 1, 'gate:migrate', 'ok', 1796098021858, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (7, 2, 'start', 'ok', 1796098021859, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (7, 3, 'health', 'ok', 1796098021862, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (7, 4, 'swap', 'ok', 1796098021867, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (7, 5, 'verify', 'ok', 1796098021868, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (8, 0, 'checkout', 'ok', 1796098021873, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (8, 1, 'build', 'running', 1796098021874, NULL, NULL);
INSERT INTO releases (deploy_id, app_id, commit_id, image, image_kept, manifest, port, sealed_env, created_at, image_id, image_size) VALUES (1, 1, '1111111111111111111111111111111111111111', 'windlass-0a1b2c/shop:d1', 0, '{"build":{"dockerfile":"Dockerfile","context":".","args":{"VERSION":"3"},"secrets":[]},"web":{"command":null,"port":9000},"gates":[{"name":"migrate","run":["python","manage.py","migrate"],"timeout":"10m"}],"health":{"path":"/healthz","status":"200-399","interval":"1s","timeout":"2s","min_healthy":"10s","deadline":"5m"},"verify":{"path":"/","status":"200-399","timeout":"90s"},"drain":{"timeout":"30s","stop_grace":"30s"},"limits":{},"security":{"capabilities":[]}}', 9000, X'3E897E8AA121198CB2634949DE6E70056A9DBB66BCD8147A2B40C21B40D7500547EFF5B91DE3D4EB52E60F3173B1D7734CDF279B75F8D5B5F93E79C30AD106320A25683334BFFE4E05DFF4AE1F101D2FB3E6C5D2324CFB4D', 1796098021831, NULL, NULL);
INSERT INTO releases (deploy_id, app_id, commit_id, image, image_kept, manifest, port, sealed_env, created_at, image_id, image_size) VALUES (2, 1, '2222222222222222222222222222222222222222', 'windlass-0a1b2c/shop:d2', 1, '{"build":{"dockerfile":"Dockerfile","context":".","args":{"VERSION":"3"},"secrets":[]},"web":{"command":null,"port":9000},"gates":[{"name":"migrate","run":["python","manage.py","migrate"],"timeout":"10m"}],"health":{"path":"/healthz","status":"200-399","interval":"1s","timeout":"2s","min_healthy":"10s","deadline":"5m"},"verify":{"path":"/","status":"200-399","timeout":"90s"},"drain":{"timeout":"30s","stop_grace":"30s"},"limits":{},"security":{"capabilities":[]}}', 9000, X'03DF193A9BD05971D19FE5C74429B24A209696529DFD4329AFEF000AC262A801D0248965B694A5E7B04BB40776C4FDAA3DB5A0AC47157C17351066B5B5F7B5BA234E5C0CCC6691A82FC7C919551ED8B928688F90C8651C9F', 1796098021843, NULL, NULL);
INSERT INTO releases (deploy_id, app_id, commit_id, image, image_kept, manifest, port, sealed_env, created_at, image_id, image_size) VALUES (7, 1, '1111111111111111111111111111111111111111', 'windlass-0a1b2c/shop:d7', 1, '{"build":{"dockerfile":"Dockerfile","context":".","args":{"VERSION":"3"},"secrets":[]},"web":{"command":null,"port":9000},"gates":[{"name":"migrate","run":["python","manage.py","migrate"],"timeout":"10m"}],"health":{"path":"/healthz","status":"200-399","interval":"1s","timeout":"2s","min_healthy":"10s","deadline":"5m"},"verify":{"path":"/","status":"200-399","timeout":"90s"},"drain":{"timeout":"30s","stop_grace":"30s"},"limits":{},"security":{"capabilities":[]}}', 9000, X'06171EADB8C0DB48B60C27CD9C0376A72D76C44F527A3E53DFAC53774B35C24CDB5373E10F312DADD49CEA0C4DFE8679EC86F9D32092145BFE1997C01320C5999965DF127619A7D6915087DB0C2D254292DFED7F1E4EBC6C', 1796098021870, NULL, NULL);
INSERT INTO users (id, name, password_hash, created_at, role, sealed_totp, totp_step) VALUES (1, 'admin', '$argon2id$a hash', 1796098021876, 'admin', NULL, 0);
INSERT INTO users (id, name, password_hash, created_at, role, sealed_totp, totp_step) VALUES (2, 'ann', '', 1796098021876, 'deployer', NULL, 0);
INSERT INTO user_apps (user_id, app_id) VALUES (2, 1);
INSERT INTO keys (id, user_id, name, public_key, fingerprint, created_at, used_at) VALUES (1, 2, 'laptop', 'ssh-ed25519 AAAA', 'SHA256:x', 1796098021877, NULL);
INSERT INTO tokens (id, user_id, name, token_hash, scope, apps, created_at, expires_at, used_at) VALUES (1, 2, 'ci', X'0707070707070707070707070707070707070707070707070707070707070707', 'read', '["shop"]', 1796098021878, 4102444800000, NULL);
INSERT INTO audit (id, at, actor, via, address, action, app, detail, denied, outcome) VALUES (1, 1796098021878, 'root', 'local', '', 'env_set', 'shop', 'TOKEN', 0, NULL);
INSERT INTO allowances (app_id, memory, pids, cpus, capabilities) VALUES (2, 2147483648, NULL, NULL, '["NET_RAW"]');
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence (name, seq) VALUES ('apps', 2);
INSERT INTO sqlite_sequence (name, seq) VALUES ('deploys', 9);
INSERT INTO sqlite_sequence (name, seq) VALUES ('keys', 1);
INSERT INTO sqlite_sequence (name, seq) VALUES ('tokens', 1);
INSERT INTO sqlite_sequence (name, seq) VALUES ('audit', 1);
