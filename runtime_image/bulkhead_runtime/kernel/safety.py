"""What is done about suspicious input: spec.safety.injection."""

from typing import Final

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.execution import Execution
from bulkhead_runtime.kernel.reports import Reports
from bulkhead_runtime.tools.untrusted import flags

_REFUSED: Final = 422


class Injection:
    """Flags signs of an attempt to give an agent other orders; refuses only where told to."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    def __call__(self, execution: Execution) -> None:
        """Look at what users wrote; raise a 422 `Problem` where that is to be refused."""
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
