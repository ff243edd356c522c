"""What an audit of models tells: who would have been stopped, once per run, and nobody is."""

from bulkhead_api.v1alpha1.policies import ModelPolicy, ModelRule, ToolPolicy
from bulkhead_runtime.events.port import Event
from bulkhead_runtime.kernel.reports import Reports
from bulkhead_runtime.kernel.watched_models import WatchedModels
from bulkhead_runtime.policy.engine import CompiledPolicies
from bulkhead_runtime.telemetry.metrics import Metrics
from tests.support.contexts import execution_context

DEAR = ModelRule(name="dear", effect="Deny", match=("*/large",))


class Heard:
    """Takes events, as the bus does."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def publish(self, event: Event) -> None:
        self.events.append(event)


def watched(policy: ModelPolicy) -> tuple[WatchedModels, Heard]:
    engine, heard = CompiledPolicies(), Heard()
    engine.configure(ToolPolicy(), policy)
    return WatchedModels(engine, Reports(heard, Metrics())), heard


def test_an_audit_reports_once_per_run_what_it_would_have_denied() -> None:
    models, heard = watched(ModelPolicy(mode="Audit", rules=(DEAR,)))
    context, other = execution_context(), execution_context()
    for _ in range(3):
        assert models.decide_model("hosted/large", "assistant", context).proceeds
    assert models.decide_model("hosted/small", "assistant", context).proceeds
    assert models.decide_model("hosted/large", "assistant", other).proceeds
    assert [event.run_id for event in heard.events] == [context.run_id, other.run_id]
    told = heard.events[0]
    assert (told.type, told.principal) == ("model.denied", "ann")
    assert told.data["model"] == "hosted/large"
    assert told.data["audit"] is True
    assert "organization/dear" in told.data["reason"]


def test_a_policy_that_is_enforced_reports_by_its_refusal_alone() -> None:
    models, heard = watched(ModelPolicy(rules=(DEAR,)))
    assert not models.decide_model("hosted/large", "assistant", execution_context()).proceeds
    assert heard.events == []
