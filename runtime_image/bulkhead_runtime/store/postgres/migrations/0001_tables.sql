-- Tables of the shared store. A role sees the rows of the one organization that bulkhead.tenants
-- names for it, however it asks; only the owner of these tables writes bulkhead.tenants.
-- Times are Unix milliseconds; ids and keys compare by byte, which needs no locale.

CREATE TABLE bulkhead.tenants (
    role name PRIMARY KEY,
    organization text COLLATE "C" NOT NULL
);

-- session_user is who logged in: SET ROLE does not change it. In PL/pgSQL here and below, for it
-- keeps the plans of its statements, and every question asks this.
CREATE FUNCTION bulkhead.organization() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    RETURN (SELECT t.organization FROM bulkhead.tenants AS t WHERE t.role = session_user);
END $$;

CREATE FUNCTION bulkhead.now_ms() RETURNS bigint
LANGUAGE sql VOLATILE
RETURN floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint;

CREATE TYPE bulkhead.amounts AS (
    tokens numeric,
    cost numeric,
    tool_calls numeric,
    turns numeric,
    seconds numeric
);

-- One row per organization: whoever writes locks it first, so an organization's writes queue here
-- and nowhere else, and the order of its events is the order of its commits.
CREATE TABLE bulkhead.organizations (
    organization text COLLATE "C" PRIMARY KEY DEFAULT bulkhead.organization(),
    -- Live sessions, answers kept to be repeated, archived sessions: together they fill the pool.
    used_bytes bigint NOT NULL DEFAULT 0,
    answer_bytes bigint NOT NULL DEFAULT 0,
    archived_bytes bigint NOT NULL DEFAULT 0,
    sessions bigint NOT NULL DEFAULT 0,
    last_event bigint NOT NULL DEFAULT 0,
    cache_epoch bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE TABLE bulkhead.sessions (
    organization text COLLATE "C" NOT NULL DEFAULT bulkhead.organization(),
    id text COLLATE "C" NOT NULL,
    principal text COLLATE "C" NOT NULL,
    agent text NOT NULL,
    package text NOT NULL,
    version text NOT NULL,
    status text NOT NULL DEFAULT 'idle',
    title text NOT NULL,
    autonomy_level text NOT NULL,
    metadata jsonb NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    -- Indexed in place of updated_at: a turn within the same hour changes no index at all.
    active_hour bigint NOT NULL GENERATED ALWAYS AS (updated_at / 3600000) STORED,
    archived_at bigint,
    turns bigint NOT NULL DEFAULT 0,
    messages bigint NOT NULL DEFAULT 0,
    input_tokens bigint NOT NULL DEFAULT 0,
    output_tokens bigint NOT NULL DEFAULT 0,
    cost numeric,
    compactions bigint NOT NULL DEFAULT 0,
    context_tokens bigint NOT NULL DEFAULT 0,
    summary text,
    summary_until bigint NOT NULL DEFAULT 0,
    bytes bigint NOT NULL,
    -- Grows with every change that a reader can see, so no cache takes an older row for a newer.
    revision bigint NOT NULL DEFAULT 0,
    -- Grows with every turn that begins and with the archiving: who holds an older one has lost.
    fence bigint NOT NULL DEFAULT 0,
    -- Not null while a turn holds the session; a turn that hangs holds it until then at most. In no
    -- index, so that the beginning of a turn touches none.
    lock_until bigint,
    -- How the turn of the last fence that finished ended, for who asks again.
    finished_fence bigint NOT NULL DEFAULT 0,
    finished_as text,
    PRIMARY KEY (organization, id)
) WITH (fillfactor = 80);
CREATE INDEX sessions_by_owner
    ON bulkhead.sessions (organization, principal, created_at DESC, id DESC)
    WHERE archived_at IS NULL;
CREATE INDEX sessions_by_creation
    ON bulkhead.sessions (organization, created_at DESC, id DESC)
    WHERE archived_at IS NULL;
CREATE INDEX sessions_by_activity ON bulkhead.sessions (organization, active_hour)
    WHERE archived_at IS NULL;
CREATE INDEX sessions_archived ON bulkhead.sessions (organization, archived_at)
    WHERE archived_at IS NOT NULL;
CREATE INDEX sessions_by_version ON bulkhead.sessions (organization, package, version)
    WHERE archived_at IS NULL;

CREATE TABLE bulkhead.messages (
    organization text COLLATE "C" NOT NULL DEFAULT bulkhead.organization(),
    session_id text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL,
    turn bigint NOT NULL,
    role text NOT NULL,
    content text NOT NULL,
    tool_calls text,
    tool_call_id text,
    tokens bigint NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (organization, session_id, sequence)
);

CREATE TABLE bulkhead.accounts (
    organization text COLLATE "C" NOT NULL DEFAULT bulkhead.organization(),
    scope text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    used bulkhead.amounts NOT NULL,
    reserved bulkhead.amounts NOT NULL,
    updated_at bigint NOT NULL,
    PRIMARY KEY (organization, scope, key)
) WITH (fillfactor = 50);

CREATE TABLE bulkhead.reservations (
    organization text COLLATE "C" NOT NULL DEFAULT bulkhead.organization(),
    id text COLLATE "C" NOT NULL,
    principal text NOT NULL,
    agent text NOT NULL,
    package text NOT NULL,
    version text NOT NULL,
    -- Where it lies: it is given back there, though the next step may name another day.
    accounts jsonb NOT NULL,
    reserved bulkhead.amounts NOT NULL,
    lease_until bigint NOT NULL,
    session_id text COLLATE "C",
    fence bigint,
    PRIMARY KEY (organization, id)
);
CREATE INDEX reservations_by_lease ON bulkhead.reservations (organization, lease_until);

CREATE TABLE bulkhead.claims (
    organization text COLLATE "C" NOT NULL DEFAULT bulkhead.organization(),
    principal text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    content text NOT NULL,
    holder text NOT NULL,
    lease_until bigint NOT NULL,
    expires_at bigint NOT NULL,
    status integer,
    content_type text,
    body bytea,
    PRIMARY KEY (organization, principal, key)
);
CREATE INDEX claims_by_expiry ON bulkhead.claims (organization, expires_at);
CREATE INDEX claims_by_lease ON bulkhead.claims (organization, lease_until) WHERE status IS NULL;

CREATE TABLE bulkhead.ledger (
    organization text COLLATE "C" NOT NULL DEFAULT bulkhead.organization(),
    id text COLLATE "C" NOT NULL,
    type text NOT NULL,
    at bigint NOT NULL,
    principal text COLLATE "C" NOT NULL,
    agent text NOT NULL,
    package text NOT NULL,
    version text NOT NULL,
    model text NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cost numeric,
    session_id text,
    job_id text,
    run_id text,
    tool text,
    PRIMARY KEY (organization, id)
);
CREATE INDEX ledger_by_time ON bulkhead.ledger (organization, at DESC, id DESC);
CREATE INDEX ledger_by_principal ON bulkhead.ledger (organization, principal, at DESC, id DESC);

CREATE TABLE bulkhead.events (
    organization text COLLATE "C" NOT NULL DEFAULT bulkhead.organization(),
    sequence bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    at bigint NOT NULL,
    principal text COLLATE "C" NOT NULL,
    session_id text COLLATE "C",
    trace_id text COLLATE "C",
    run_id text,
    data jsonb NOT NULL,
    PRIMARY KEY (organization, sequence)
);
CREATE UNIQUE INDEX events_once ON bulkhead.events (organization, id);
CREATE INDEX events_by_session ON bulkhead.events (organization, session_id, sequence)
    WHERE session_id IS NOT NULL;
CREATE INDEX events_by_trace ON bulkhead.events (organization, trace_id, sequence)
    WHERE trace_id IS NOT NULL;
CREATE INDEX events_by_type ON bulkhead.events (organization, type, sequence);
CREATE INDEX events_by_time ON bulkhead.events (organization, at);

CREATE TABLE bulkhead.policies (
    organization text COLLATE "C" NOT NULL DEFAULT bulkhead.organization(),
    kind text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    document text NOT NULL,
    principal text NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (organization, kind, name)
);

CREATE TABLE bulkhead.keys (
    organization text COLLATE "C" NOT NULL DEFAULT bulkhead.organization(),
    name text COLLATE "C" NOT NULL,
    digest text NOT NULL,
    principal text NOT NULL,
    scopes text[] NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint,
    PRIMARY KEY (organization, name)
);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'organizations', 'sessions', 'messages', 'accounts', 'reservations', 'claims', 'ledger',
        'events', 'policies', 'keys'
    ] LOOP
        EXECUTE format('ALTER TABLE bulkhead.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE bulkhead.%I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY own_organization ON bulkhead.%I '
            'USING (organization = (SELECT bulkhead.organization())) '
            'WITH CHECK (organization = (SELECT bulkhead.organization()))',
            name
        );
    END LOOP;
