"""The parts of the cluster tool that need no cluster."""

import os
import signal
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from tests.cluster import images, places, stores, traces
from tests.cluster.certificates import Authority
from tests.cluster.processes import Daemon, recorded_pid, start_time
from tests.cluster.progress import ClusterError, Step, run_steps, until


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon("sleeper", ("sleep", "1000"), tmp_path)
    yield daemon
    daemon.kill()


def test_a_daemon_is_started_once(sleeper: Daemon) -> None:
    assert sleeper.start()
    first = sleeper.pid()
    assert not sleeper.start()
    assert sleeper.pid() == first


def test_a_daemon_with_other_arguments_is_started_again(sleeper: Daemon) -> None:
    sleeper.start()
    first = sleeper.pid()
    changed = Daemon("sleeper", ("sleep", "2000"), sleeper.home)
    assert changed.start()
    assert changed.pid() != first
    assert first is not None
    assert start_time(first) is None


def test_a_killed_daemon_is_seen_as_gone_and_started_again(sleeper: Daemon) -> None:
    sleeper.start()
    pid = sleeper.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: not sleeper.running(), seconds=60, what="the killed daemon is gone")
    assert sleeper.start()


def test_a_stranger_with_the_recorded_pid_is_not_taken_for_ours(sleeper: Daemon) -> None:
    sleeper.start()
    # This very process began before the sleeper did, so its start time is another.
    theirs = sleeper.record.read_text().replace(f'"pid": {sleeper.pid()}', f'"pid": {os.getpid()}')
    other = sleeper.record.with_name("other.json")
    other.write_text(theirs)
    assert recorded_pid(sleeper.record) is not None
    assert recorded_pid(other) is None


@pytest.mark.parametrize("content", ["", '{"pid": 1', "[]", '{"pid": "x"}'])
def test_a_record_that_was_cut_short_says_nothing(tmp_path: Path, content: str) -> None:
    record = tmp_path / "x.json"
    record.write_text(content)
    assert recorded_pid(record) is None


def test_steps_wait_for_those_they_come_after() -> None:
    order: list[str] = []
    run_steps(
        [
            Step("second", lambda: order.append("second"), after=["first"]),
            Step("first", lambda: order.append("first")),
        ]
    )
    assert order == ["first", "second"]


def test_after_a_failure_nothing_new_is_begun() -> None:
    begun: list[str] = []

    def fail() -> None:
        raise ClusterError("no", remedy="try another way")

    with pytest.raises(ClusterError, match="try another way"):
        run_steps(
            [Step("first", fail), Step("second", lambda: begun.append("second"), after=["first"])]
        )
    assert begun == []


def test_steps_beside_each_other_overlap() -> None:
    names = ("one", "two", "three")
    # Nobody passes before all have come: steps one after another would break it.
    meeting = threading.Barrier(len(names), timeout=60)
    met: list[int] = []
    run_steps([Step(name, lambda: met.append(meeting.wait())) for name in names])
    assert sorted(met) == [0, 1, 2]


def test_an_error_shows_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("\n".join(f"line {number}" for number in range(100)))
    shown = str(ClusterError("It ended.", log=log, remedy="Look."))
    assert "line 99" in shown
    assert "line 10" not in shown
    assert str(log) in shown


def test_certificates_satisfy_strict_verification(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("server", "server", hosts=["localhost", "127.0.0.1"])
    context = ssl.create_default_context(cafile=str(authority.certificate))
    assert context.verify_mode is ssl.CERT_REQUIRED
    # What Python 3.13 asks for by default: the certificate says which key signed it.
    certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    argv = ["openssl", "verify", "-x509_strict", "-CAfile"]
    subprocess.run([*argv, authority.certificate, pair.certificate], check=True)


def test_a_fitting_certificate_is_kept_and_another_address_gets_a_new_one(tmp_path: Path) -> None:
    first = Authority(tmp_path).issue("server", "server", hosts=["192.0.2.1"])
    content = first.certificate.read_bytes()
    again = Authority(tmp_path).issue("server", "server", hosts=["192.0.2.1"])
    assert again.certificate.read_bytes() == content
    moved = Authority(tmp_path).issue("server", "server", hosts=["192.0.2.7"])
    assert moved.certificate.read_bytes() != content


def test_keys_can_be_read_by_their_owner_only(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("server", "server")
    assert pair.key.stat().st_mode & 0o077 == 0


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_text("a = 1\n")
    (tmp_path / ".gitignore").write_text("*.pyc\n")
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    return tmp_path


def test_an_image_keeps_its_tag_while_its_inputs_stay(checkout: Path) -> None:
    before = images.content_digest(checkout, ["code"])
    (checkout / "code" / "a.pyc").write_text("left out by git")
    (checkout / "other.py").write_text("not an input")
    assert images.content_digest(checkout, ["code"]) == before


@pytest.mark.parametrize("change", ["edit", "rename", "mode", "add"])
def test_an_image_gets_another_tag_when_an_input_changes(checkout: Path, change: str) -> None:
    before = images.content_digest(checkout, ["code"])
    source = checkout / "code" / "a.py"
    match change:
        case "edit":
            source.write_text("a = 2\n")
        case "rename":
            source.rename(source.with_name("b.py"))
        case "mode":
            source.chmod(0o755)
        case "add":
            source.with_name("c.py").write_text("")
    assert images.content_digest(checkout, ["code"]) != before


def test_rules_of_others_are_not_taken_for_ours() -> None:
    ours = ["-A KUBE-SERVICES -j X", "-A INPUT -j CILIUM_INPUT", ":OLD_CILIUM_FORWARD - [0:0]"]
    theirs = ["-A INPUT -p tcp --dport 22 -j ACCEPT", ":DOCKER - [0:0]", "-A FORWARD -j DOCKER"]
    assert all(traces._CHAIN.search(line) for line in ours)
    assert not any(traces._CHAIN.search(line) for line in theirs)
    assert traces._INTERFACE.match("lxc2e6e5ef65ab6")
    assert not any(traces._INTERFACE.match(name) for name in ("lxcbr0", "eth0", "veth1", "docker0"))


def test_the_page_on_shared_stores_allows_redis_users_what_the_local_cluster_does() -> None:
    page = (places.ROOT / "docs" / "platform" / "shared-stores.md").read_text()
    assert stores.REDIS_COMMANDS in " ".join(page.split())
