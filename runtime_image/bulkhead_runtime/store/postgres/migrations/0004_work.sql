-- What a runtime asks for, many items in one question: each succeeds or leaves nothing behind, and
-- all of them are on disk when the question is answered.

-- Null when the key is claimed, else why it is not.
CREATE FUNCTION bulkhead.claim(wanted jsonb, by text) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    held bulkhead.claims;
    now bigint := bulkhead.now_ms();
BEGIN
    SELECT * INTO held FROM bulkhead.claims
    WHERE principal = wanted ->> 'principal' AND key = wanted ->> 'key';
    IF held.expires_at > now THEN
        IF held.content <> wanted ->> 'content' THEN
            RETURN '{"claim": "conflict"}';
        ELSIF held.status IS NOT NULL THEN
            RETURN jsonb_build_object(
                'claim', 'finished', 'status', held.status, 'content_type', held.content_type,
                'body', encode(held.body, 'base64'));
        ELSIF held.lease_until > now AND held.holder <> by THEN
            RETURN '{"claim": "in_flight"}';
        END IF;
    END IF;
    IF held.body IS NOT NULL THEN
        UPDATE bulkhead.organizations SET answer_bytes = answer_bytes - octet_length(held.body);
    END IF;
    INSERT INTO bulkhead.claims (principal, key, content, holder, lease_until, expires_at)
    VALUES (
        wanted ->> 'principal', wanted ->> 'key', wanted ->> 'content', by,
        now + (wanted ->> 'lease_ms')::bigint, now + (wanted ->> 'expires_ms')::bigint)
    ON CONFLICT (organization, principal, key) DO UPDATE SET
        content = excluded.content, holder = excluded.holder, lease_until = excluded.lease_until,
        expires_at = excluded.expires_at, status = NULL, content_type = NULL, body = NULL;
    RETURN NULL;
END $$;

