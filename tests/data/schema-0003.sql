-- The database as schema 0003 left it, with data of every kind. Never edited.
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
, leaving INTEGER NOT NULL DEFAULT 0) STRICT;
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
, attempts INTEGER NOT NULL DEFAULT 0, cancel_by TEXT) STRICT;
CREATE TABLE phases (
    deploy_id   INTEGER NOT NULL REFERENCES deploys (id) ON DELETE CASCADE,
    ordinal     INTEGER NOT NULL,
    phase       TEXT    NOT NULL,
    status      TEXT    NOT NULL,
    started_at  INTEGER NOT NULL,
    duration_ms INTEGER,
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
) STRICT;
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
INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) VALUES (1, 'begin', '2026-11-21 19:01:37', 1, X'E66B2192F8716D498F4E04FA77B1F41663A356ADCFA853FC344EFF71E8C4DEB945C721A1A9064B62836A2DB95FE86D1E', 2681150);
INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) VALUES (2, 'crash safety', '2026-11-21 19:01:37', 1, X'AA4158AED6905898E5AB0B5A8063AFDE9BCACD4E7B22B048BF2FA0AAA3DD8364ED55BDD5B479FD9191A3D32B0E4B0F93', 2078694);
INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) VALUES (3, 'access', '2026-11-21 19:01:37', 1, X'39EA257F4E27F109A75B12683F4D92E2965AC6C0CE2C48987F80120AC9862054180414D94DFC3E88B12B3A8ECF7BBA1D', 13888842);
INSERT INTO meta (key, value) VALUES ('instance', '517ff2');
INSERT INTO apps (id, name, subnet, port, created_at, leaving) VALUES (1, 'shop', '10.213.0.0/26', 9000, 1795287697577, 0);
INSERT INTO apps (id, name, subnet, port, created_at, leaving) VALUES (2, 'empty', '10.213.0.64/26', NULL, 1795287697579, 0);
INSERT INTO domains (domain, app_id, ordinal) VALUES ('shop.example.com', 1, 0);
INSERT INTO domains (domain, app_id, ordinal) VALUES ('a.example.com', 1, 1);
INSERT INTO env (app_id, name, sealed) VALUES (1, 'GREETING', X'2CB7D09DD26A2BC1141B28CECCDE9DEBE69C6639B021704749CFC5F7064627411FFAC04E627758548E824ADA2492781CDDC218');
INSERT INTO env (app_id, name, sealed) VALUES (1, 'SECRET_KEY', X'08AE4F9D62F79624C498644CC13514B63D1AA1C7814845C1EBAB91E7E3924AA94A6DBFE9008382A64051EDDBD07D');
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by) VALUES (1, 1, '1111111111111111111111111111111111111111', 'Change 1 für alle', 'Ada', 'push', 'ann', 'retired', NULL, 1795287697586, 1795287697593, 1795287697609, 4321, NULL, NULL, 1, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by) VALUES (2, 1, '2222222222222222222222222222222222222222', 'Change 2 für alle', 'Ada', 'push', 'ann', 'retired', NULL, 1795287697611, 1795287697613, 1795287697626, 4321, NULL, NULL, 1, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by) VALUES (3, 1, '3333333333333333333333333333333333333333', 'Change 3 für alle', 'Ada', 'push', 'ann', 'failed', NULL, 1795287697628, 1795287697629, 1795287697636, 1234, 'gate:migrate', 'exit status 1:
no such table', 1, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by) VALUES (4, 1, '4444444444444444444444444444444444444444', 'Change 4 für alle', 'Ada', 'redeploy', 'ann', 'interrupted', 2, 1795287697637, 1795287697638, 1795287697641, 1234, 'build', 'the server stopped', 1, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by) VALUES (5, 1, '5555555555555555555555555555555555555555', 'Change 5 für alle', 'Ada', 'push', 'ann', 'superseded', NULL, 1795287697642, NULL, 1795287697643, NULL, 'queue', 'superseded by deploy 6 before it started', 0, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by) VALUES (6, 1, '6666666666666666666666666666666666666666', 'Change 6 für alle', 'Ada', 'push', 'ann', 'cancelled', NULL, 1795287697643, NULL, 1795287697644, 1234, 'queue', 'cancelled by ann', 0, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by) VALUES (7, 1, '1111111111111111111111111111111111111111', 'Change 1 für alle', 'Ada', 'revert', 'ann', 'live', 1, 1795287697647, 1795287697648, 1795287697660, 4321, NULL, NULL, 1, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by) VALUES (8, 1, '7777777777777777777777777777777777777777', 'Change 7 für alle', 'Ada', 'push', 'ann', 'running', NULL, 1795287697661, 1795287697662, NULL, NULL, NULL, NULL, 1, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by) VALUES (9, 1, '1111111111111111111111111111111111111111', 'Change 1 für alle', 'Ada', 'restart', 'ann', 'queued', 7, 1795287697665, NULL, NULL, NULL, NULL, NULL, 0, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (1, 0, 'checkout', 'ok', 1795287697594, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (1, 1, 'build', 'ok', 1795287697596, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (1, 2, 'gate:migrate', 'ok', 1795287697599, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (1, 3, 'start', 'ok', 1795287697601, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (1, 4, 'health', 'ok', 1795287697603, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (1, 5, 'swap', 'ok', 1795287697604, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (1, 6, 'verify', 'ok', 1795287697605, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 0, 'checkout', 'ok', 1795287697614, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 1, 'build', 'ok', 1795287697615, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 2, 'gate:migrate', 'ok', 1795287697616, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 3, 'start', 'ok', 1795287697618, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 4, 'health', 'ok', 1795287697619, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 5, 'swap', 'ok', 1795287697620, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 6, 'verify', 'ok', 1795287697621, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 7, 'drain', 'skipped', 1795287697623, 0);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 8, 'retire', 'ok', 1795287697623, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (3, 0, 'checkout', 'ok', 1795287697630, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (3, 1, 'build', 'ok', 1795287697631, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (3, 2, 'gate:migrate', 'failed', 1795287697633, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (4, 0, 'checkout', 'ok', 1795287697638, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (4, 1, 'build', 'failed', 1795287697640, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (7, 0, 'build', 'skipped', 1795287697649, 0);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (7, 1, 'gate:migrate', 'ok', 1795287697650, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (7, 2, 'start', 'ok', 1795287697652, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (7, 3, 'health', 'ok', 1795287697654, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (7, 4, 'swap', 'ok', 1795287697655, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (7, 5, 'verify', 'ok', 1795287697657, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (8, 0, 'checkout', 'ok', 1795287697663, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (8, 1, 'build', 'running', 1795287697664, NULL);
INSERT INTO releases (deploy_id, app_id, commit_id, image, image_kept, manifest, port, sealed_env, created_at) VALUES (1, 1, '1111111111111111111111111111111111111111', 'windlass-0a1b2c/shop:d1', 0, '{"build":{"dockerfile":"Dockerfile","context":".","args":{"VERSION":"3"},"secrets":[]},"web":{"command":null,"port":9000},"gates":[{"name":"migrate","run":["python","manage.py","migrate"],"timeout":"10m"}],"health":{"path":"/healthz","status":"200-399","interval":"1s","timeout":"2s","min_healthy":"10s","deadline":"5m"},"verify":{"path":"/","status":"200-399","timeout":"90s"},"drain":{"timeout":"30s","stop_grace":"30s"},"limits":{},"security":{"capabilities":[]}}', 9000, X'A04FC683745D02CE32DEB53539B549566B02E66D694681FDDE2B221E1BDD3F2A04BA118FEE7D34E14D11F60D5515968A6E9FB3932F67F86814C31631CBD161632D0A9F44EC4C58A043C56A431436E0EE392F05D2729A815C', 1795287697608);
INSERT INTO releases (deploy_id, app_id, commit_id, image, image_kept, manifest, port, sealed_env, created_at) VALUES (2, 1, '2222222222222222222222222222222222222222', 'windlass-0a1b2c/shop:d2', 1, '{"build":{"dockerfile":"Dockerfile","context":".","args":{"VERSION":"3"},"secrets":[]},"web":{"command":null,"port":9000},"gates":[{"name":"migrate","run":["python","manage.py","migrate"],"timeout":"10m"}],"health":{"path":"/healthz","status":"200-399","interval":"1s","timeout":"2s","min_healthy":"10s","deadline":"5m"},"verify":{"path":"/","status":"200-399","timeout":"90s"},"drain":{"timeout":"30s","stop_grace":"30s"},"limits":{},"security":{"capabilities":[]}}', 9000, X'32577D58B66AD4BEBAABC0FF9D4404977FC1F98889A1422D45ECE5F9A214A254BB210A4577FEF96CCD3684E6F3E9FC2C5C8853D3B31A8538B0D00DF7D46281E93BD7E95E6DEB80C2135DF355F88DF3540A4547371C1AD589', 1795287697625);
INSERT INTO releases (deploy_id, app_id, commit_id, image, image_kept, manifest, port, sealed_env, created_at) VALUES (7, 1, '1111111111111111111111111111111111111111', 'windlass-0a1b2c/shop:d7', 1, '{"build":{"dockerfile":"Dockerfile","context":".","args":{"VERSION":"3"},"secrets":[]},"web":{"command":null,"port":9000},"gates":[{"name":"migrate","run":["python","manage.py","migrate"],"timeout":"10m"}],"health":{"path":"/healthz","status":"200-399","interval":"1s","timeout":"2s","min_healthy":"10s","deadline":"5m"},"verify":{"path":"/","status":"200-399","timeout":"90s"},"drain":{"timeout":"30s","stop_grace":"30s"},"limits":{},"security":{"capabilities":[]}}', 9000, X'B639556FC07904031F44433877FAD52E587EFE053FB74B211B639E3336A0B17B25408B41E016DBDDE0C3E840630843CF91370BD499A353BA01BC4D1A78E963FA413400D80C3EECCA63C83F5A1D442CF9FD9913098C9842C0', 1795287697660);
INSERT INTO users (id, name, password_hash, created_at, role, sealed_totp, totp_step) VALUES (1, 'admin', '$argon2id$a hash', 1795287697667, 'admin', NULL, 0);
INSERT INTO users (id, name, password_hash, created_at, role, sealed_totp, totp_step) VALUES (2, 'ann', '', 1795287697667, 'deployer', NULL, 0);
INSERT INTO user_apps (user_id, app_id) VALUES (2, 1);
INSERT INTO keys (id, user_id, name, public_key, fingerprint, created_at, used_at) VALUES (1, 2, 'laptop', 'ssh-ed25519 AAAA', 'SHA256:x', 1795287697669, NULL);
INSERT INTO tokens (id, user_id, name, token_hash, scope, apps, created_at, expires_at, used_at) VALUES (1, 2, 'ci', X'0707070707070707070707070707070707070707070707070707070707070707', 'read', '["shop"]', 1795287697669, 4102444800000, NULL);
INSERT INTO audit (id, at, actor, via, address, action, app, detail, denied) VALUES (1, 1795287697670, 'root', 'local', '', 'env_set', 'shop', 'TOKEN', 0);
INSERT INTO allowances (app_id, memory, pids, cpus, capabilities) VALUES (2, 2147483648, NULL, NULL, '["NET_RAW"]');
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence (name, seq) VALUES ('apps', 2);
INSERT INTO sqlite_sequence (name, seq) VALUES ('deploys', 9);
INSERT INTO sqlite_sequence (name, seq) VALUES ('keys', 1);
INSERT INTO sqlite_sequence (name, seq) VALUES ('tokens', 1);
INSERT INTO sqlite_sequence (name, seq) VALUES ('audit', 1);
