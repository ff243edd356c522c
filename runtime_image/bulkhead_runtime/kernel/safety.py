"""What is done about suspicious and harmful input: spec.safety."""

from typing import Final

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.execution import Execution, Proceed
from bulkhead_runtime.kernel.reports import Reports
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.port import Router
from bulkhead_runtime.tools.untrusted import flags

_REFUSED: Final = 422
_MAX_CATEGORIES: Final = 16


class Injection:
    """Flags signs of an attempt to give an agent other orders; refuses only where told to."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    async def __call__(self, execution: Execution, proceed: Proceed) -> None:
        """Look, then run the rest."""
        found = sorted({sign for text in execution.texts for sign in flags(text)})
        if found:
            data = {"source": "input", "patterns": found}
            self._reports.publish("safety.flagged", execution.context, data)
            if execution.configuration.source.safety.injection == "Refuse":
                raise Problem(
                    _REFUSED,
                    "injection_suspected",
                    f"The input looks like an attempt to give other orders ({', '.join(found)}), "
                    "which spec.safety.injection refuses. Say it differently.",
                    field="message",
                )
        await proceed()


class Moderated:
    """Asks the provider of spec.safety.moderation about the input before any model sees it."""

    def __init__(self, router: Router, reports: Reports) -> None:
        self._router = router
        self._reports = reports

    async def __call__(self, execution: Execution, proceed: Proceed) -> None:
        """Ask, then run the rest."""
        moderation = execution.configuration.source.safety.moderation
        if moderation is not None and execution.texts:
            try:
                verdict = await self._router.moderate(
                    "\n\n".join(execution.texts),
                    provider=moderation.provider,
                    model=moderation.model,
                    deadline=execution.deadline,
                )
            except ModelError as error:
                if moderation.on_failure == "Refuse":
                    raise _unavailable() from error
            else:
                if verdict.flagged:
                    raise self._refuse(execution, verdict.categories[:_MAX_CATEGORIES])
        await proceed()

    def _refuse(self, execution: Execution, categories: tuple[str, ...]) -> Problem:
        data = {"categories": list(categories)}
        self._reports.publish("safety.moderated", execution.context, data)
        return Problem(
            _REFUSED,
            "content_refused",
            "The provider's moderation refused the input. Say it differently.",
            field="message",
        )


def _unavailable() -> Problem:
    return Problem(
        503,
        "moderation_unavailable",
        "The input could not be moderated, and spec.safety.moderation.onFailure is Refuse. Try "
        "again later.",
        retry_after=5,
    )
