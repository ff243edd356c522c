"""Policies: ordered rules that decide about every call of a tool or a model."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from bulkhead_api.schema import LIST_ATOMIC, LIST_SET, ApiModel, list_map, rule, rules
from bulkhead_api.v1alpha1.patterns import DNS_LABEL, GLOB

Risk = Literal["low", "medium", "high"]
Mode = Literal["Enforce", "Audit"]

RuleName = Annotated[
    str,
    Field(
        description="Name that decisions, events and errors carry.",
        min_length=1,
        max_length=63,
        pattern=DNS_LABEL,
    ),
]
Glob = Annotated[str, Field(min_length=1, max_length=256, pattern=GLOB)]
_MODE = Field(
    description=(
        "Enforce carries decisions out. Audit lets every call through that only the "
        "organization's own rules would stop, and reports what they would have decided; policies "
        "that a request selects or the API added are still enforced."
    )
)


def _patterns(description: str) -> object:
    return Field(description=description, max_length=16, json_schema_extra=LIST_SET)


class ModelRule(ApiModel):
    """One rule; it decides when everything that it names matches."""

    name: RuleName
    effect: Annotated[
        Literal["Allow", "Deny", "RequireApproval"],
        Field(
            description=(
                "What matching calls get. RequireApproval denies and says so for as long as "
                "nobody can be asked."
            )
        ),
    ]
    match: Annotated[
        tuple[Glob, ...],
        _patterns("Names that match: '*' stands for any characters, '?' for one."),
    ] = ("*",)
    agents: Annotated[
        tuple[Glob, ...], _patterns("Agents for which the rule holds; all when empty.")
    ] = ()
    principals: Annotated[
        tuple[Glob, ...], _patterns("Principals for whom the rule holds; all when empty.")
    ] = ()
    scopes: Annotated[
        tuple[Glob, ...],
        _patterns("The rule holds for keys with one of these scopes; for all when empty."),
    ] = ()


class ArgumentCondition(ApiModel):
    """A condition on one argument of a tool's call."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "(has(self.values) && self.values.size() > 0) != (self.operator == 'Exists')",
                "must be empty for the operator 'Exists' and name at least one value for every "
                "other",
                field_path=".values",
            ),
            rule(
                "self.operator != 'Equals' || !has(self.values) || self.values.size() <= 1",
                "must be one value for the operator 'Equals': use 'In' for several",
                field_path=".values",
            ),
            rule(
                "!(self.operator in ['LessOrEqual', 'GreaterOrEqual']) || "
                "(has(self.values) && self.values.size() == 1 && "
                "self.values[0].matches('^-?[0-9]{1,15}([.][0-9]{1,6})?$'))",
                "must be one number for the operators 'LessOrEqual' and 'GreaterOrEqual'",
                field_path=".values",
            ),
        )
    )

    path: Annotated[
        str,
        Field(
            description="JSON pointer of the argument, for example '/amount'.",
            max_length=128,
            pattern=r"^(/[^/\s]+)+$",
        ),
    ]
    operator: Annotated[
        Literal["Equals", "In", "Matches", "LessOrEqual", "GreaterOrEqual", "Exists"],
        Field(
            description=(
                "How the argument is compared: as text with Equals, In and Matches ('*' stands "
                "for any characters, '?' for one), as a number with LessOrEqual and "
                "GreaterOrEqual. An argument that is absent satisfies none."
            )
        ),
    ]
    values: Annotated[
        tuple[Annotated[str, Field(max_length=128)], ...],
        Field(
            description="What it is compared with; Matches and In hold when one value does.",
            max_length=16,
            json_schema_extra=LIST_ATOMIC,
        ),
    ] = ()


class ToolRule(ModelRule):
    """One rule about tools."""

    risks: Annotated[
        tuple[Risk, ...],
        Field(
            description="Risk levels of tools for which the rule holds; all when empty.",
            max_length=3,
            json_schema_extra=LIST_SET,
        ),
    ] = ()
    arguments: Annotated[
        tuple[ArgumentCondition, ...],
        Field(
            description="Conditions on the call's arguments, all of which must hold.",
            max_length=8,
            json_schema_extra=LIST_ATOMIC,
        ),
    ] = ()


_RULES = "Rules in their order: the first that matches decides."
_NAMED = "Policies that a request may select by name; they only narrow."


class NamedModelPolicy(ApiModel):
    """Rules that a request may select; a call must pass them and the organization's own."""

    name: RuleName
    rules: Annotated[
        tuple[ModelRule, ...],
        Field(
            description=f"{_RULES} A model that none matches is denied.",
            min_length=1,
            max_length=32,
            json_schema_extra=list_map("name"),
        ),
    ]


class NamedToolPolicy(ApiModel):
    """Rules that a request may select; a call must pass them and the organization's own."""

    name: RuleName
    rules: Annotated[
        tuple[ToolRule, ...],
        Field(
            description=f"{_RULES} A tool that none matches is denied.",
            min_length=1,
            max_length=32,
            json_schema_extra=list_map("name"),
        ),
    ]


class ModelPolicy(ApiModel):
    """Which models may be called by whom."""

    mode: Annotated[Mode, _MODE] = "Enforce"
    rules: Annotated[
        tuple[ModelRule, ...],
        Field(
            description=(
                f"{_RULES} A model that none matches is allowed within `spec.models.allowed`."
            ),
            max_length=64,
            json_schema_extra=list_map("name"),
        ),
    ] = ()
    named: Annotated[
        tuple[NamedModelPolicy, ...],
        Field(description=_NAMED, max_length=8, json_schema_extra=list_map("name")),
    ] = ()


class ToolPolicy(ApiModel):
    """Which tools may be called by whom, with which arguments."""

    mode: Annotated[Mode, _MODE] = "Enforce"
    rules: Annotated[
        tuple[ToolRule, ...],
        Field(
            description=f"{_RULES} A tool that none matches is denied.",
            max_length=64,
            json_schema_extra=list_map("name"),
        ),
    ] = (ToolRule(name="harmless-built-ins", effect="Allow", match=("calculate", "current_time")),)
    named: Annotated[
        tuple[NamedToolPolicy, ...],
        Field(description=_NAMED, max_length=8, json_schema_extra=list_map("name")),
    ] = ()
