-- What nobody asks for and time brings: leases that passed, sessions that expired. Each sweep does
-- a bounded number.

-- What was reserved by work that is gone counts as used in full, as a line of the ledger.
CREATE FUNCTION bulkhead.give_up(held bulkhead.reservations) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM bulkhead.reservations WHERE id = held.id;
    PERFORM bulkhead.post(held.accounts, held.reserved, bulkhead.minus(held.reserved));
    IF (held.reserved).tokens > 0 OR (held.reserved).cost > 0 THEN
        INSERT INTO bulkhead.ledger (
            id, type, at, principal, agent, package, version, model, input_tokens, output_tokens,
            cost, session_id)
        VALUES (
            'abandoned-' || held.id, 'abandoned', bulkhead.now_ms(), held.principal, held.agent,
            held.package, held.version, '', (held.reserved).tokens::bigint, 0,
            nullif((held.reserved).cost, 0), held.session_id)
        ON CONFLICT DO NOTHING;
    END IF;
    UPDATE bulkhead.sessions SET status = 'interrupted', lock_until = NULL, revision = revision + 1
    WHERE id = held.session_id AND fence = held.fence AND lock_until IS NOT NULL;
END $$;

CREATE FUNCTION bulkhead.release_abandoned(most integer) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    now bigint := bulkhead.now_ms();
    held bulkhead.reservations;
    released integer := 0;
    freed integer;
BEGIN
    PERFORM FROM bulkhead.organizations FOR NO KEY UPDATE;
    FOR held IN SELECT * FROM bulkhead.reservations WHERE lease_until <= now LIMIT most LOOP
        PERFORM bulkhead.give_up(held);
        released := released + 1;
    END LOOP;
    DELETE FROM bulkhead.claims WHERE (organization, principal, key) IN (
        SELECT organization, principal, key FROM bulkhead.claims
        WHERE status IS NULL AND lease_until <= now LIMIT most);
    GET DIAGNOSTICS freed = ROW_COUNT;
    WITH forgotten AS (
        DELETE FROM bulkhead.claims WHERE (organization, principal, key) IN (
            SELECT organization, principal, key FROM bulkhead.claims
            WHERE expires_at <= now LIMIT most)
        RETURNING coalesce(octet_length(body), 0) AS size
    )
    UPDATE bulkhead.organizations SET answer_bytes = answer_bytes - forgotten.size
    FROM (SELECT sum(size) AS size FROM forgotten) AS forgotten WHERE forgotten.size > 0;
    RETURN released + freed;
END $$;

-- Archives what was quiet for too long, removes what was archived too long ago, and tells when
-- there is something to do again.
CREATE FUNCTION bulkhead.sweep(idle_ms bigint, retain_ms bigint, keep_days_ms bigint, most integer)
RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    now bigint := bulkhead.now_ms();
    quiet record;
    expired jsonb := '[]';
    removed integer := 0;
BEGIN
    PERFORM FROM bulkhead.organizations FOR NO KEY UPDATE;
    FOR quiet IN
        SELECT id, principal FROM bulkhead.sessions
        WHERE archived_at IS NULL AND active_hour <= (now - idle_ms) / 3600000
            AND updated_at < now - idle_ms AND coalesce(lock_until < now, true)
        ORDER BY active_hour LIMIT most
    LOOP
        PERFORM bulkhead.archive_session(quiet.id);
        expired := expired || jsonb_build_array(jsonb_build_array(quiet.id, quiet.principal));
    END LOOP;
    FOR quiet IN
        SELECT id FROM bulkhead.sessions WHERE archived_at < now - retain_ms
        ORDER BY archived_at LIMIT most
    LOOP
        PERFORM bulkhead.remove_archived(quiet.id);
        removed := removed + 1;
    END LOOP;
    DELETE FROM bulkhead.accounts WHERE (organization, scope, key) IN (
        SELECT organization, scope, key FROM bulkhead.accounts
        WHERE scope IN ('day', 'agent_day') AND updated_at < now - keep_days_ms LIMIT most);
    RETURN jsonb_build_object(
        'expired', expired, 'removed', removed, 'due_at', least(
            (SELECT min(updated_at) FROM bulkhead.sessions
            WHERE archived_at IS NULL AND active_hour = (
                SELECT min(active_hour) FROM bulkhead.sessions WHERE archived_at IS NULL))
                + idle_ms,
            (SELECT min(archived_at) FROM bulkhead.sessions WHERE archived_at IS NOT NULL)
                + retain_ms));
END $$;
