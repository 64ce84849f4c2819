-- Records and sealed chunks. `row` is the truth, in the form of docs/formats.md; every other column is derived from it (src/storage/postgres/columns.rs)
-- and only finds, orders or leases it. Instants are milliseconds since 1970; a place is a key of the embedded store behind its letter: inverted
-- milliseconds, or milliseconds, then the id.

CREATE TABLE meta (name text PRIMARY KEY, value bytea NOT NULL);

CREATE TABLE request (
    id bytea PRIMARY KEY,
    place bytea NOT NULL,
    state smallint NOT NULL,
    outcome smallint NOT NULL,
    provider text NOT NULL,
    creator text NOT NULL,
    team text,
    assigned bytea,
    applicant bytea NOT NULL,
    ends bytea,
    due_portal bigint,
    due_provider bigint,
    cleanup bigint,
    watch bytea,
    leased boolean NOT NULL,
    row bytea NOT NULL
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX request_place ON request (place);
CREATE INDEX request_state ON request (state, place);
CREATE INDEX request_outcome ON request (outcome, place);
CREATE INDEX request_provider ON request (provider, place);
CREATE INDEX request_creator ON request (creator, place);
CREATE INDEX request_team ON request (team, place) WHERE team IS NOT NULL;
CREATE INDEX request_assigned ON request (assigned, place) WHERE assigned IS NOT NULL;
CREATE INDEX request_applicant ON request (applicant, place);
CREATE INDEX request_ends ON request (ends) WHERE ends IS NOT NULL;
CREATE INDEX request_due_portal ON request (due_portal, id) WHERE due_portal IS NOT NULL;
CREATE INDEX request_due_provider ON request (provider, due_provider, id) WHERE due_provider IS NOT NULL;
CREATE INDEX request_cleanup ON request (cleanup, id) WHERE cleanup IS NOT NULL;
CREATE INDEX request_watch ON request (watch) WHERE watch IS NOT NULL;
CREATE INDEX request_leased ON request (id) WHERE leased;

-- What a request is also found by: keyed search words, and the references on its receipts.
CREATE TABLE term (term bytea NOT NULL, place bytea NOT NULL, request bytea NOT NULL, PRIMARY KEY (term, place));
-- Never deleted: a token that was given once is never given again.
CREATE TABLE link (hashed bytea PRIMARY KEY, request bytea NOT NULL, generation bigint NOT NULL);
CREATE TABLE holding (document bytea PRIMARY KEY, request bytea NOT NULL);
CREATE TABLE reference (provider text NOT NULL, reference bytea NOT NULL, request bytea NOT NULL, PRIMARY KEY (provider, reference, request));
CREATE TABLE claim (key bytea PRIMARY KEY, body bytea NOT NULL, made bytea NOT NULL, until bigint NOT NULL);
CREATE INDEX claim_until ON claim (until);
CREATE TABLE sight (key bytea PRIMARY KEY, until bigint NOT NULL);
CREATE INDEX sight_until ON sight (until);
CREATE TABLE receipt (number bigint PRIMARY KEY, row bytea NOT NULL);

-- The ends of the two chains: who appends locks the end.
CREATE TABLE chain (name text PRIMARY KEY, number bigint NOT NULL, hash bytea NOT NULL);
CREATE TABLE audit (sequence bigint PRIMARY KEY, timeline bytea, row bytea NOT NULL);
CREATE INDEX audit_timeline ON audit (timeline, sequence) WHERE timeline IS NOT NULL;

CREATE TABLE agent (id bytea PRIMARY KEY, email text UNIQUE, row bytea NOT NULL);
CREATE TABLE session (cookie bytea PRIMARY KEY, row bytea NOT NULL);
CREATE TABLE api_key (hash bytea PRIMARY KEY, id bytea NOT NULL UNIQUE, row bytea NOT NULL);
CREATE TABLE preference (agent bytea PRIMARY KEY, bits smallint NOT NULL);
CREATE TABLE saved_view (agent bytea PRIMARY KEY, row bytea NOT NULL);
CREATE TABLE template (key bytea PRIMARY KEY, row bytea NOT NULL);

-- Of the waiting ones of a lane only the first has a due.
CREATE TABLE dispatch (
    id bytea PRIMARY KEY,
    lane bytea NOT NULL,
    ord bytea NOT NULL,
    place bytea NOT NULL,
    request bytea,
    waiting boolean NOT NULL,
    due bigint,
    kept_until bigint,
    row bytea NOT NULL
);
CREATE INDEX dispatch_lane ON dispatch (lane, ord) WHERE waiting;
CREATE INDEX dispatch_due ON dispatch (due, id) WHERE due IS NOT NULL;
CREATE UNIQUE INDEX dispatch_place ON dispatch (place);
CREATE INDEX dispatch_request ON dispatch (request, place) WHERE request IS NOT NULL;
CREATE INDEX dispatch_kept ON dispatch (kept_until) WHERE kept_until IS NOT NULL;

-- Sealed documents. `chunks` is what was durable at the last sync.
CREATE TABLE file (document bytea, file_index smallint, chunks bigint NOT NULL, PRIMARY KEY (document, file_index));
CREATE TABLE chunk (document bytea, file_index smallint, number bigint, data bytea NOT NULL, PRIMARY KEY (document, file_index, number));
-- Ciphertext does not shrink, and its space is to be used again soon.
ALTER TABLE chunk ALTER COLUMN data SET STORAGE EXTERNAL;
ALTER TABLE chunk SET (autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_vacuum_scale_factor = 0.05);
