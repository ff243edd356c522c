"""Ids that are never given out twice, by a process and its children."""

import os

from bulkhead_runtime.identifiers import new_id, random_hex


def test_no_id_is_given_out_twice() -> None:
    ids = [new_id("evt") for _ in range(10_000)]
    assert len(set(ids)) == len(ids)
    assert all(len(one) == len("evt_") + 24 for one in ids)


def test_an_id_has_as_many_bytes_as_were_asked_for_across_the_end_of_a_piece() -> None:
    assert {len(random_hex(size)) for _ in range(500) for size in (16,)} == {32}


def test_a_child_process_gives_out_other_ids_than_its_parent() -> None:
    random_hex(1)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, random_hex(16).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 64).decode() != random_hex(16)
    os.close(reading)
    os.close(writing)
