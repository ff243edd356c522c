-- What turns ask for, from fewer and cheaper statements. Runtimes of the former release go on asking,
-- so nobody is amid parts that are replaced: all tables at once, or none and again a moment later,
-- for questions do not take them in one order.
DO $$
DECLARE
    patience text := current_setting('lock_timeout');
BEGIN
    PERFORM set_config('lock_timeout', '200ms', true);
    FOR attempt IN 1 .. 50 LOOP
        BEGIN
            LOCK TABLE bulkhead.organizations, bulkhead.sessions, bulkhead.messages,
                bulkhead.accounts, bulkhead.reservations, bulkhead.claims, bulkhead.ledger,
                bulkhead.events, bulkhead.policies, bulkhead.keys, bulkhead.usage_days,
                bulkhead.figures IN ACCESS EXCLUSIVE MODE;
            PERFORM set_config('lock_timeout', patience, true);
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            PERFORM pg_sleep(0.05);
        END;
    END LOOP;
    RAISE lock_not_available USING MESSAGE = 'the tables are in use without a pause: try again';
END $$;

-- The same rows as before: a policy that reads the owner's table itself is a third of one that calls
-- a function, and every statement pays for each policy that it meets.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'organizations', 'sessions', 'messages', 'accounts', 'reservations', 'claims', 'ledger',
        'events', 'policies', 'keys', 'usage_days', 'figures'
    ] LOOP
        EXECUTE format(
            'ALTER POLICY own_organization ON bulkhead.%I USING (organization = (%s)) '
            'WITH CHECK (organization = (%2$s))',
            name, 'SELECT t.organization FROM bulkhead.tenants AS t WHERE t.role = session_user'
        );
    END LOOP;
END $$;

