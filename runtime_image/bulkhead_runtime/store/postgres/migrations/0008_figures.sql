-- What metrics were, by interval and process; the runtime that wrote them reads them.

CREATE TABLE bulkhead.figures (
    organization text COLLATE "C" NOT NULL DEFAULT bulkhead.organization(),
    step integer NOT NULL,
    at bigint NOT NULL,
    process text COLLATE "C" NOT NULL,
    figures bytea NOT NULL,
    PRIMARY KEY (organization, step, at, process)
);
ALTER TABLE bulkhead.figures ENABLE ROW LEVEL SECURITY;
ALTER TABLE bulkhead.figures FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON bulkhead.figures
    USING (organization = (SELECT bulkhead.organization()))
    WITH CHECK (organization = (SELECT bulkhead.organization()));

CREATE OR REPLACE FUNCTION bulkhead.grant_access(tenant name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA bulkhead TO %I', tenant);
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA bulkhead TO %I', tenant);
    EXECUTE format(
        'GRANT INSERT ON bulkhead.ledger, bulkhead.messages, bulkhead.events TO %I', tenant);
    EXECUTE format('GRANT DELETE ON bulkhead.messages, bulkhead.events TO %I', tenant);
    EXECUTE format(
        'GRANT INSERT, UPDATE, DELETE ON bulkhead.sessions, bulkhead.accounts, '
        'bulkhead.reservations, bulkhead.claims, bulkhead.policies, bulkhead.keys, '
        'bulkhead.figures TO %I', tenant);
    EXECUTE format('GRANT INSERT, UPDATE ON bulkhead.organizations TO %I', tenant);
END $$;
