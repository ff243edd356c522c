-- Work that no account bounds begins without asking, so its end finds no reservation. Whether it was
-- settled before is what the ledger tells: the end that writes a line is the first.

-- How many lines were not there yet.
CREATE FUNCTION bulkhead.add_lines(lines jsonb) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    written integer;
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
    GET DIAGNOSTICS written = ROW_COUNT;
    RETURN written;
END $$;

CREATE OR REPLACE FUNCTION bulkhead.write_ledger(lines jsonb) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM bulkhead.add_lines(lines);
END $$;

CREATE OR REPLACE FUNCTION bulkhead.finish_work(item jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    held bulkhead.reservations;
    used bulkhead.amounts := bulkhead.parsed(item -> 'used');
    written integer := 0;
    outcome text;
    balances jsonb;
BEGIN
    DELETE FROM bulkhead.reservations WHERE id = item ->> 'id' RETURNING * INTO held;
    IF jsonb_array_length(item -> 'lines') > 0 THEN
        written := bulkhead.add_lines(item -> 'lines');
    END IF;
    IF held.id IS NULL AND written = 0 THEN
        used := bulkhead.parsed('{}');
    END IF;
    balances := bulkhead.settle(held, item -> 'accounts', used);
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
