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
INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) VALUES (1, 'begin', '2026-11-21 15:57:56', 1, X'E66B2192F8716D498F4E04FA77B1F41663A356ADCFA853FC344EFF71E8C4DEB945C721A1A9064B62836A2DB95FE86D1E', 3103379);
INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) VALUES (2, 'crash safety', '2026-11-21 15:57:56', 1, X'AA4158AED6905898E5AB0B5A8063AFDE9BCACD4E7B22B048BF2FA0AAA3DD8364ED55BDD5B479FD9191A3D32B0E4B0F93', 2163292);
INSERT INTO meta (key, value) VALUES ('instance', '387b3c');
INSERT INTO apps (id, name, subnet, port, created_at, leaving) VALUES (1, 'shop', '10.213.0.0/26', 9000, 1795276676053, 0);
INSERT INTO apps (id, name, subnet, port, created_at, leaving) VALUES (2, 'empty', '10.213.0.64/26', NULL, 1795276676059, 0);
INSERT INTO domains (domain, app_id, ordinal) VALUES ('shop.example.com', 1, 0);
INSERT INTO domains (domain, app_id, ordinal) VALUES ('a.example.com', 1, 1);
INSERT INTO env (app_id, name, sealed) VALUES (1, 'GREETING', X'BBB1F62D1B03D8907ED38D3F666F8F5E2F40A0518B8153C70FBCCB0B6454E6E3214BAD4FE58CD25C27342D773F1C94FB859B09');
INSERT INTO env (app_id, name, sealed) VALUES (1, 'SECRET_KEY', X'8F3FD77888E0C80951C9E323E2F5B369384AB23470DCA47E8373164FAECDEC672C497DC739CE32892883FA3BDD0C');
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by) VALUES (1, 1, '1111111111111111111111111111111111111111', 'Change 1 für alle', 'Ada', 'push', 'ann', 'retired', NULL, 1795276676101, 1795276676105, 1795276676133, 4321, NULL, NULL, 1, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by) VALUES (2, 1, '2222222222222222222222222222222222222222', 'Change 2 für alle', 'Ada', 'push', 'ann', 'retired', NULL, 1795276676135, 1795276676135, 1795276676148, 4321, NULL, NULL, 1, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by) VALUES (3, 1, '3333333333333333333333333333333333333333', 'Change 3 für alle', 'Ada', 'push', 'ann', 'failed', NULL, 1795276676150, 1795276676151, 1795276676155, 1234, 'gate:migrate', 'exit status 1:
no such table', 1, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by) VALUES (4, 1, '4444444444444444444444444444444444444444', 'Change 4 für alle', 'Ada', 'redeploy', 'ann', 'interrupted', 2, 1795276676155, 1795276676156, 1795276676159, 1234, 'build', 'the server stopped', 1, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by) VALUES (5, 1, '5555555555555555555555555555555555555555', 'Change 5 für alle', 'Ada', 'push', 'ann', 'superseded', NULL, 1795276676161, NULL, 1795276676162, NULL, 'queue', 'superseded by deploy 6 before it started', 0, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by) VALUES (6, 1, '6666666666666666666666666666666666666666', 'Change 6 für alle', 'Ada', 'push', 'ann', 'cancelled', NULL, 1795276676162, NULL, 1795276676163, 1234, 'queue', 'cancelled by ann', 0, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by) VALUES (7, 1, '1111111111111111111111111111111111111111', 'Change 1 für alle', 'Ada', 'revert', 'ann', 'live', 1, 1795276676163, 1795276676164, 1795276676172, 4321, NULL, NULL, 1, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by) VALUES (8, 1, '7777777777777777777777777777777777777777', 'Change 7 für alle', 'Ada', 'push', 'ann', 'running', NULL, 1795276676173, 1795276676174, NULL, NULL, NULL, NULL, 1, NULL);
INSERT INTO deploys (id, app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, cancel_by) VALUES (9, 1, '1111111111111111111111111111111111111111', 'Change 1 für alle', 'Ada', 'restart', 'ann', 'queued', 7, 1795276676176, NULL, NULL, NULL, NULL, NULL, 0, NULL);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (1, 0, 'checkout', 'ok', 1795276676109, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (1, 1, 'build', 'ok', 1795276676110, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (1, 2, 'gate:migrate', 'ok', 1795276676126, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (1, 3, 'start', 'ok', 1795276676127, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (1, 4, 'health', 'ok', 1795276676128, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (1, 5, 'swap', 'ok', 1795276676129, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (1, 6, 'verify', 'ok', 1795276676131, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 0, 'checkout', 'ok', 1795276676136, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 1, 'build', 'ok', 1795276676137, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 2, 'gate:migrate', 'ok', 1795276676138, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 3, 'start', 'ok', 1795276676139, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 4, 'health', 'ok', 1795276676141, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 5, 'swap', 'ok', 1795276676142, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 6, 'verify', 'ok', 1795276676143, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 7, 'drain', 'skipped', 1795276676145, 0);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (2, 8, 'retire', 'ok', 1795276676145, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (3, 0, 'checkout', 'ok', 1795276676151, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (3, 1, 'build', 'ok', 1795276676152, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (3, 2, 'gate:migrate', 'failed', 1795276676153, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (4, 0, 'checkout', 'ok', 1795276676157, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (4, 1, 'build', 'failed', 1795276676158, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (7, 0, 'build', 'skipped', 1795276676165, 0);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (7, 1, 'gate:migrate', 'ok', 1795276676165, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (7, 2, 'start', 'ok', 1795276676166, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (7, 3, 'health', 'ok', 1795276676167, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (7, 4, 'swap', 'ok', 1795276676168, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (7, 5, 'verify', 'ok', 1795276676170, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (8, 0, 'checkout', 'ok', 1795276676174, 56);
INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (8, 1, 'build', 'running', 1795276676175, NULL);
INSERT INTO releases (deploy_id, app_id, commit_id, image, image_kept, manifest, port, sealed_env, created_at) VALUES (1, 1, '1111111111111111111111111111111111111111', 'windlass-0a1b2c/shop:d1', 0, '{"build":{"dockerfile":"Dockerfile","context":".","args":{"VERSION":"3"},"secrets":[]},"web":{"command":null,"port":9000},"gates":[{"name":"migrate","run":["python","manage.py","migrate"],"timeout":"10m"}],"health":{"path":"/healthz","status":"200-399","interval":"1s","timeout":"2s","min_healthy":"10s","deadline":"5m"},"verify":{"path":"/","status":"200-399","timeout":"90s"},"drain":{"timeout":"30s","stop_grace":"30s"}}', 9000, X'236B01B12FD5391E141058600453E4635521DE15FBC03A23B913990A4DE9AE06C691FAFAFEEEB80BD8C644AFE3C0102031457309962ECFA69508308168E1F575B61CA0E0C1CD8A9DDE2814731FB71AC01958A904D50A191D', 1795276676133);
INSERT INTO releases (deploy_id, app_id, commit_id, image, image_kept, manifest, port, sealed_env, created_at) VALUES (2, 1, '2222222222222222222222222222222222222222', 'windlass-0a1b2c/shop:d2', 1, '{"build":{"dockerfile":"Dockerfile","context":".","args":{"VERSION":"3"},"secrets":[]},"web":{"command":null,"port":9000},"gates":[{"name":"migrate","run":["python","manage.py","migrate"],"timeout":"10m"}],"health":{"path":"/healthz","status":"200-399","interval":"1s","timeout":"2s","min_healthy":"10s","deadline":"5m"},"verify":{"path":"/","status":"200-399","timeout":"90s"},"drain":{"timeout":"30s","stop_grace":"30s"}}', 9000, X'8C0867D22E340C7511165BD4316D7C8314010B7A11AE7561CC01775432651AF93D43F58A3C0489AB58E907E215307EBC59AE22CA3920B2A506468E503285E4942E336759A2EDEDD87F5ECD9178C934A0928FD66ECFCE8F0D', 1795276676147);
INSERT INTO releases (deploy_id, app_id, commit_id, image, image_kept, manifest, port, sealed_env, created_at) VALUES (7, 1, '1111111111111111111111111111111111111111', 'windlass-0a1b2c/shop:d7', 1, '{"build":{"dockerfile":"Dockerfile","context":".","args":{"VERSION":"3"},"secrets":[]},"web":{"command":null,"port":9000},"gates":[{"name":"migrate","run":["python","manage.py","migrate"],"timeout":"10m"}],"health":{"path":"/healthz","status":"200-399","interval":"1s","timeout":"2s","min_healthy":"10s","deadline":"5m"},"verify":{"path":"/","status":"200-399","timeout":"90s"},"drain":{"timeout":"30s","stop_grace":"30s"}}', 9000, X'79F5D58867936B2DD0CACE08BEDD7B30CBAB2D05883A075EB9CDA1766FC5FCA726D4654B6364E33AD0D8D1DB6EE9BF1A21764E17A5C3D3A15E8CEBE16457563136953FF13BB40909A84991E80392EA7423FBEFDF5516EB61', 1795276676172);
INSERT INTO users (id, name, password_hash, created_at) VALUES (1, 'admin', '$argon2id$a hash', 1795276676177);
INSERT INTO sessions (token_hash, user_id, created_at, expires_at) VALUES (X'7468652068617368206F66206120746F6B656E', 1, 1795276676178, 4102444800000);
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence (name, seq) VALUES ('apps', 2);
INSERT INTO sqlite_sequence (name, seq) VALUES ('deploys', 9);
