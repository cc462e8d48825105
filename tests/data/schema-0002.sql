-- The database as schema 0002 left it, with data of every kind. Never edited.
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
INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) VALUES (1, 'begin', '2026-11-21 15:44:57', 1, X'E66B2192F8716D498F4E04FA77B1F41663A356ADCFA853FC344EFF71E8C4DEB945C721A1A9064B62836A2DB95FE86D1E', 4737718);
INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) VALUES (2, 'crash safety', '2026-11-21 15:44:57', 1, X'AA4158AED6905898E5AB0B5A8063AFDE9BCACD4E7B22B048BF2FA0AAA3DD8364ED55BDD5B479FD9191A3D32B0E4B0F93', 16969068);
INSERT INTO meta (key, value) VALUES ('instance', '3ede3a');
INSERT INTO apps (id, name, subnet, port, created_at, leaving) VALUES (1, 'shop', '10.213.0.0/26', 9000, 1795275897531, 0);
INSERT INTO apps (id, name, subnet, port, created_at, leaving) VALUES (2, 'empty', '10.213.0.64/26', NULL, 1795275897532, 0);
INSERT INTO domains (domain, app_id, ordinal) VALUES ('shop.example.com', 1, 0);
INSERT INTO domains (domain, app_id, ordinal) VALUES ('a.example.com', 1, 1);
INSERT INTO env (app_id, name, sealed) VALUES (1, 'GREETING', X'B35207B17761C0BB0CDC1FA190019C07CDD4D50503CE017A6A7072337C0824E2EA37FF04889C9B328656DA980C9482D3E1FD06');
INSERT INTO env (app_id, name, sealed) VALUES (1, 'SECRET_KEY', X'16D32C9470FD66A62E3C5EB2E3667726CA5F7AE5667B5B555A11BC2BABB52B32E57ED9CCD9CB770EE36833075D86');
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by) VALUES (1, 1, '1111111111111111111111111111111111111111', 'Change 1 für alle', 'Ada', 'push', 'ann', 'retired', NULL, 1795275897541, 1795275897543, 1795275897579, 4321, NULL, NULL, 1, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by) VALUES (2, 1, '2222222222222222222222222222222222222222', 'Change 2 für alle', 'Ada', 'push', 'ann', 'retired', NULL, 1795275897589, 1795275897590, 1795275897684, 4321, NULL, NULL, 1, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by) VALUES (3, 1, '3333333333333333333333333333333333333333', 'Change 3 für alle', 'Ada', 'push', 'ann', 'failed', NULL, 1795275897686, 1795275897686, 1795275897696, 1234, 'gate:migrate', 'exit status 1:
no such table', 1, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by) VALUES (4, 1, '4444444444444444444444444444444444444444', 'Change 4 für alle', 'Ada', 'redeploy', 'ann', 'interrupted', 2, 1795275897697, 1795275897699, 1795275897703, 1234, 'build', 'the server stopped', 1, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by) VALUES (5, 1, '5555555555555555555555555555555555555555', 'Change 5 für alle', 'Ada', 'push', 'ann', 'superseded', NULL, 1795275897704, NULL, 1795275897705, NULL, 'queue', 'superseded by deploy 6 before it started', 0, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by) VALUES (6, 1, '6666666666666666666666666666666666666666', 'Change 6 für alle', 'Ada', 'push', 'ann', 'cancelled', NULL, 1795275897705, NULL, 1795275897706, 1234, 'queue', 'cancelled by ann', 0, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by) VALUES (7, 1, '1111111111111111111111111111111111111111', 'Change 1 für alle', 'Ada', 'revert', 'ann', 'live', 1, 1795275897709, 1795275897710, 1795275897765, 4321, NULL, NULL, 1, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by) VALUES (8, 1, '7777777777777777777777777777777777777777', 'Change 7 für alle', 'Ada', 'push', 'ann', 'running', NULL, 1795275897831, 1795275897832, NULL, NULL, NULL, NULL, 1, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by) VALUES (9, 1, '1111111111111111111111111111111111111111', 'Change 1 für alle', 'Ada', 'restart', 'ann', 'queued', 7, 1795275897835, NULL, NULL, NULL, NULL, NULL, 0, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (1, 0, 'checkout', 'ok', 1795275897544, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (1, 1, 'build', 'ok', 1795275897546, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (1, 2, 'gate:migrate', 'ok', 1795275897550, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (1, 3, 'start', 'ok', 1795275897552, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (1, 4, 'health', 'ok', 1795275897556, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (1, 5, 'swap', 'ok', 1795275897571, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (1, 6, 'verify', 'ok', 1795275897573, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 0, 'checkout', 'ok', 1795275897590, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 1, 'build', 'ok', 1795275897614, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 2, 'gate:migrate', 'ok', 1795275897642, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 3, 'start', 'ok', 1795275897648, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 4, 'health', 'ok', 1795275897651, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 5, 'swap', 'ok', 1795275897662, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 6, 'verify', 'ok', 1795275897665, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 7, 'drain', 'skipped', 1795275897666, 0);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 8, 'retire', 'ok', 1795275897670, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (3, 0, 'checkout', 'ok', 1795275897687, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (3, 1, 'build', 'ok', 1795275897688, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (3, 2, 'gate:migrate', 'failed', 1795275897694, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (4, 0, 'checkout', 'ok', 1795275897699, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (4, 1, 'build', 'failed', 1795275897701, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (7, 0, 'build', 'skipped', 1795275897710, 0);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (7, 1, 'gate:migrate', 'ok', 1795275897711, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (7, 2, 'start', 'ok', 1795275897712, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (7, 3, 'health', 'ok', 1795275897714, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (7, 4, 'swap', 'ok', 1795275897716, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (7, 5, 'verify', 'ok', 1795275897717, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (8, 0, 'checkout', 'ok', 1795275897833, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (8, 1, 'build', 'running', 1795275897834, NULL);
INSERT INTO releases (deploy_id, app_id, commit_id, image, image_kept, manifest, port, sealed_env, created_at) VALUES (1, 1, '1111111111111111111111111111111111111111', 'windlass-0a1b2c/shop:d1', 0, '{"build":{"dockerfile":"Dockerfile","context":".","args":{"VERSION":"3"}},"web":{"command":null,"port":9000},"gates":[{"name":"migrate","run":["python","manage.py","migrate"],"timeout":"10m"}],"health":{"path":"/healthz","status":"200-399","interval":"1s","timeout":"2s","min_healthy":"10s","deadline":"5m"},"verify":{"path":"/","status":"200-399","timeout":"90s"},"drain":{"timeout":"30s","stop_grace":"30s"}}', 9000, X'549E1524AD18E8FB4FC1C016149B351D5A79175DF4D45538A08C861EB494C1E964428FC70EC1025DAD5FCCF8FFB277626C4EE4067C4859607EE8B5324CBB1EFDA8CB35252036FE846D25A0C00F3841EA2D5AF9EF1E5077A0', 1795275897575);
INSERT INTO releases (deploy_id, app_id, commit_id, image, image_kept, manifest, port, sealed_env, created_at) VALUES (2, 1, '2222222222222222222222222222222222222222', 'windlass-0a1b2c/shop:d2', 1, '{"build":{"dockerfile":"Dockerfile","context":".","args":{"VERSION":"3"}},"web":{"command":null,"port":9000},"gates":[{"name":"migrate","run":["python","manage.py","migrate"],"timeout":"10m"}],"health":{"path":"/healthz","status":"200-399","interval":"1s","timeout":"2s","min_healthy":"10s","deadline":"5m"},"verify":{"path":"/","status":"200-399","timeout":"90s"},"drain":{"timeout":"30s","stop_grace":"30s"}}', 9000, X'4FE014D623CAD54D986CEDE8AD6688E5FFF4829DAD657F576AC212C36C7FD6BB2CFF99634DBE5C93C9700DD1E55A661402FAAA51C9B6595AF147781C75EF2C32A34BAFC05DA3B32024587D8B298069C0673901FBCF702923', 1795275897683);
INSERT INTO releases (deploy_id, app_id, commit_id, image, image_kept, manifest, port, sealed_env, created_at) VALUES (7, 1, '1111111111111111111111111111111111111111', 'windlass-0a1b2c/shop:d7', 1, '{"build":{"dockerfile":"Dockerfile","context":".","args":{"VERSION":"3"}},"web":{"command":null,"port":9000},"gates":[{"name":"migrate","run":["python","manage.py","migrate"],"timeout":"10m"}],"health":{"path":"/healthz","status":"200-399","interval":"1s","timeout":"2s","min_healthy":"10s","deadline":"5m"},"verify":{"path":"/","status":"200-399","timeout":"90s"},"drain":{"timeout":"30s","stop_grace":"30s"}}', 9000, X'BF326BECE7A03B8E103709DF858A3F3EA59C85C64233D44A48AD42F4636849528C49ACF250D7CA76E075673185989EF95CDB83364503E06C457ED3E6E8D9D24E1B03BB2A1407E75A4A3A54012542466AA3229CB33DE9FAEF', 1795275897764);
INSERT INTO users (id, name, password_hash, created_at) VALUES (1, 'admin', '$argon2id$a hash', 1795275897836);
INSERT INTO sessions (token_hash, user_id, created_at, expires_at) VALUES (X'7468652068617368206F66206120746F6B656E', 1, 1795275897837, 4102444800000);
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence (name, seq) VALUES ('apps', 2);
INSERT INTO sqlite_sequence (name, seq) VALUES ('deploys', 9);
