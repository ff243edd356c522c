-- What turns ask for, from fewer statements still. As in the migration before: all tables at once, or
-- none and again a moment later.
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

-- Written where updated_at is: every change of a row reads and plans what generates a column again.
ALTER TABLE bulkhead.sessions ALTER COLUMN active_hour DROP EXPRESSION;

CREATE OR REPLACE FUNCTION bulkhead.insert_session(new jsonb, bounds jsonb) RETURNS json
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
        created_at, updated_at, active_hour, bytes)
    SELECT
        pool.organization, new ->> 'id', new ->> 'principal', new ->> 'agent', new ->> 'package',
        new ->> 'version', new ->> 'title', new ->> 'autonomy_level', new -> 'metadata', now, now,
        now / 3600000, size
    FROM pool
    RETURNING bulkhead.shown(made) INTO head;
    RETURN head;
END $$;

-- The default of a column is asked for every row, so who writes rows is given the organization.
DROP FUNCTION bulkhead.post(jsonb, bulkhead.amounts, bulkhead.amounts);
CREATE FUNCTION bulkhead.post(
    wanted jsonb, more bulkhead.amounts, held_more bulkhead.amounts,
    mine text DEFAULT bulkhead.organization())
RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    balances jsonb;
BEGIN
    WITH posted AS (
        INSERT INTO bulkhead.accounts AS held (
            organization, scope, key, used, reserved, updated_at)
        SELECT mine, given ->> 'scope', given ->> 'key', more, held_more, bulkhead.now_ms()
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

DROP FUNCTION bulkhead.settle(bulkhead.reservations, jsonb, bulkhead.amounts);
CREATE FUNCTION bulkhead.settle(
    held bulkhead.reservations, wanted jsonb, used bulkhead.amounts,
    mine text DEFAULT bulkhead.organization())
RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    nothing bulkhead.amounts := bulkhead.parsed('{}');
BEGIN
    IF held.id IS NULL OR held.reserved = nothing THEN
        RETURN bulkhead.post(wanted, used, nothing, mine);
    ELSIF held.accounts = wanted THEN
        RETURN bulkhead.post(wanted, used, bulkhead.minus(held.reserved), mine);
    END IF;
    PERFORM bulkhead.post(held.accounts, nothing, bulkhead.minus(held.reserved), mine);
    RETURN bulkhead.post(wanted, used, nothing, mine);
END $$;

DROP FUNCTION bulkhead.add_lines(jsonb);
CREATE FUNCTION bulkhead.add_lines(lines jsonb, mine text DEFAULT bulkhead.organization())
RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    written integer;
BEGIN
    INSERT INTO bulkhead.ledger (
        organization, id, type, at, principal, agent, package, version, model, input_tokens,
        output_tokens, cost, session_id, job_id, run_id, tool)
    SELECT mine, id, type, at, principal, agent, package, version, model, input_tokens,
        output_tokens, cost, session_id, job_id, run_id, tool
    FROM jsonb_to_recordset(lines) AS line (
        id text, type text, at bigint, principal text, agent text, package text, version text,
        model text, input_tokens bigint, output_tokens bigint, cost numeric, session_id text,
        job_id text, run_id text, tool text)
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS written = ROW_COUNT;
    RETURN written;
END $$;

CREATE OR REPLACE FUNCTION bulkhead.write_events(events jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    mine text;
    last bigint;
BEGIN
    UPDATE bulkhead.organizations SET last_event = last_event + jsonb_array_length(events)
    RETURNING organization, last_event - jsonb_array_length(events) INTO STRICT mine, last;
    INSERT INTO bulkhead.events (
        organization, sequence, id, type, at, principal, session_id, trace_id, run_id, data)
    SELECT
        mine, last + given.position, given.event ->> 'id', given.event ->> 'type',
        (given.event ->> 'at')::bigint, given.event ->> 'principal', given.event ->> 'session_id',
        given.event ->> 'trace_id', given.event ->> 'run_id', given.event -> 'data'
    FROM jsonb_array_elements(events) WITH ORDINALITY AS given (event, position)
    ON CONFLICT (organization, id) DO NOTHING;
END $$;

-- Takes the room at once where nothing has to give way for it.
CREATE FUNCTION bulkhead.take_room(size bigint, max_bytes bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE bulkhead.organizations SET used_bytes = used_bytes + size
    WHERE used_bytes + answer_bytes + archived_bytes + size <= max_bytes;
    IF FOUND THEN
        RETURN true;
    ELSIF NOT bulkhead.make_room(size, max_bytes) THEN
        RETURN false;
    END IF;
    UPDATE bulkhead.organizations SET used_bytes = used_bytes + size;
    RETURN true;
END $$;

-- Stores a turn and lets its session go; tells what became of it, the same when asked again, and
-- what a reader sees of the session where it was let go just now.
DROP FUNCTION bulkhead.end_turn(jsonb, jsonb, bigint);
DROP FUNCTION bulkhead.append_messages(text, bigint, bigint, jsonb);
CREATE FUNCTION bulkhead.end_turn(
    turn jsonb, lines jsonb, max_bytes bigint, OUT outcome text, OUT head json)
LANGUAGE plpgsql AS $$
DECLARE
    session text := turn ->> 'session_id';
    held_fence bigint := (turn ->> 'fence')::bigint;
    now bigint := bulkhead.now_ms();
    added jsonb := turn -> 'messages';
    size bigint := (turn ->> 'bytes')::bigint;
    count bigint;
    spent_input bigint;
    spent_output bigint;
    spent_cost numeric;
    mine text;
    number bigint;
    known bigint;
BEGIN
    outcome := 'stored';
    IF size > 0 AND NOT bulkhead.take_room(size, max_bytes) THEN
        outcome := 'pool_full';
        added := '[]';
        size := 0;
    END IF;
    count := jsonb_array_length(added);
    SELECT coalesce(sum((line ->> 'input_tokens')::bigint), 0),
        coalesce(sum((line ->> 'output_tokens')::bigint), 0), sum((line ->> 'cost')::numeric)
    INTO spent_input, spent_output, spent_cost
    FROM jsonb_array_elements(lines) AS line;
    UPDATE bulkhead.sessions AS held SET
        status = CASE outcome WHEN 'stored' THEN turn ->> 'status' ELSE 'error' END,
        updated_at = now,
        active_hour = now / 3600000,
        turns = held.turns + least(count, 1),
        messages = held.messages + count,
        input_tokens = held.input_tokens + spent_input,
        output_tokens = held.output_tokens + spent_output,
        cost = CASE WHEN spent_cost IS NULL THEN held.cost
            ELSE coalesce(held.cost, 0) + spent_cost END,
        context_tokens = coalesce((turn ->> 'context_tokens')::bigint, held.context_tokens),
        bytes = held.bytes + size,
        lock_until = NULL,
        revision = held.revision + 1,
        finished_fence = held.fence,
        finished_as = outcome
    WHERE id = session AND fence = held_fence AND lock_until IS NOT NULL
    RETURNING held.organization, held.turns, held.messages - count, bulkhead.shown(held)
    INTO mine, number, known, head;
    IF mine IS NULL THEN
        UPDATE bulkhead.organizations SET used_bytes = used_bytes - size WHERE size > 0;
        -- Asked again it is what it was; else somebody has taken the session.
        outcome := coalesce((
            SELECT finished_as FROM bulkhead.sessions
            WHERE id = session AND finished_fence = held_fence), 'lost');
    ELSIF count > 0 THEN
        INSERT INTO bulkhead.messages (
            organization, session_id, sequence, turn, role, content, tool_calls, tool_call_id,
            tokens, created_at)
        SELECT
            mine, session, known + given.position, number, given.message ->> 'role',
            given.message ->> 'content', given.message ->> 'tool_calls',
            given.message ->> 'tool_call_id', (given.message ->> 'tokens')::bigint, now
        FROM jsonb_array_elements(added) WITH ORDINALITY AS given (message, position);
    END IF;
END $$;

DROP FUNCTION bulkhead.begin_turn(jsonb, jsonb);
CREATE FUNCTION bulkhead.begin_turn(turn jsonb, bounds jsonb) RETURNS json
LANGUAGE plpgsql AS $$
DECLARE
    session text := turn ->> 'session_id';
    needed bigint := (turn ->> 'expected_bytes')::bigint
        + coalesce((turn -> 'new' ->> 'bytes')::bigint, 0);
    held bulkhead.sessions;
    history json;
BEGIN
    IF NOT bulkhead.make_room(needed, (bounds ->> 'max_bytes')::bigint) THEN
        PERFORM bulkhead.refuse('{"problem": "pool_full"}');
    END IF;
    IF turn ? 'new' THEN
        PERFORM bulkhead.insert_session(turn -> 'new', bounds);
    END IF;
    SELECT * INTO held FROM bulkhead.sessions WHERE id = session;
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
    RETURN json_build_object(
        'number', held.turns + 1, 'fence', held.fence + 1, 'history', history,
        'summary', held.summary, 'summary_until', held.summary_until,
        'compactions', held.compactions, 'context_tokens', held.context_tokens,
        'autonomy_level', held.autonomy_level, 'messages', held.messages,
        'revision', held.revision + 1);
END $$;

DROP FUNCTION bulkhead.begin_work(jsonb);
CREATE FUNCTION bulkhead.begin_work(item jsonb, mine text) RETURNS json
LANGUAGE plpgsql AS $$
DECLARE
    reserve bulkhead.amounts := bulkhead.parsed(item -> 'reserve');
    refusal jsonb;
    turn json;
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
        organization, id, principal, agent, package, version, accounts, reserved, lease_until,
        session_id, fence)
    VALUES (
        mine, item ->> 'id', item ->> 'principal', item ->> 'agent',
        coalesce(item -> 'turn' ->> 'package', ''), coalesce(item -> 'turn' ->> 'version', ''),
        item -> 'accounts', reserve, bulkhead.now_ms() + (item ->> 'lease_ms')::bigint,
        item -> 'turn' ->> 'session_id', (turn ->> 'fence')::bigint);
    RETURN json_build_object(
        'turn', turn,
        'balances', bulkhead.post(item -> 'accounts', bulkhead.parsed('{}'), reserve, mine));
END $$;

DROP FUNCTION bulkhead.finish_work(jsonb);
CREATE FUNCTION bulkhead.finish_work(item jsonb, mine text) RETURNS json
LANGUAGE plpgsql AS $$
DECLARE
    held bulkhead.reservations;
    used bulkhead.amounts := bulkhead.parsed(item -> 'used');
    lines jsonb := item -> 'lines';
    written integer := 0;
    balances jsonb;
    ended record;
    outcome text;
    head json;
BEGIN
    DELETE FROM bulkhead.reservations WHERE id = item ->> 'id' RETURNING * INTO held;
    IF jsonb_array_length(lines) > 0 THEN
        written := bulkhead.add_lines(lines, mine);
    END IF;
    IF held.id IS NULL AND written = 0 THEN
        used := bulkhead.parsed('{}');
    END IF;
    balances := bulkhead.settle(held, item -> 'accounts', used, mine);
    IF item ? 'turn' THEN
        ended := bulkhead.end_turn(
            item -> 'turn', lines, (item -> 'bounds' ->> 'max_bytes')::bigint);
        outcome := ended.outcome;
        head := ended.head;
    END IF;
    IF item ? 'summary' THEN
        PERFORM bulkhead.put_summary(item -> 'summary');
        head := NULL;
    END IF;
    IF item ? 'claim' THEN
        PERFORM bulkhead.end_claim(
            item -> 'claim', item ->> 'id',
            CASE WHEN coalesce(outcome, 'stored') = 'stored' THEN item -> 'answer' END);
    END IF;
    IF jsonb_array_length(item -> 'events') > 0 THEN
        PERFORM bulkhead.write_events(item -> 'events');
    END IF;
    IF head IS NULL THEN
        head := (
            SELECT bulkhead.shown(seen) FROM bulkhead.sessions AS seen
            WHERE id = item ->> 'show' AND archived_at IS NULL);
    END IF;
    RETURN json_build_object('turn', outcome, 'balances', balances, 'head', head);
END $$;

-- The answer to one item; a refusal is raised.
DROP FUNCTION bulkhead.answer(jsonb);
CREATE FUNCTION bulkhead.answer(item jsonb, mine text DEFAULT bulkhead.organization()) RETURNS json
LANGUAGE plpgsql AS $$
BEGIN
    CASE item ->> 'do'
        WHEN 'events' THEN RETURN 'true';
        WHEN 'begin' THEN RETURN bulkhead.begin_work(item, mine);
        WHEN 'reserve' THEN RETURN bulkhead.reserve_more(item);
        WHEN 'renew' THEN RETURN bulkhead.renew_work(item);
        WHEN 'finish' THEN RETURN bulkhead.finish_work(item, mine);
        WHEN 'mark' THEN RETURN bulkhead.mark_turn(item);
        WHEN 'create' THEN RETURN bulkhead.create_session(item -> 'new', item -> 'bounds');
        WHEN 'delete' THEN RETURN bulkhead.delete_session(item);
        WHEN 'policy' THEN RETURN bulkhead.put_policy(item);
        WHEN 'key' THEN RETURN bulkhead.put_key(item);
    END CASE;
END $$;

CREATE OR REPLACE FUNCTION bulkhead.do_item(item jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    detail text;
BEGIN
    RETURN bulkhead.answer(item);
EXCEPTION
    WHEN SQLSTATE 'BH000' THEN
        GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
        RETURN detail::jsonb;
    WHEN data_exception OR integrity_constraint_violation THEN
        RETURN jsonb_build_object('problem', 'failed', 'state', SQLSTATE, 'reason', SQLERRM);
END $$;

-- The epoch and the answers to items: all in one savepoint, where one of them is refused each in its
-- own. Lock and changes of the row lie in the same savepoint, else every change costs a multixact.
-- `answers` stays for questions that waited for the tables while this came.
CREATE FUNCTION bulkhead.answer_all(items jsonb) RETURNS json
LANGUAGE plpgsql AS $$
DECLARE
    mine text;
    epoch bigint;
    answers json[] := '{}';
    detail text;
BEGIN
    SELECT organization, cache_epoch INTO STRICT mine, epoch
    FROM bulkhead.organizations FOR NO KEY UPDATE;
    -- Events on their own refuse nothing, so they are written in one go.
    IF items @> '[{"do": "events"}]' THEN
        PERFORM bulkhead.write_events(jsonb_agg(event))
        FROM jsonb_array_elements(items) AS item
        CROSS JOIN jsonb_array_elements(item -> 'events') AS event
        WHERE item ->> 'do' = 'events'
        HAVING count(*) > 0;
    END IF;
    FOR at IN 0 .. jsonb_array_length(items) - 1 LOOP
        answers := answers || bulkhead.answer(items -> at, mine);
    END LOOP;
    RETURN json_build_object('epoch', epoch, 'answers', array_to_json(answers));
EXCEPTION
    WHEN SQLSTATE 'BH000' OR data_exception OR integrity_constraint_violation THEN
        GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
        IF jsonb_array_length(items) > 1 THEN
            answers := ARRAY(
                SELECT bulkhead.answer_all(jsonb_build_array(item)) -> 'answers' -> 0
                FROM jsonb_array_elements(items) AS item);
        ELSIF SQLSTATE = 'BH000' THEN
            answers := ARRAY[detail::json];
        ELSE
            answers := ARRAY[
                json_build_object('problem', 'failed', 'state', SQLSTATE, 'reason', SQLERRM)];
        END IF;
        -- The lock is gone with the savepoint, so somebody may have ended the epoch by now.
        SELECT cache_epoch INTO STRICT epoch FROM bulkhead.organizations;
        RETURN json_build_object('epoch', epoch, 'answers', array_to_json(answers));
END $$;

CREATE OR REPLACE FUNCTION bulkhead.write(items jsonb, stale boolean) RETURNS json
LANGUAGE plpgsql AS $$
BEGIN
    IF stale THEN
        UPDATE bulkhead.organizations SET cache_epoch = cache_epoch + 1;
    END IF;
    RETURN bulkhead.answer_all(items);
END $$;

-- What a reader and the next turn need of a session, as JSON text; null where there is none.
CREATE OR REPLACE FUNCTION bulkhead.read_session(wanted text, length integer) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    head text;
    after bigint;
    epoch bigint;
    tail text;
BEGIN
    SELECT
        bulkhead.shown(seen)::text, summary_until, (SELECT cache_epoch FROM bulkhead.organizations)
    INTO head, after, epoch
    FROM bulkhead.sessions AS seen WHERE id = wanted AND archived_at IS NULL;
    IF head IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT json_agg(json_build_array(sequence, role, content, tool_calls, tool_call_id))::text
    INTO tail
    FROM (
        SELECT sequence, role, content, tool_calls, tool_call_id
        FROM bulkhead.messages
        WHERE session_id = wanted AND sequence > after
        ORDER BY sequence DESC
        LIMIT length
    ) AS newest;
    RETURN '{"head":' || head || ',"tail":' || coalesce(tail, '[]') || ',"epoch":' || epoch || '}';
END $$;
