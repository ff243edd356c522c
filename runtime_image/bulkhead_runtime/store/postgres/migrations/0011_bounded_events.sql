-- Events leave by number, too: an organization that is busy for days fills nobody's disk. Sequences
-- grow by one an event, so the newest tells which are too many without counting any.
CREATE FUNCTION bulkhead.remove_events(before bigint, keep bigint, most integer) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    removed bigint;
BEGIN
    IF NOT bulkhead.alone_at('events') THEN
        RETURN 0;
    END IF;
    DELETE FROM bulkhead.events WHERE (organization, sequence) IN (
        SELECT organization, sequence FROM bulkhead.events
        WHERE sequence <= (SELECT last_event FROM bulkhead.organizations) - keep
        ORDER BY sequence LIMIT most);
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed + bulkhead.remove_events(before, (most - removed)::integer);
END $$;
