"""A real Redis that keeps nothing on disk, as a cache should."""

import functools
import secrets
import signal

import redis

from tests.support.servers import Server, binary

_ALLOWED = (
    "-@all +@hash +@string +del +expire +eval +evalsha +script|load +publish +subscribe "
    "+unsubscribe +ping +hello +auth +select +client|setname +time"
)
"""As docs/platform/shared-stores.md says it."""


class Redis:
    """One server, for any number of organizations."""

    def __init__(self) -> None:
        self.server = Server("redis", user="redis")
        self._users: dict[str, str] = {}
        self.start()

    @property
    def url(self) -> str:
        """Return the address of the user who may do everything."""
        return f"redis://127.0.0.1:{self.server.port}"

    def add_organization(self, name: str, password: str | None = None) -> str:
        """Make an organization's user, as the documentation says; return its address."""
        password = password or secrets.token_hex(12)
        self._users[name] = f"reset on >{password} ~bulkhead:{name}:* &bulkhead:{name}:* {_ALLOWED}"
        self.restore_users()
        return f"redis://{name}:{password}@127.0.0.1:{self.server.port}"

    def restore_users(self) -> None:
        """Make all users, whom a restarted server that keeps nothing has forgotten."""
        with redis.Redis.from_url(self.url) as client:
            for name, rules in self._users.items():
                client.execute_command("ACL", "SETUSER", name, *rules.split())

    def start(self) -> None:
        """Start it, empty."""
        program = binary("redis-server", "redis-server", "usr/bin")
        self.server.launch(
            [
                program,
                *("--port", str(self.server.port), "--bind", "127.0.0.1"),
                *("--save", "", "--appendonly", "no", "--dir", self.server.folder),
            ],
            self.server.listens,
        )

    def kill(self) -> None:
        """End it as an outage does."""
        self.server.stop(signal.SIGKILL)

    def hang(self) -> None:
        """Let it accept connections and answer nothing, until `resume`."""
        self.server.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it answer again."""
        self.server.send(signal.SIGCONT)

    def close(self) -> None:
        """End it."""
        self.server.close()


@functools.cache
def shared_redis() -> Redis:
    """Return the one Redis of this test process, for tests that do nothing to the server."""
    return Redis()
