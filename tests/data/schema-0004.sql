-- The database as schema 0004 left it, with data of every kind. Never edited.
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
, attempts INTEGER NOT NULL DEFAULT 0, cancel_by TEXT, migrations_known INTEGER) STRICT;
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
) STRICT;
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
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END;
CREATE INDEX deploys_by_status ON deploys (app_id, status, id);
INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) VALUES (1, 'begin', '2026-12-01 00:28:45', 1, X'E66B2192F8716D498F4E04FA77B1F41663A356ADCFA853FC344EFF71E8C4DEB945C721A1A9064B62836A2DB95FE86D1E', 1551204);
INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) VALUES (2, 'crash safety', '2026-12-01 00:28:45', 1, X'AA4158AED6905898E5AB0B5A8063AFDE9BCACD4E7B22B048BF2FA0AAA3DD8364ED55BDD5B479FD9191A3D32B0E4B0F93', 1768968);
INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) VALUES (3, 'access', '2026-12-01 00:28:45', 1, X'39EA257F4E27F109A75B12683F4D92E2965AC6C0CE2C48987F80120AC9862054180414D94DFC3E88B12B3A8ECF7BBA1D', 3111601);
INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) VALUES (4, 'dashboard', '2026-12-01 00:28:45', 1, X'6E1588286426651C46D6F085ABF8426FBFCF61D17D74CF1A0DFB0917161BB8D73B0A56CE2CEAA4E36B7F3206C7AC5379', 1990799);
INSERT INTO meta (key, value) VALUES ('instance', '8205e5');
INSERT INTO apps (id, name, subnet, port, created_at, leaving, public) VALUES (1, 'shop', '10.213.0.0/26', 9000, 1796084925448, 0, 0);
INSERT INTO apps (id, name, subnet, port, created_at, leaving, public) VALUES (2, 'empty', '10.213.0.64/26', NULL, 1796084925449, 0, 0);
INSERT INTO domains (domain, app_id, ordinal) VALUES ('shop.example.com', 1, 0);
INSERT INTO domains (domain, app_id, ordinal) VALUES ('a.example.com', 1, 1);
INSERT INTO env (app_id, name, sealed) VALUES (1, 'GREETING', X'5A7CB4F4E911594ED9B5644157C6CD1C392D3A8052342ABEF6B361438203C8D074380078D902CE62ADC6E4B1C91FA94AE3ACE4');
INSERT INTO env (app_id, name, sealed) VALUES (1, 'SECRET_KEY', X'01E067323380E3B5593131D2D9797B9004B2666D5B93FC1DEA31DB6D9EED403CA92373C2ECE11380C970BC63F275');
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by, migrations_known) VALUES (1, 1, '1111111111111111111111111111111111111111', 'Change 1 für alle', 'Ada', 'push', 'ann', 'retired', NULL, 1796084925452, 1796084925453, 1796084925501, 4321, NULL, NULL, 1, NULL, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by, migrations_known) VALUES (2, 1, '2222222222222222222222222222222222222222', 'Change 2 für alle', 'Ada', 'push', 'ann', 'retired', NULL, 1796084925506, 1796084925508, 1796084925642, 4321, NULL, NULL, 1, NULL, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by, migrations_known) VALUES (3, 1, '3333333333333333333333333333333333333333', 'Change 3 für alle', 'Ada', 'push', 'ann', 'failed', NULL, 1796084925648, 1796084925649, 1796084925655, 1234, 'gate:migrate', 'exit status 1:
no such table', 1, NULL, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by, migrations_known) VALUES (4, 1, '4444444444444444444444444444444444444444', 'Change 4 für alle', 'Ada', 'redeploy', 'ann', 'interrupted', 2, 1796084925656, 1796084925656, 1796084925658, 1234, 'build', 'the server stopped', 1, NULL, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by, migrations_known) VALUES (5, 1, '5555555555555555555555555555555555555555', 'Change 5 für alle', 'Ada', 'push', 'ann', 'superseded', NULL, 1796084925659, NULL, 1796084925660, NULL, 'queue', 'superseded by deploy 6 before it started', 0, NULL, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by, migrations_known) VALUES (6, 1, '6666666666666666666666666666666666666666', 'Change 6 für alle', 'Ada', 'push', 'ann', 'cancelled', NULL, 1796084925660, NULL, 1796084925661, 1234, 'queue', 'cancelled by ann', 0, NULL, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by, migrations_known) VALUES (7, 1, '1111111111111111111111111111111111111111', 'Change 1 für alle', 'Ada', 'revert', 'ann', 'live', 1, 1796084925661, 1796084925662, 1796084925667, 4321, NULL, NULL, 1, NULL, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by, migrations_known) VALUES (8, 1, '7777777777777777777777777777777777777777', 'Change 7 für alle', 'Ada', 'push', 'ann', 'running', NULL, 1796084925668, 1796084925669, NULL, NULL, NULL, NULL, 1, NULL, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by, migrations_known) VALUES (9, 1, '1111111111111111111111111111111111111111', 'Change 1 für alle', 'Ada', 'restart', 'ann', 'queued', 7, 1796084925670, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (1, 0, 'checkout', 'ok', 1796084925457, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (1, 1, 'build', 'ok', 1796084925461, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (1, 2, 'gate:migrate', 'ok', 1796084925475, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (1, 3, 'start', 'ok', 1796084925482, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (1, 4, 'health', 'ok', 1796084925486, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (1, 5, 'swap', 'ok', 1796084925491, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (1, 6, 'verify', 'ok', 1796084925493, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (2, 0, 'checkout', 'ok', 1796084925509, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (2, 1, 'build', 'ok', 1796084925517, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (2, 2, 'gate:migrate', 'ok', 1796084925523, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (2, 3, 'start', 'ok', 1796084925590, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (2, 4, 'health', 'ok', 1796084925629, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (2, 5, 'swap', 'ok', 1796084925637, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (2, 6, 'verify', 'ok', 1796084925637, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (2, 7, 'drain', 'skipped', 1796084925638, 0, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (2, 8, 'retire', 'ok', 1796084925638, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (3, 0, 'checkout', 'ok', 1796084925650, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (3, 1, 'build', 'ok', 1796084925651, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (3, 2, 'gate:migrate', 'failed', 1796084925654, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (4, 0, 'checkout', 'ok', 1796084925656, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (4, 1, 'build', 'failed', 1796084925657, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (7, 0, 'build', 'skipped', 1796084925662, 0, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (7, 1, 'gate:migrate', 'ok', 1796084925663, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (7, 2, 'start', 'ok', 1796084925663, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (7, 3, 'health', 'ok', 1796084925664, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (7, 4, 'swap', 'ok', 1796084925665, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (7, 5, 'verify', 'ok', 1796084925666, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (8, 0, 'checkout', 'ok', 1796084925669, 56, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms, steps) VALUES (8, 1, 'build', 'running', 1796084925670, NULL, NULL);
INSERT INTO releases (deploy_id, app_id, commit_id, image, image_kept, manifest, port, sealed_env, created_at, image_id, image_size) VALUES (1, 1, '1111111111111111111111111111111111111111', 'windlass-0a1b2c/shop:d1', 0, '{"build":{"dockerfile":"Dockerfile","context":".","args":{"VERSION":"3"},"secrets":[]},"web":{"command":null,"port":9000},"gates":[{"name":"migrate","run":["python","manage.py","migrate"],"timeout":"10m"}],"health":{"path":"/healthz","status":"200-399","interval":"1s","timeout":"2s","min_healthy":"10s","deadline":"5m"},"verify":{"path":"/","status":"200-399","timeout":"90s"},"drain":{"timeout":"30s","stop_grace":"30s"},"limits":{},"security":{"capabilities":[]}}', 9000, X'D8EFAE9F35CFAF5A89C680F6A7959646C915118179B74CAA1CA175E7D7A657D9449073273E1AEEAF537433A6EBABE5F84A1768FAA2DC252987E8236F73F3BB88E397B812274C24696A86D5ED63AA62541E1B27534B3B78C4', 1796084925498, NULL, NULL);
INSERT INTO releases (deploy_id, app_id, commit_id, image, image_kept, manifest, port, sealed_env, created_at, image_id, image_size) VALUES (2, 1, '2222222222222222222222222222222222222222', 'windlass-0a1b2c/shop:d2', 1, '{"build":{"dockerfile":"Dockerfile","context":".","args":{"VERSION":"3"},"secrets":[]},"web":{"command":null,"port":9000},"gates":[{"name":"migrate","run":["python","manage.py","migrate"],"timeout":"10m"}],"health":{"path":"/healthz","status":"200-399","interval":"1s","timeout":"2s","min_healthy":"10s","deadline":"5m"},"verify":{"path":"/","status":"200-399","timeout":"90s"},"drain":{"timeout":"30s","stop_grace":"30s"},"limits":{},"security":{"capabilities":[]}}', 9000, X'09EF2E6A13A52293E89606A9023F838B31268FCF52AD4258F6C3952C845E720F21979A0EEAD1BBB2F9B5245C5B41AF5EE16AD7A63315C9946EF1AD329082A8DAA4227947F8E4F9A453414CB4058CE1E4BB91850FD0D59A4A', 1796084925642, NULL, NULL);
INSERT INTO releases (deploy_id, app_id, commit_id, image, image_kept, manifest, port, sealed_env, created_at, image_id, image_size) VALUES (7, 1, '1111111111111111111111111111111111111111', 'windlass-0a1b2c/shop:d7', 1, '{"build":{"dockerfile":"Dockerfile","context":".","args":{"VERSION":"3"},"secrets":[]},"web":{"command":null,"port":9000},"gates":[{"name":"migrate","run":["python","manage.py","migrate"],"timeout":"10m"}],"health":{"path":"/healthz","status":"200-399","interval":"1s","timeout":"2s","min_healthy":"10s","deadline":"5m"},"verify":{"path":"/","status":"200-399","timeout":"90s"},"drain":{"timeout":"30s","stop_grace":"30s"},"limits":{},"security":{"capabilities":[]}}', 9000, X'8F7E7D99DB63F32C36B8BEC2BFBB19F80D255B7CFA26FCC6F54A2C08E538506E6C6D3B41E4EA9E8F4333CBFB594025F5BE59C61CE70AE7113562DE6FC520B17AC51D0B4E4A1770BF3A5F4C546DBA57B5A1516E5824DF6603', 1796084925667, NULL, NULL);
INSERT INTO users (id, name, password_hash, created_at, role, sealed_totp, totp_step) VALUES (1, 'admin', '$argon2id$a hash', 1796084925672, 'admin', NULL, 0);
INSERT INTO users (id, name, password_hash, created_at, role, sealed_totp, totp_step) VALUES (2, 'ann', '', 1796084925672, 'deployer', NULL, 0);
INSERT INTO user_apps (user_id, app_id) VALUES (2, 1);
INSERT INTO keys (id, user_id, name, public_key, fingerprint, created_at, used_at) VALUES (1, 2, 'laptop', 'ssh-ed25519 AAAA', 'SHA256:x', 1796084925673, NULL);
INSERT INTO tokens (id, user_id, name, token_hash, scope, apps, created_at, expires_at, used_at) VALUES (1, 2, 'ci', X'0707070707070707070707070707070707070707070707070707070707070707', 'read', '["shop"]', 1796084925674, 4102444800000, NULL);
INSERT INTO audit (id, at, actor, via, address, action, app, detail, denied) VALUES (1, 1796084925674, 'root', 'local', '', 'env_set', 'shop', 'TOKEN', 0);
INSERT INTO allowances (app_id, memory, pids, cpus, capabilities) VALUES (2, 2147483648, NULL, NULL, '["NET_RAW"]');
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence (name, seq) VALUES ('apps', 2);
INSERT INTO sqlite_sequence (name, seq) VALUES ('deploys', 9);
INSERT INTO sqlite_sequence (name, seq) VALUES ('keys', 1);
INSERT INTO sqlite_sequence (name, seq) VALUES ('tokens', 1);
INSERT INTO sqlite_sequence (name, seq) VALUES ('audit', 1);