-- Keeps the answer for who asks again, or frees the key; only its holder can.
CREATE FUNCTION bulkhead.end_claim(claimed jsonb, by text, answer jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    given bytea := decode(answer ->> 'body', 'base64');
BEGIN
    IF answer IS NULL THEN
        DELETE FROM bulkhead.claims
        WHERE principal = claimed ->> 'principal' AND key = claimed ->> 'key' AND holder = by
            AND status IS NULL;
        RETURN;
    END IF;
    UPDATE bulkhead.claims
    SET status = (answer ->> 'status')::integer, content_type = answer ->> 'content_type',
        body = given
    WHERE principal = claimed ->> 'principal' AND key = claimed ->> 'key' AND holder = by
        AND status IS NULL;
    IF FOUND THEN
        UPDATE bulkhead.organizations SET answer_bytes = answer_bytes + octet_length(given);
    END IF;
END $$;

CREATE FUNCTION bulkhead.begin_work(item jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    reserve bulkhead.amounts := bulkhead.parsed(item -> 'reserve');
    refusal jsonb;
    turn jsonb;
BEGIN
    IF item ? 'claim' THEN
        refusal := bulkhead.claim(item -> 'claim', item ->> 'id');
        IF refusal IS NOT NULL THEN
            RETURN refusal;
        END IF;
    END IF;
    refusal := bulkhead.shortage(item -> 'accounts', reserve);
    IF refusal IS NOT NULL THEN
        PERFORM bulkhead.refuse(refusal);
    END IF;
    IF item ? 'turn' THEN
        turn := bulkhead.begin_turn(item -> 'turn', item -> 'bounds');
    END IF;
    INSERT INTO bulkhead.reservations (
        id, principal, agent, package, version, accounts, reserved, lease_until, session_id, fence)
    VALUES (
        item ->> 'id', item ->> 'principal', item ->> 'agent',
        coalesce(item -> 'turn' ->> 'package', ''), coalesce(item -> 'turn' ->> 'version', ''),
        item -> 'accounts', reserve, bulkhead.now_ms() + (item ->> 'lease_ms')::bigint,
        item -> 'turn' ->> 'session_id', (turn ->> 'fence')::bigint);
    RETURN jsonb_build_object(
        'turn', turn,
        'balances', bulkhead.post(item -> 'accounts', bulkhead.parsed('{}'), reserve));
END $$;

-- Renews lock and lease of work; false where either was lost. Null leaves the reservation out.
CREATE FUNCTION bulkhead.renew_work(item jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    until bigint := bulkhead.now_ms() + (item ->> 'lease_ms')::bigint;
    held bulkhead.reservations;
BEGIN
    UPDATE bulkhead.reservations SET lease_until = until WHERE id = item ->> 'id'
    RETURNING * INTO held;
    IF NOT FOUND THEN
        RETURN 'false';
    END IF;
    UPDATE bulkhead.claims SET lease_until = until WHERE holder = held.id AND status IS NULL
        AND principal = held.principal;
    IF held.session_id IS NULL THEN
        RETURN 'true';
    END IF;
    UPDATE bulkhead.sessions SET lock_until = until
    WHERE id = held.session_id AND fence = held.fence AND lock_until IS NOT NULL;
    RETURN to_jsonb(FOUND);
END $$;

-- Gives back what is held where it lies and counts what was used, in one step where both are the
-- same accounts; returns where `wanted` stand.
CREATE FUNCTION bulkhead.settle(held bulkhead.reservations, wanted jsonb, used bulkhead.amounts)
RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    nothing bulkhead.amounts := bulkhead.parsed('{}');
BEGIN
    IF held.id IS NULL OR held.reserved = nothing THEN
        RETURN bulkhead.post(wanted, used, nothing);
    ELSIF held.accounts = wanted THEN
        RETURN bulkhead.post(wanted, used, bulkhead.minus(held.reserved));
    END IF;
    PERFORM bulkhead.post(held.accounts, nothing, bulkhead.minus(held.reserved));
    RETURN bulkhead.post(wanted, used, nothing);
END $$;

-- What was used counts even where the work was given up or the next call is refused.
CREATE FUNCTION bulkhead.reserve_more(item jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    held bulkhead.reservations;
    nothing bulkhead.amounts := bulkhead.parsed('{}');
    reserve bulkhead.amounts := bulkhead.parsed(item -> 'reserve');
    renewed boolean;
    balances jsonb;
    refusal jsonb;
BEGIN
    SELECT * INTO held FROM bulkhead.reservations WHERE id = item ->> 'id';
    renewed := bulkhead.renew_work(item) = 'true';
    PERFORM bulkhead.write_ledger(item -> 'lines');
    balances := bulkhead.settle(held, item -> 'accounts', bulkhead.parsed(item -> 'used'));
    IF held.id IS NULL THEN
        refusal := '{"problem": "reservation_gone"}';
    ELSIF NOT renewed THEN
        refusal := '{"problem": "turn_lost"}';
    ELSE
        refusal := bulkhead.shortage(item -> 'accounts', reserve);
    END IF;
    IF refusal IS NULL THEN
        balances := bulkhead.post(item -> 'accounts', nothing, reserve);
    END IF;
    UPDATE bulkhead.reservations SET
        reserved = CASE WHEN refusal IS NULL THEN reserve ELSE nothing END,
        accounts = item -> 'accounts'
    WHERE id = held.id;
    RETURN coalesce(refusal, jsonb_build_object('turn', NULL, 'balances', balances));
END $$;

CREATE FUNCTION bulkhead.finish_work(item jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    held bulkhead.reservations;
    used bulkhead.amounts := bulkhead.parsed(item -> 'used');
    outcome text;
    balances jsonb;
BEGIN
    -- Work is settled once: without a reservation it was settled already.
    DELETE FROM bulkhead.reservations WHERE id = item ->> 'id' RETURNING * INTO held;
    IF held.id IS NULL THEN
        used := bulkhead.parsed('{}');
    END IF;
    balances := bulkhead.settle(held, item -> 'accounts', used);
    IF jsonb_array_length(item -> 'lines') > 0 THEN
        PERFORM bulkhead.write_ledger(item -> 'lines');
    END IF;
    IF item ? 'turn' THEN
        outcome := bulkhead.end_turn(
            item -> 'turn', item -> 'lines', (item -> 'bounds' ->> 'max_bytes')::bigint);
    END IF;
    IF item ? 'summary' THEN
        PERFORM bulkhead.put_summary(item -> 'summary');
    END IF;
    IF item ? 'claim' THEN
        PERFORM bulkhead.end_claim(
            item -> 'claim', item ->> 'id',
            CASE WHEN coalesce(outcome, 'stored') = 'stored' THEN item -> 'answer' END);
    END IF;
    IF jsonb_array_length(item -> 'events') > 0 THEN
        PERFORM bulkhead.write_events(item -> 'events');
    END IF;
    RETURN jsonb_build_object(
        'turn', outcome, 'balances', balances, 'head', bulkhead.head(item ->> 'show'));
END $$;

CREATE FUNCTION bulkhead.mark_turn(item jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    held bulkhead.sessions;
BEGIN
    SELECT * INTO held FROM bulkhead.sessions
    WHERE id = item ->> 'session_id' AND fence = (item ->> 'fence')::bigint
        AND lock_until IS NOT NULL
    FOR UPDATE;
    IF held.id IS NULL THEN
        RETURN 'false';
    END IF;
    IF NOT item -> 'from' ? held.status THEN
        RETURN jsonb_build_object('illegal', held.status);
    END IF;
    UPDATE bulkhead.sessions SET status = item ->> 'status', revision = revision + 1
    WHERE id = held.id;
    RETURN 'true';
END $$;

CREATE FUNCTION bulkhead.delete_session(item jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM bulkhead.sessions WHERE id = item ->> 'session_id' AND archived_at IS NULL
            AND principal = coalesce(item ->> 'principal', principal)
    ) THEN
        PERFORM bulkhead.refuse('{"problem": "unknown_session"}');
    END IF;
    PERFORM bulkhead.archive_session(item ->> 'session_id');
    RETURN 'true';
END $$;

-- False where there are as many as may be.
CREATE FUNCTION bulkhead.put_policy(item jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO bulkhead.policies AS held (kind, name, document, principal, created_at)
    SELECT given.kind, given.name, given.document, given.principal, given.created_at
    FROM jsonb_to_record(item) AS given (
        kind text, name text, document text, principal text, created_at bigint, "limit" bigint)
    WHERE given."limit" > (SELECT count(*) FROM bulkhead.policies) OR EXISTS (
        SELECT FROM bulkhead.policies AS there
        WHERE there.kind = given.kind AND there.name = given.name)
    ON CONFLICT (organization, kind, name) DO UPDATE SET
        document = excluded.document, principal = excluded.principal,
        created_at = excluded.created_at;
    RETURN to_jsonb(FOUND);
END $$;

-- False where the name is taken, null where there are as many as may be.
CREATE FUNCTION bulkhead.put_key(item jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM bulkhead.keys WHERE name = item ->> 'name') THEN
        RETURN 'false';
    ELSIF (item ->> 'limit')::bigint <= (SELECT count(*) FROM bulkhead.keys) THEN
        RETURN 'null';
    END IF;
    INSERT INTO bulkhead.keys (name, digest, principal, scopes, created_at, expires_at)
    VALUES (
        item ->> 'name', item ->> 'digest', item ->> 'principal',
        ARRAY(SELECT jsonb_array_elements_text(item -> 'scopes')),
        (item ->> 'created_at')::bigint, (item ->> 'expires_at')::bigint);
    RETURN 'true';
END $$;

CREATE FUNCTION bulkhead.do_item(item jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    detail text;
BEGIN
    CASE item ->> 'do'
        WHEN 'begin' THEN RETURN bulkhead.begin_work(item);
        WHEN 'reserve' THEN RETURN bulkhead.reserve_more(item);
        WHEN 'renew' THEN RETURN bulkhead.renew_work(item);
        WHEN 'finish' THEN RETURN bulkhead.finish_work(item);
        WHEN 'mark' THEN RETURN bulkhead.mark_turn(item);
        WHEN 'create' THEN RETURN bulkhead.create_session(item -> 'new', item -> 'bounds');
        WHEN 'delete' THEN RETURN bulkhead.delete_session(item);
        WHEN 'policy' THEN RETURN bulkhead.put_policy(item);
        WHEN 'key' THEN RETURN bulkhead.put_key(item);
    END CASE;
EXCEPTION
    WHEN SQLSTATE 'BH000' THEN
        GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
        RETURN detail::jsonb;
    WHEN data_exception OR integrity_constraint_violation THEN
        RETURN jsonb_build_object('problem', 'failed', 'state', SQLSTATE, 'reason', SQLERRM);
END $$;

-- One organization's writes run one batch after the other; `stale` says that caches may hold what
-- is no longer true, and the epoch that all replicas learn from every answer makes them void.
CREATE FUNCTION bulkhead.work(items jsonb, stale boolean) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    epoch bigint;
    item jsonb;
    answers jsonb[] := '{}';
    -- Events on their own refuse nothing, so they are written in one go.
    events jsonb := (
        SELECT jsonb_agg(event) FROM jsonb_array_elements(items) AS given
        CROSS JOIN jsonb_array_elements(given -> 'events') AS event
        WHERE given ->> 'do' = 'events');
BEGIN
    IF stale THEN
        UPDATE bulkhead.organizations SET cache_epoch = cache_epoch + 1;
    END IF;
    SELECT cache_epoch INTO STRICT epoch FROM bulkhead.organizations FOR NO KEY UPDATE;
    IF events IS NOT NULL THEN
        PERFORM bulkhead.write_events(events);
    END IF;
    FOR item IN SELECT * FROM jsonb_array_elements(items) LOOP
        answers := answers || CASE item ->> 'do'
            WHEN 'events' THEN 'true' ELSE bulkhead.do_item(item) END;
    END LOOP;
    RETURN jsonb_build_object('epoch', epoch, 'answers', to_jsonb(answers));
END $$;