-- Asked only where there is a limit: a condition that a null decides is planned again every time.
CREATE OR REPLACE FUNCTION bulkhead.refuse_too_many(owner text, bounds jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    limited bigint := (bounds ->> 'per_principal')::bigint;
    per_minute bigint := (bounds ->> 'per_minute')::bigint;
    since bigint := bulkhead.now_ms() - 60000;
    first bigint;
    counted bigint;
BEGIN
    IF limited IS NOT NULL THEN
        SELECT count(*) INTO counted
        FROM bulkhead.sessions WHERE principal = owner AND archived_at IS NULL;
        IF counted >= limited THEN
            PERFORM bulkhead.refuse(
                jsonb_build_object('problem', 'too_many_sessions', 'limit', limited));
        END IF;
    END IF;
    IF per_minute IS NOT NULL THEN
        SELECT count(*), min(created_at) INTO counted, first
        FROM bulkhead.sessions WHERE principal = owner AND created_at > since;
        IF counted >= per_minute THEN
            PERFORM bulkhead.refuse(jsonb_build_object(
                'problem', 'too_many_new_sessions', 'limit', per_minute,
                'retry_ms', first - since));
        END IF;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION bulkhead.refuse_turn(held bulkhead.sessions, turn jsonb, bounds jsonb)
RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    now bigint := bulkhead.now_ms();
    parallel bigint := (bounds ->> 'parallel')::bigint;
    most bigint := (bounds ->> 'messages')::bigint;
    counted bigint;
BEGIN
    IF held.id IS NULL OR held.principal <> turn ->> 'principal' OR held.archived_at IS NOT NULL
        OR held.updated_at + (bounds ->> 'idle_ms')::bigint < now
    THEN
        PERFORM bulkhead.refuse('{"problem": "unknown_session"}');
    END IF;
    IF held.lock_until > now THEN
        PERFORM bulkhead.refuse('{"problem": "session_busy"}');
    END IF;
    IF held.messages >= most THEN
        PERFORM bulkhead.refuse(jsonb_build_object('problem', 'session_full', 'limit', most));
    END IF;
    IF parallel IS NOT NULL THEN
        SELECT count(*) INTO counted
        FROM bulkhead.reservations WHERE session_id IS NOT NULL AND lease_until > now;
        IF counted >= parallel THEN
            PERFORM bulkhead.refuse(jsonb_build_object(
                'problem', 'too_many_parallel_sessions', 'limit', parallel));
        END IF;
    END IF;
END $$;

-- What a reader sees of a session, as an array. Answers are json, which is text that is put together;
-- jsonb is built, copied and printed.
CREATE FUNCTION bulkhead.shown(held bulkhead.sessions) RETURNS json
LANGUAGE sql STABLE
RETURN json_build_array(
    (held).id, (held).principal, (held).agent, (held).package, (held).version, (held).status,
    (held).created_at, (held).updated_at, (held).turns, (held).messages, (held).input_tokens,
    (held).output_tokens, (held).cost::text, (held).metadata::text, (held).title,
    (held).autonomy_level, (held).compactions, (held).context_tokens, (held).summary,
    (held).summary_until, (held).revision);

DROP FUNCTION bulkhead.insert_session(jsonb, jsonb);
CREATE FUNCTION bulkhead.insert_session(new jsonb, bounds jsonb) RETURNS json
LANGUAGE plpgsql AS $$
DECLARE
    size bigint := (new ->> 'bytes')::bigint;
    now bigint := bulkhead.now_ms();
    head json;
BEGIN
    PERFORM bulkhead.refuse_too_many(new ->> 'principal', bounds);
    WITH pool AS (
        UPDATE bulkhead.organizations SET used_bytes = used_bytes + size, sessions = sessions + 1
        RETURNING organization
    )
    INSERT INTO bulkhead.sessions AS made (
        organization, id, principal, agent, package, version, title, autonomy_level, metadata,
        created_at, updated_at, bytes)
    SELECT
        pool.organization, new ->> 'id', new ->> 'principal', new ->> 'agent', new ->> 'package',
        new ->> 'version', new ->> 'title', new ->> 'autonomy_level', new -> 'metadata', now, now,
        size
    FROM pool
    RETURNING bulkhead.shown(made) INTO head;
    RETURN head;
END $$;

DROP FUNCTION bulkhead.create_session(jsonb, jsonb);
CREATE FUNCTION bulkhead.create_session(new jsonb, bounds jsonb) RETURNS json
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT bulkhead.make_room((new ->> 'bytes')::bigint, (bounds ->> 'max_bytes')::bigint) THEN
        PERFORM bulkhead.refuse('{"problem": "pool_full"}');
    END IF;
    RETURN bulkhead.insert_session(new, bounds);
END $$;

CREATE OR REPLACE FUNCTION bulkhead.end_turn(turn jsonb, lines jsonb, max_bytes bigint) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    session text := turn ->> 'session_id';
    held_fence bigint := (turn ->> 'fence')::bigint;
    added jsonb := turn -> 'messages';
    size bigint := (turn ->> 'bytes')::bigint;
    outcome text := 'stored';
    count bigint;
    number bigint;
    known bigint;
BEGIN
    IF size > 0 AND NOT bulkhead.make_room(size, max_bytes) THEN
        outcome := 'pool_full';
        added := '[]';
        size := 0;
    END IF;
    count := jsonb_array_length(added);
    UPDATE bulkhead.sessions AS held SET
        status = CASE outcome WHEN 'stored' THEN turn ->> 'status' ELSE 'error' END,
        updated_at = bulkhead.now_ms(),
        turns = held.turns + least(count, 1),
        messages = held.messages + count,
        input_tokens = held.input_tokens + spent.input_tokens,
        output_tokens = held.output_tokens + spent.output_tokens,
        cost = CASE WHEN spent.cost IS NULL THEN held.cost
            ELSE coalesce(held.cost, 0) + spent.cost END,
        context_tokens = coalesce((turn ->> 'context_tokens')::bigint, held.context_tokens),
        bytes = held.bytes + size,
        lock_until = NULL,
        revision = held.revision + 1,
        finished_fence = held.fence,
        finished_as = outcome
    FROM (
        SELECT coalesce(sum((line ->> 'input_tokens')::bigint), 0) AS input_tokens,
            coalesce(sum((line ->> 'output_tokens')::bigint), 0) AS output_tokens,
            sum((line ->> 'cost')::numeric) AS cost
        FROM jsonb_array_elements(lines) AS line
    ) AS spent
    WHERE id = session AND fence = held_fence AND lock_until IS NOT NULL
    RETURNING held.turns, held.messages - count INTO number, known;
    IF NOT FOUND THEN
        -- Asked again it is what it was; else somebody has taken the session.
        RETURN coalesce((
            SELECT finished_as FROM bulkhead.sessions
            WHERE id = session AND finished_fence = held_fence), 'lost');
    END IF;
    IF count > 0 THEN
        PERFORM bulkhead.append_messages(session, number, known, added);
        UPDATE bulkhead.organizations SET used_bytes = used_bytes + size;
    END IF;
    RETURN outcome;
END $$;

DROP FUNCTION bulkhead.finish_work(jsonb);
CREATE FUNCTION bulkhead.finish_work(item jsonb) RETURNS json
LANGUAGE plpgsql AS $$
DECLARE
    held bulkhead.reservations;
    used bulkhead.amounts := bulkhead.parsed(item -> 'used');
    lines jsonb := item -> 'lines';
    written integer := 0;
    outcome text;
    balances jsonb;
BEGIN
    DELETE FROM bulkhead.reservations WHERE id = item ->> 'id' RETURNING * INTO held;
    IF jsonb_array_length(lines) > 0 THEN
        written := bulkhead.add_lines(lines);
    END IF;
    IF held.id IS NULL AND written = 0 THEN
        used := bulkhead.parsed('{}');
    END IF;
    balances := bulkhead.settle(held, item -> 'accounts', used);
    IF item ? 'turn' THEN
        outcome := bulkhead.end_turn(
            item -> 'turn', lines, (item -> 'bounds' ->> 'max_bytes')::bigint);
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
    RETURN json_build_object('turn', outcome, 'balances', balances, 'head', (
        SELECT bulkhead.shown(seen) FROM bulkhead.sessions AS seen
        WHERE id = item ->> 'show' AND archived_at IS NULL));
END $$;

-- The answer to one item; a refusal is raised.
CREATE FUNCTION bulkhead.answer(item jsonb) RETURNS json
LANGUAGE plpgsql AS $$
BEGIN
    CASE item ->> 'do'
        WHEN 'events' THEN RETURN 'true';
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
END $$;

-- The answers to items: all in one savepoint, where one of them is refused each in its own. Lock and
-- changes of the row lie in the same savepoint, else every change costs a multixact.
CREATE FUNCTION bulkhead.answers(items jsonb) RETURNS json[]
LANGUAGE plpgsql AS $$
DECLARE
    answers json[] := '{}';
    detail text;
BEGIN
    PERFORM FROM bulkhead.organizations FOR NO KEY UPDATE;
    -- Events on their own refuse nothing, so they are written in one go.
    IF items @> '[{"do": "events"}]' THEN
        PERFORM bulkhead.write_events(jsonb_agg(event))
        FROM jsonb_array_elements(items) AS item
        CROSS JOIN jsonb_array_elements(item -> 'events') AS event
        WHERE item ->> 'do' = 'events'
        HAVING count(*) > 0;
    END IF;
    FOR at IN 0 .. jsonb_array_length(items) - 1 LOOP
        answers := answers || bulkhead.answer(items -> at);
    END LOOP;
    RETURN answers;
EXCEPTION
    WHEN SQLSTATE 'BH000' OR data_exception OR integrity_constraint_violation THEN
        GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
        IF jsonb_array_length(items) > 1 THEN
            RETURN ARRAY(
                SELECT (bulkhead.answers(jsonb_build_array(item)))[1]
                FROM jsonb_array_elements(items) AS item);
        ELSIF SQLSTATE = 'BH000' THEN
            RETURN ARRAY[detail::json];
        END IF;
        RETURN ARRAY[json_build_object('problem', 'failed', 'state', SQLSTATE, 'reason', SQLERRM)];
END $$;

-- What a runtime asks; `work`, which is the same as jsonb, is for those of the former release.
CREATE FUNCTION bulkhead.write(items jsonb, stale boolean) RETURNS json
LANGUAGE plpgsql AS $$
DECLARE
    answers json[];
    epoch bigint;
BEGIN
    IF stale THEN
        UPDATE bulkhead.organizations SET cache_epoch = cache_epoch + 1;
    END IF;
    answers := bulkhead.answers(items);
    SELECT cache_epoch INTO STRICT epoch FROM bulkhead.organizations;
    RETURN json_build_object('epoch', epoch, 'answers', array_to_json(answers));
END $$;
