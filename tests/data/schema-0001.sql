-- The database as schema 0001 left it, with data of every kind. Never edited.
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
) STRICT;
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
) STRICT;
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
) STRICT;
CREATE TABLE sessions (
    token_hash BLOB    PRIMARY KEY,
    user_id    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX domains_by_app ON domains (app_id, ordinal);
CREATE INDEX deploys_by_app ON deploys (app_id, id);
CREATE INDEX deploys_open ON deploys (status, id) WHERE status IN ('queued', 'running');
CREATE UNIQUE INDEX one_live_deploy ON deploys (app_id) WHERE status = 'live';
CREATE INDEX releases_by_app ON releases (app_id, deploy_id);
INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) VALUES (1, 'begin', '2026-11-21 12:33:26', 1, X'E66B2192F8716D498F4E04FA77B1F41663A356ADCFA853FC344EFF71E8C4DEB945C721A1A9064B62836A2DB95FE86D1E', 5751778);
INSERT INTO meta (key, value) VALUES ('instance', '5d0a43');
INSERT INTO apps (id, name, subnet, port, created_at) VALUES (1, 'shop', '10.213.0.0/26', 9000, 1795264406596);
INSERT INTO apps (id, name, subnet, port, created_at) VALUES (2, 'empty', '10.213.0.64/26', NULL, 1795264406597);
INSERT INTO domains (domain, app_id, ordinal) VALUES ('shop.example.com', 1, 0);
INSERT INTO domains (domain, app_id, ordinal) VALUES ('a.example.com', 1, 1);
INSERT INTO env (app_id, name, sealed) VALUES (1, 'GREETING', X'53D7C588231F108B1F19D2F9D29A463FE2C66E5E8BF1ED04F942B38B0FE3A11131E05DFD8DD42602AEC6875E666A7046C97D37');
INSERT INTO env (app_id, name, sealed) VALUES (1, 'SECRET_KEY', X'2249BFBDA747CC78D719561798C523336A1A6CBEE316122B231793929B17D6B82DBD3AFFA6A272C322869C0AEB9F');
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message) VALUES (1, 1, '1111111111111111111111111111111111111111', 'Change 1 für alle', 'Ada', 'push', 'ann', 'retired', NULL, 1795264406599, 1795264406600, 1795264406604, 4321, NULL, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message) VALUES (2, 1, '2222222222222222222222222222222222222222', 'Change 2 für alle', 'Ada', 'push', 'ann', 'retired', NULL, 1795264406605, 1795264406609, 1795264406614, 4321, NULL, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message) VALUES (3, 1, '3333333333333333333333333333333333333333', 'Change 3 für alle', 'Ada', 'push', 'ann', 'failed', NULL, 1795264406615, 1795264406616, 1795264406618, 1234, 'gate:migrate', 'exit status 1:
no such table');
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message) VALUES (4, 1, '4444444444444444444444444444444444444444', 'Change 4 für alle', 'Ada', 'redeploy', 'ann', 'interrupted', 2, 1795264406618, 1795264406619, 1795264406620, 1234, 'build', 'the server stopped');
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message) VALUES (5, 1, '5555555555555555555555555555555555555555', 'Change 5 für alle', 'Ada', 'push', 'ann', 'superseded', NULL, 1795264406620, NULL, 1795264406624, NULL, 'queue', 'superseded by deploy 6 before it started');
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message) VALUES (6, 1, '6666666666666666666666666666666666666666', 'Change 6 für alle', 'Ada', 'push', 'ann', 'cancelled', NULL, 1795264406624, NULL, 1795264406625, 1234, 'queue', 'cancelled by ann');
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message) VALUES (7, 1, '1111111111111111111111111111111111111111', 'Change 1 für alle', 'Ada', 'revert', 'ann', 'live', 1, 1795264406625, 1795264406626, 1795264406630, 4321, NULL, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message) VALUES (8, 1, '7777777777777777777777777777777777777777', 'Change 7 für alle', 'Ada', 'push', 'ann', 'running', NULL, 1795264406631, 1795264406631, NULL, NULL, NULL, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message) VALUES (9, 1, '1111111111111111111111111111111111111111', 'Change 1 für alle', 'Ada', 'restart', 'ann', 'queued', 7, 1795264406633, NULL, NULL, NULL, NULL, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (1, 0, 'checkout', 'ok', 1795264406600, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (1, 1, 'build', 'ok', 1795264406601, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (1, 2, 'gate:migrate', 'ok', 1795264406601, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (1, 3, 'start', 'ok', 1795264406602, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (1, 4, 'health', 'ok', 1795264406602, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (1, 5, 'swap', 'ok', 1795264406602, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (1, 6, 'verify', 'ok', 1795264406603, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 0, 'checkout', 'ok', 1795264406609, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 1, 'build', 'ok', 1795264406609, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 2, 'gate:migrate', 'ok', 1795264406610, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 3, 'start', 'ok', 1795264406610, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 4, 'health', 'ok', 1795264406611, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 5, 'swap', 'ok', 1795264406611, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 6, 'verify', 'ok', 1795264406612, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 7, 'drain', 'skipped', 1795264406612, 0);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 8, 'retire', 'ok', 1795264406612, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (3, 0, 'checkout', 'ok', 1795264406616, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (3, 1, 'build', 'ok', 1795264406617, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (3, 2, 'gate:migrate', 'failed', 1795264406617, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (4, 0, 'checkout', 'ok', 1795264406619, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (4, 1, 'build', 'failed', 1795264406619, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (7, 0, 'build', 'skipped', 1795264406626, 0);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (7, 1, 'gate:migrate', 'ok', 1795264406626, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (7, 2, 'start', 'ok', 1795264406627, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (7, 3, 'health', 'ok', 1795264406627, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (7, 4, 'swap', 'ok', 1795264406628, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (7, 5, 'verify', 'ok', 1795264406628, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (8, 0, 'checkout', 'ok', 1795264406632, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (8, 1, 'build', 'running', 1795264406632, NULL);
INSERT INTO releases (deploy_id, app_id, commit_id, image, image_kept, manifest, port, sealed_env, created_at) VALUES (1, 1, '1111111111111111111111111111111111111111', 'windlass-0a1b2c/shop:d1', 0, '{"build":{"dockerfile":"Dockerfile","context":".","args":{"VERSION":"3"}},"web":{"command":null,"port":9000},"gates":[{"name":"migrate","run":["python","manage.py","migrate"],"timeout":"10m"}],"health":{"path":"/healthz","status":"200-399","interval":"1s","timeout":"2s","min_healthy":"10s","deadline":"5m"},"verify":{"path":"/","status":"200-399","timeout":"90s"},"drain":{"timeout":"30s","stop_grace":"30s"}}', 9000, X'BF01B87C4D32CB10DF9D09EE3258858E2A4711907360B890FE9C4C022376AE86175AE7CC73CD42FABA9D1693073BDEA6BD2B82F55CB668B4F28F80B113491E4928A043927DD66337C908BA9616F0E77D49EB33A192406507', 1795264406604);
INSERT INTO releases (deploy_id, app_id, commit_id, image, image_kept, manifest, port, sealed_env, created_at) VALUES (2, 1, '2222222222222222222222222222222222222222', 'windlass-0a1b2c/shop:d2', 1, '{"build":{"dockerfile":"Dockerfile","context":".","args":{"VERSION":"3"}},"web":{"command":null,"port":9000},"gates":[{"name":"migrate","run":["python","manage.py","migrate"],"timeout":"10m"}],"health":{"path":"/healthz","status":"200-399","interval":"1s","timeout":"2s","min_healthy":"10s","deadline":"5m"},"verify":{"path":"/","status":"200-399","timeout":"90s"},"drain":{"timeout":"30s","stop_grace":"30s"}}', 9000, X'D246F09D9A4CB21A76EE68537F8624083F9173A227EA43951C637027800D3927D4CC8F11F310364ECD123B7F46612534932EE0F25011CE111D8D8627386C03E81084BF0D5060CFEC40919A66EAAB09822BCE18D996B50092', 1795264406614);
INSERT INTO releases (deploy_id, app_id, commit_id, image, image_kept, manifest, port, sealed_env, created_at) VALUES (7, 1, '1111111111111111111111111111111111111111', 'windlass-0a1b2c/shop:d7', 1, '{"build":{"dockerfile":"Dockerfile","context":".","args":{"VERSION":"3"}},"web":{"command":null,"port":9000},"gates":[{"name":"migrate","run":["python","manage.py","migrate"],"timeout":"10m"}],"health":{"path":"/healthz","status":"200-399","interval":"1s","timeout":"2s","min_healthy":"10s","deadline":"5m"},"verify":{"path":"/","status":"200-399","timeout":"90s"},"drain":{"timeout":"30s","stop_grace":"30s"}}', 9000, X'843736EE5A4FE21104C561880B3073479C177823F99052EEF4F336E10893938E9A9CE5351A4081F5A54B484A3F388AC69E6FBB77F2056AD00DAA3968791D1E5FC97E6382C2CE76A27043C156781F99092D29F17C490B6A34', 1795264406630);
INSERT INTO users (id, name, password_hash, created_at) VALUES (1, 'admin', '$argon2id$a hash', 1795264406633);
INSERT INTO sessions (token_hash, user_id, created_at, expires_at) VALUES (X'7468652068617368206F66206120746F6B656E', 1, 1795264406633, 4102444800000);
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence (name, seq) VALUES ('apps', 2);
INSERT INTO sqlite_sequence (name, seq) VALUES ('deploys', 9);
