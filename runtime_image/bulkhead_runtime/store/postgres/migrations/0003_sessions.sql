-- Sessions: made, locked for one turn at a time, ended, archived. A refusal undoes the whole item
-- of work that it belongs to; `problem` names it and the rest are its figures.

CREATE FUNCTION bulkhead.refuse(refusal jsonb) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'BH000', MESSAGE = 'refused', DETAIL = refusal::text;
END $$;

CREATE FUNCTION bulkhead.remove_archived(gone text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    size bigint;
BEGIN
    DELETE FROM bulkhead.sessions WHERE id = gone AND archived_at IS NOT NULL
    RETURNING bytes INTO STRICT size;
    DELETE FROM bulkhead.messages WHERE session_id = gone;
    DELETE FROM bulkhead.accounts WHERE scope = 'session' AND key = gone;
    UPDATE bulkhead.organizations SET archived_bytes = archived_bytes - size;
END $$;

-- Tells whether more bytes fit. Archived sessions give way, oldest first, a bounded number at a
-- time so that no turn waits long for room.
CREATE FUNCTION bulkhead.make_room(needed bigint, max_bytes bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    free bigint;
    archived bigint;
    oldest record;
BEGIN
    SELECT max_bytes - used_bytes - answer_bytes - needed, archived_bytes INTO STRICT free, archived
    FROM bulkhead.organizations;
    IF free < 0 OR archived <= free THEN
        RETURN free >= 0;
    END IF;
    FOR oldest IN
        SELECT id, bytes FROM bulkhead.sessions
        WHERE archived_at IS NOT NULL ORDER BY archived_at LIMIT 200
    LOOP
        EXIT WHEN archived <= free;
        PERFORM bulkhead.remove_archived(oldest.id);
        archived := archived - oldest.bytes;
    END LOOP;
    RETURN archived <= free;
END $$;

CREATE FUNCTION bulkhead.archive_session(gone text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    WITH archived AS (
        UPDATE bulkhead.sessions SET
            status = 'archived', archived_at = bulkhead.now_ms(), lock_until = NULL,
            fence = fence + 1, revision = revision + 1
        WHERE id = gone AND archived_at IS NULL
        RETURNING bytes
    )
    UPDATE bulkhead.organizations SET
        used_bytes = used_bytes - archived.bytes,
        archived_bytes = archived_bytes + archived.bytes,
        sessions = sessions - 1
    FROM archived;
END $$;

CREATE FUNCTION bulkhead.refuse_too_many(owner text, bounds jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    limited bigint := (bounds ->> 'per_principal')::bigint;
    per_minute bigint := (bounds ->> 'per_minute')::bigint;
    since bigint := bulkhead.now_ms() - 60000;
    first bigint;
    counted bigint;
BEGIN
    IF limited IS NOT NULL AND limited <= (
        SELECT count(*) FROM bulkhead.sessions WHERE principal = owner AND archived_at IS NULL
    ) THEN
        PERFORM bulkhead.refuse(jsonb_build_object('problem', 'too_many_sessions', 'limit', limited));
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

CREATE FUNCTION bulkhead.insert_session(new jsonb, bounds jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    size bigint := (new ->> 'bytes')::bigint;
    now bigint := bulkhead.now_ms();
BEGIN
    PERFORM bulkhead.refuse_too_many(new ->> 'principal', bounds);
    INSERT INTO bulkhead.sessions (
        id, principal, agent, package, version, title, autonomy_level, metadata, created_at,
        updated_at, bytes)
    VALUES (
        new ->> 'id', new ->> 'principal', new ->> 'agent', new ->> 'package', new ->> 'version',
        new ->> 'title', new ->> 'autonomy_level', new -> 'metadata', now, now, size);
    UPDATE bulkhead.organizations SET used_bytes = used_bytes + size, sessions = sessions + 1;
END $$;

-- What a reader sees of a session, as an array; null where there is none to be seen. A function,
-- for it keeps its plan: planning under row-level security takes longer than reading.
CREATE FUNCTION bulkhead.head(wanted text) RETURNS jsonb
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT jsonb_build_array(
            id, principal, agent, package, version, status, created_at, updated_at, turns, messages,
            input_tokens, output_tokens, cost::text, metadata::text, title, autonomy_level,
            compactions, context_tokens, summary, summary_until, revision)
        FROM bulkhead.sessions WHERE id = wanted AND archived_at IS NULL
    );
END $$;

CREATE FUNCTION bulkhead.create_session(new jsonb, bounds jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT bulkhead.make_room((new ->> 'bytes')::bigint, (bounds ->> 'max_bytes')::bigint) THEN
        PERFORM bulkhead.refuse('{"problem": "pool_full"}');
    END IF;
    PERFORM bulkhead.insert_session(new, bounds);
    RETURN bulkhead.head(new ->> 'id');
END $$;

-- The last messages after the summary, newest first; null where the caller has them already.
CREATE FUNCTION bulkhead.tail(session text, after bigint, length integer) RETURNS jsonb
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT coalesce(jsonb_agg(jsonb_build_array(
            sequence, role, content, tool_calls, tool_call_id)), '[]')
        FROM (
            SELECT sequence, role, content, tool_calls, tool_call_id
            FROM bulkhead.messages
            WHERE session_id = session AND sequence > after
            ORDER BY sequence DESC
            LIMIT length
        ) AS newest
    );
END $$;

-- What a reader and the next turn need of a session, for a cache; null where there is none.
CREATE FUNCTION bulkhead.load(wanted text, length integer) RETURNS jsonb
LANGUAGE plpgsql STABLE AS $$
DECLARE
    found jsonb := bulkhead.head(wanted);
BEGIN
    IF found IS NULL THEN
        RETURN NULL;
    END IF;
    RETURN jsonb_build_object(
        'head', found, 'tail', bulkhead.tail(wanted, (found ->> 19)::bigint, length),
        'epoch', (SELECT cache_epoch FROM bulkhead.organizations));
END $$;

CREATE FUNCTION bulkhead.refuse_turn(held bulkhead.sessions, turn jsonb, bounds jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    now bigint := bulkhead.now_ms();
    parallel bigint := (bounds ->> 'parallel')::bigint;
    most bigint := (bounds ->> 'messages')::bigint;
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
    IF parallel IS NOT NULL
        AND parallel <= (
            SELECT count(*) FROM bulkhead.reservations
            WHERE session_id IS NOT NULL AND lease_until > now)
    THEN
        PERFORM bulkhead.refuse(jsonb_build_object(
            'problem', 'too_many_parallel_sessions', 'limit', parallel));
    END IF;
END $$;

-- Locks a session, which `turn.new` may make first, and returns what the turn begins with.
CREATE FUNCTION bulkhead.begin_turn(turn jsonb, bounds jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    session text := turn ->> 'session_id';
    needed bigint := (turn ->> 'expected_bytes')::bigint
        + coalesce((turn -> 'new' ->> 'bytes')::bigint, 0);
    held bulkhead.sessions;
    history jsonb;
BEGIN
    IF NOT bulkhead.make_room(needed, (bounds ->> 'max_bytes')::bigint) THEN
        PERFORM bulkhead.refuse('{"problem": "pool_full"}');
    END IF;
    IF turn ? 'new' THEN
        PERFORM bulkhead.insert_session(turn -> 'new', bounds);
    END IF;
    SELECT * INTO held FROM bulkhead.sessions WHERE id = session FOR UPDATE;
    PERFORM bulkhead.refuse_turn(held, turn, bounds);
    IF held.messages IS DISTINCT FROM (turn ->> 'known_messages')::bigint THEN
        history := bulkhead.tail(session, held.summary_until, (turn ->> 'tail')::integer);
    END IF;
    UPDATE bulkhead.sessions SET
        status = 'executing',
        lock_until = bulkhead.now_ms() + (turn ->> 'lease_ms')::bigint,
        fence = held.fence + 1,
        revision = held.revision + 1,
        package = turn ->> 'package',
        version = turn ->> 'version'
    WHERE id = session;
    RETURN jsonb_build_object(
        'number', held.turns + 1, 'fence', held.fence + 1, 'history', history,
        'summary', held.summary, 'summary_until', held.summary_until,
        'compactions', held.compactions, 'context_tokens', held.context_tokens,
        'autonomy_level', held.autonomy_level, 'messages', held.messages,
        'revision', held.revision + 1);
END $$;

CREATE FUNCTION bulkhead.append_messages(session text, number bigint, known bigint, added jsonb)
RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO bulkhead.messages (
        session_id, sequence, turn, role, content, tool_calls, tool_call_id, tokens, created_at)
    SELECT
        session, known + given.position, number, given.message ->> 'role',
        given.message ->> 'content', given.message ->> 'tool_calls',
        given.message ->> 'tool_call_id', (given.message ->> 'tokens')::bigint, bulkhead.now_ms()
    FROM jsonb_array_elements(added) WITH ORDINALITY AS given (message, position);
END $$;

-- Stores a turn and lets its session go; returns what became of it, the same when asked again.
CREATE FUNCTION bulkhead.end_turn(turn jsonb, lines jsonb, max_bytes bigint) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    held bulkhead.sessions;
    added jsonb := turn -> 'messages';
    size bigint := (turn ->> 'bytes')::bigint;
    outcome text := 'stored';
BEGIN
    SELECT * INTO held FROM bulkhead.sessions WHERE id = turn ->> 'session_id' FOR UPDATE;
    IF held.finished_fence = (turn ->> 'fence')::bigint THEN
        RETURN held.finished_as;
    END IF;
    IF held.id IS NULL OR held.fence <> (turn ->> 'fence')::bigint OR held.lock_until IS NULL THEN
        RETURN 'lost';
    END IF;
    IF size > 0 AND NOT bulkhead.make_room(size, max_bytes) THEN
        outcome := 'pool_full';
        added := '[]';
        size := 0;
    END IF;
    PERFORM bulkhead.append_messages(held.id, held.turns + 1, held.messages, added);
    UPDATE bulkhead.sessions SET
        status = CASE outcome WHEN 'stored' THEN turn ->> 'status' ELSE 'error' END,
        updated_at = bulkhead.now_ms(),
        turns = held.turns + least(jsonb_array_length(added), 1),
        messages = held.messages + jsonb_array_length(added),
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
    WHERE id = held.id;
    UPDATE bulkhead.organizations SET used_bytes = used_bytes + size WHERE size <> 0;
    RETURN outcome;
END $$;

-- A summary only ever reaches further.
CREATE FUNCTION bulkhead.put_summary(given jsonb) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    WITH former AS (
        SELECT id, coalesce(octet_length(summary), 0) AS size FROM bulkhead.sessions
        WHERE id = given ->> 'session_id' AND archived_at IS NULL
            AND summary_until < (given ->> 'until')::bigint
    ), summarized AS (
        UPDATE bulkhead.sessions AS held SET
            summary = given ->> 'text',
            summary_until = (given ->> 'until')::bigint,
            compactions = compactions + 1,
            revision = revision + 1,
            bytes = bytes + octet_length(given ->> 'text') - former.size
        FROM former WHERE held.id = former.id
        RETURNING octet_length(given ->> 'text') - former.size AS growth
    )
    UPDATE bulkhead.organizations SET used_bytes = used_bytes + summarized.growth FROM summarized;
END $$;
