"""What an execution says about the version that carried it out."""

from bulkhead_runtime.kernel.context import HEALTH_CHECK
from bulkhead_runtime.kernel.execution import Execution
from bulkhead_runtime.models.errors import ModelError


def failed(execution: Execution, error: BaseException | None) -> bool | None:
    """Tell whether an execution speaks against its version; None where it says nothing about it.

    What a caller may not do, and what a caller stopped, is not the version's fault; a model that
    it may not use or that refuses it is, and so is what was refused after it had begun.
    """
    if execution.context.principal is HEALTH_CHECK or execution.outcome == "interrupted":
        return None
    if execution.outcome == "refused":
        of_model = error is not None and isinstance(error.__cause__, ModelError)
        return True if execution.begun or of_model else None
    return execution.outcome == "error"
