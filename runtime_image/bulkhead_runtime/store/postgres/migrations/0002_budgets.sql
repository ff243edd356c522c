-- Accounts, reservations, ledger: what is reserved is never more than there is room for.

CREATE FUNCTION bulkhead.plus(a bulkhead.amounts, b bulkhead.amounts) RETURNS bulkhead.amounts
LANGUAGE sql IMMUTABLE
RETURN ROW(
    coalesce((a).tokens, 0) + coalesce((b).tokens, 0),
    coalesce((a).cost, 0) + coalesce((b).cost, 0),
    coalesce((a).tool_calls, 0) + coalesce((b).tool_calls, 0),
    coalesce((a).turns, 0) + coalesce((b).turns, 0),
    coalesce((a).seconds, 0) + coalesce((b).seconds, 0)
)::bulkhead.amounts;

CREATE FUNCTION bulkhead.minus(a bulkhead.amounts) RETURNS bulkhead.amounts
LANGUAGE sql IMMUTABLE
RETURN ROW(-(a).tokens, -(a).cost, -(a).tool_calls, -(a).turns, -(a).seconds)::bulkhead.amounts;

CREATE FUNCTION bulkhead.parsed(amounts jsonb) RETURNS bulkhead.amounts
LANGUAGE sql IMMUTABLE
RETURN ROW(
    coalesce((amounts ->> 'tokens')::numeric, 0),
    coalesce((amounts ->> 'cost')::numeric, 0),
    coalesce((amounts ->> 'tool_calls')::numeric, 0),
    coalesce((amounts ->> 'turns')::numeric, 0),
    coalesce((amounts ->> 'seconds')::numeric, 0)
)::bulkhead.amounts;

-- The first account and dimension without room, null when there is room everywhere.
CREATE FUNCTION bulkhead.shortage(wanted jsonb, reserve bulkhead.amounts) RETURNS jsonb
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT jsonb_build_object(
            'account', room.account, 'dimension', room.dimension, 'room', room.room::text)
        FROM (
            SELECT
                given.position - 1 AS account,
                bound.key AS dimension,
                bound.value::numeric
                    - coalesce((to_jsonb(held.used) ->> bound.key)::numeric, 0)
                    - coalesce((to_jsonb(held.reserved) ->> bound.key)::numeric, 0) AS room,
                coalesce((to_jsonb(reserve) ->> bound.key)::numeric, 0) AS asked
            FROM jsonb_array_elements(wanted) WITH ORDINALITY AS given (account, position)
            CROSS JOIN LATERAL jsonb_each_text(given.account -> 'limits') AS bound
            -- One row by its key, whatever the planner thinks of the number of accounts.
            LEFT JOIN LATERAL (
                SELECT used, reserved FROM bulkhead.accounts
                WHERE scope = given.account ->> 'scope' AND key = given.account ->> 'key' LIMIT 1
            ) AS held ON true
        ) AS room
        WHERE room.asked > room.room
        ORDER BY room.account, room.dimension
        LIMIT 1
    );
END $$;

-- Changes accounts, makes those that are not there yet, and returns where they stand: amounts as
-- text, for a JSON number would be read as a float.
CREATE FUNCTION bulkhead.post(wanted jsonb, more bulkhead.amounts, held_more bulkhead.amounts)
RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    balances jsonb;
BEGIN
    WITH posted AS (
        INSERT INTO bulkhead.accounts AS held (scope, key, used, reserved, updated_at)
        SELECT given ->> 'scope', given ->> 'key', more, held_more, bulkhead.now_ms()
        FROM jsonb_array_elements(wanted) AS given
        ON CONFLICT (organization, scope, key) DO UPDATE SET
            used = bulkhead.plus(held.used, excluded.used),
            reserved = bulkhead.plus(held.reserved, excluded.reserved),
            updated_at = excluded.updated_at
        RETURNING held.scope, held.key, held.used, held.reserved
    )
    SELECT jsonb_agg(jsonb_build_object(
        'scope', scope, 'key', key, 'used', used::text, 'reserved', reserved::text
    )) INTO balances
    FROM posted;
    RETURN coalesce(balances, '[]');
END $$;

CREATE FUNCTION bulkhead.write_ledger(lines jsonb) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO bulkhead.ledger (
        id, type, at, principal, agent, package, version, model, input_tokens, output_tokens,
        cost, session_id, job_id, run_id, tool)
    SELECT id, type, at, principal, agent, package, version, model, input_tokens, output_tokens,
        cost, session_id, job_id, run_id, tool
    FROM jsonb_to_recordset(lines) AS line (
        id text, type text, at bigint, principal text, agent text, package text, version text,
        model text, input_tokens bigint, output_tokens bigint, cost numeric, session_id text,
        job_id text, run_id text, tool text)
    ON CONFLICT DO NOTHING;
END $$;

-- The caller holds the row of the organization, so numbers are given in the order of commits.
CREATE FUNCTION bulkhead.write_events(events jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    last bigint;
BEGIN
    UPDATE bulkhead.organizations SET last_event = last_event + jsonb_array_length(events)
    RETURNING last_event - jsonb_array_length(events) INTO STRICT last;
    INSERT INTO bulkhead.events (
        sequence, id, type, at, principal, session_id, trace_id, run_id, data)
    SELECT
        last + given.position, given.event ->> 'id', given.event ->> 'type',
        (given.event ->> 'at')::bigint, given.event ->> 'principal', given.event ->> 'session_id',
        given.event ->> 'trace_id', given.event ->> 'run_id', given.event -> 'data'
    FROM jsonb_array_elements(events) WITH ORDINALITY AS given (event, position)
    ON CONFLICT (organization, id) DO NOTHING;
END $$;
