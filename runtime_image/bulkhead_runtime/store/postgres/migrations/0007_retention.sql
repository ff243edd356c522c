-- What leaves after a while: events for good, the ledger's lines as exact sums by day. One replica
-- of an organization does so at a time, in batches, without holding up who writes.

CREATE TABLE bulkhead.usage_days (
    organization text COLLATE "C" NOT NULL DEFAULT bulkhead.organization(),
    day bigint NOT NULL,
    agent text NOT NULL,
    model text NOT NULL,
    principal text COLLATE "C" NOT NULL,
    type text NOT NULL,
    uses bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cost numeric NOT NULL,
    uncosted bigint NOT NULL,
    PRIMARY KEY (organization, day, agent, model, principal, type)
);
ALTER TABLE bulkhead.usage_days ENABLE ROW LEVEL SECURITY;
ALTER TABLE bulkhead.usage_days FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON bulkhead.usage_days
    USING (organization = (SELECT bulkhead.organization()))
    WITH CHECK (organization = (SELECT bulkhead.organization()));

-- Only until the end of the transaction that asks, so PgBouncer may stand between.
CREATE FUNCTION bulkhead.alone_at(work text) RETURNS boolean
LANGUAGE sql VOLATILE
RETURN pg_try_advisory_xact_lock(hashtext(work), hashtext(bulkhead.organization()));

CREATE FUNCTION bulkhead.remove_events(before bigint, most integer) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    removed bigint;
BEGIN
    IF NOT bulkhead.alone_at('events') THEN
        RETURN 0;
    END IF;
    DELETE FROM bulkhead.events WHERE (organization, sequence) IN (
        SELECT organization, sequence FROM bulkhead.events WHERE at < before ORDER BY at LIMIT most);
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed;
END $$;

-- With the owner's rights, for a runtime may only add to the ledger: what is younger than 35 days
-- stays, whatever it asks for. The owner may be one whom row-level security does not hold, so the
-- organization is named in every statement.
CREATE FUNCTION bulkhead.trim_ledger(before bigint, most integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    mine text := bulkhead.organization();
    until bigint := least(before, bulkhead.now_ms() - 35 * 86400000::bigint);
    trimmed bigint;
BEGIN
    IF mine IS NULL OR NOT bulkhead.alone_at('ledger') THEN
        RETURN 0;
    END IF;
    WITH gone AS (
        DELETE FROM bulkhead.ledger WHERE organization = mine AND id IN (
            SELECT id FROM bulkhead.ledger WHERE organization = mine AND at < until
            ORDER BY at LIMIT most)
        RETURNING at / 86400000 AS day, agent, model, principal, type, input_tokens,
            output_tokens, cost
    ), summed AS (
        INSERT INTO bulkhead.usage_days AS held (
            organization, day, agent, model, principal, type, uses, input_tokens, output_tokens,
            cost, uncosted)
        SELECT mine, day, agent, model, principal, type, count(*), sum(input_tokens),
            sum(output_tokens), coalesce(sum(cost), 0), count(*) FILTER (WHERE cost IS NULL)
        FROM gone GROUP BY day, agent, model, principal, type
        ON CONFLICT (organization, day, agent, model, principal, type) DO UPDATE SET
            uses = held.uses + excluded.uses,
            input_tokens = held.input_tokens + excluded.input_tokens,
            output_tokens = held.output_tokens + excluded.output_tokens,
            cost = held.cost + excluded.cost,
            uncosted = held.uncosted + excluded.uncosted
    )
    SELECT count(*) INTO trimmed FROM gone;
    RETURN trimmed;
END $$;
