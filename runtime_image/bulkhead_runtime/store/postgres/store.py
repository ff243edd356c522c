"""The shared store of record of one organization: all ports on one pool of connections."""

import logging
from pathlib import Path

from bulkhead_runtime import errors
from bulkhead_runtime.store.postgres.conversations import Conversations
from bulkhead_runtime.store.postgres.lane import Epoch, Lane
from bulkhead_runtime.store.postgres.migrations import SchemaError, needed_version
from bulkhead_runtime.store.postgres.pool import UNPREPARED, Pool
from bulkhead_runtime.store.postgres.records import Records
from bulkhead_runtime.store.postgres.signals import Signals
from bulkhead_runtime.store.postgres.spending import Spending

log = logging.getLogger(__name__)

_INTRODUCTION = """
SELECT bulkhead.organization(), role.rolsuper OR role.rolbypassrls,
    (SELECT max(version) FROM bulkhead.migrations)
FROM pg_roles AS role WHERE role.rolname = session_user
"""
_ENROL = """
INSERT INTO bulkhead.organizations (organization) VALUES (bulkhead.organization())
ON CONFLICT DO NOTHING RETURNING 1
"""


class PostgresStore(Conversations, Spending, Records):
    """Keeps everything of one organization in PostgreSQL; used within one event loop."""

    def __init__(self, pool: Pool, organization: str) -> None:
        self._organization = organization
        self._epoch = Epoch()
        self.signals: Signals = Signals()
        super().__init__(pool, Lane(pool, self._epoch))

    @property
    def corrupt(self) -> bool:
        """Return False: a restart of the runtime mends nothing in PostgreSQL."""
        return False

    @property
    def set_aside(self) -> Path | None:
        """Return None: nothing is ever set aside."""
        return None

    async def recover(self) -> None:
        """See that this is the right place, then free what holders that are gone worked on.

        Raises `SchemaError` for tables that are too old, for a role that sees another
        organization and for one that row-level security does not hold.
        """
        await self._introduce()
        await self._pool.ask(_ENROL)
        released = await self.release_abandoned()
        if released:
            log.warning("Interrupted work released", extra={"released": released})

    async def check(self) -> None:
        """Ask PostgreSQL for the least there is; raise a 503 `Problem` when it does not answer."""
        await self._pool.ask("SELECT 1")

    async def close(self) -> None:
        """Write what waits and close every connection."""
        await self._lane.close()
        await self._pool.close()

    async def _introduce(self) -> None:
        try:
            ((organization, unbound, version),) = await self._pool.ask(_INTRODUCTION)
        except errors.Problem as problem:
            if problem.code == UNPREPARED:
                raise SchemaError(problem.message) from problem
            raise
        if version < needed_version():
            raise SchemaError(
                f"PostgreSQL has the tables of version {version}, this release needs "
                f"{needed_version()}: run `python -m bulkhead_runtime.store.postgres migrate`"
            )
        if unbound:
            raise SchemaError(
                "the role in spec.storage.postgres.secretRef is a superuser or has BYPASSRLS, so "
                "nothing would keep organizations apart: use the role that `provision` makes"
            )
        if organization != self._organization:
            raise SchemaError(
                f"the role in spec.storage.postgres.secretRef sees organization {organization!r}, "
                f"not {self._organization!r}: run `python -m bulkhead_runtime.store.postgres "
                f"provision --organization {self._organization}`"
            )
