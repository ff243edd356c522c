-- What a reader and the next turn need of a session, as JSON text; null where there is none. Put
-- together as text: as jsonb the same takes three times as long, for it is built, copied and printed.
CREATE FUNCTION bulkhead.read_session(wanted text, length integer) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    head text;
    after bigint;
    tail text;
BEGIN
    SELECT
        json_build_array(
            id, principal, agent, package, version, status, created_at, updated_at, turns, messages,
            input_tokens, output_tokens, cost::text, metadata::text, title, autonomy_level,
            compactions, context_tokens, summary, summary_until, revision)::text,
        summary_until
    INTO head, after
    FROM bulkhead.sessions WHERE id = wanted AND archived_at IS NULL;
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
    RETURN '{"head":' || head || ',"tail":' || coalesce(tail, '[]') || ',"epoch":'
        || (SELECT cache_epoch FROM bulkhead.organizations) || '}';
END $$;