END $$;

-- The owner writes these two, everybody else reads what concerns him.
ALTER TABLE bulkhead.tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE bulkhead.tenants FORCE ROW LEVEL SECURITY;
CREATE POLICY written_by_owner ON bulkhead.tenants TO CURRENT_USER USING (true) WITH CHECK (true);
CREATE POLICY own_row ON bulkhead.tenants FOR SELECT USING (role = session_user);

ALTER TABLE bulkhead.migrations ENABLE ROW LEVEL SECURITY;
ALTER TABLE bulkhead.migrations FORCE ROW LEVEL SECURITY;
CREATE POLICY written_by_owner ON bulkhead.migrations TO CURRENT_USER USING (true) WITH CHECK (true);
CREATE POLICY read_by_all ON bulkhead.migrations FOR SELECT USING (true);

-- What a runtime's role may do; the ledger and the history only grow under its hands.
CREATE FUNCTION bulkhead.grant_access(tenant name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA bulkhead TO %I', tenant);
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA bulkhead TO %I', tenant);
    EXECUTE format(
        'GRANT INSERT ON bulkhead.ledger, bulkhead.messages, bulkhead.events TO %I', tenant);
    EXECUTE format('GRANT DELETE ON bulkhead.messages, bulkhead.events TO %I', tenant);
    EXECUTE format(
        'GRANT INSERT, UPDATE, DELETE ON bulkhead.sessions, bulkhead.accounts, '
        'bulkhead.reservations, bulkhead.claims, bulkhead.policies, bulkhead.keys TO %I', tenant);
    EXECUTE format('GRANT INSERT, UPDATE ON bulkhead.organizations TO %I', tenant);
END $$;
REVOKE ALL ON FUNCTION bulkhead.grant_access(name) FROM PUBLIC;
