"""Runs health checks and actions in Lua under the conditions that Argo CD runs them.

Argo CD embeds Lua 5.1 with the base, table and package libraries and an `os` that only tells the
time; the object is the global `obj`, an action's parameters are `actionParams`.
"""

from collections.abc import Mapping
from typing import Any

from lupa import lua51

_TAKEN_AWAY = """
getmetatable("").__index = nil
string, math, io, debug, coroutine, python = nil, nil, nil, nil, nil, nil
os = { time = os.time, date = os.date }
"""


class ScriptError(Exception):
    """The script ended with an error; the message is what the person in Argo CD reads."""


def run(script: str, live: Mapping[str, Any], parameters: Mapping[str, str] | None = None) -> Any:
    """Return what a script returns for an object, as JSON would hold it."""
    runtime = lua51.LuaRuntime(unpack_returned_tuples=False)
    runtime.execute(_TAKEN_AWAY)
    names = runtime.globals()
    names["obj"] = runtime.table_from(live, recursive=True)
    if parameters is not None:
        names["actionParams"] = runtime.table_from(parameters)
    try:
        return _plain(runtime.execute(script))
    except lua51.LuaError as error:
        raise ScriptError(str(error)) from error


def changed(
    script: str, live: Mapping[str, Any], parameters: Mapping[str, str] | None = None
) -> Any:
    """Return the object as an action leaves it."""
    return _restored(run(script, live, parameters), live)


def _plain(value: Any) -> Any:
    if lua51.lua_type(value) != "table":
        return value
    length = len(value)
    if length == len(list(value.keys())):
        return [_plain(value[index]) for index in range(1, length + 1)]
    return {key: _plain(each) for key, each in value.items()}


def _restored(returned: Any, live: Any) -> Any:
    """Return an empty table as what it was: Lua does not tell lists from maps, Argo CD helps."""
    if returned == [] and isinstance(live, Mapping):
        return dict(live)
    if isinstance(returned, dict) and isinstance(live, Mapping):
        return {key: _restored(each, live.get(key)) for key, each in returned.items()}
    if isinstance(returned, list) and isinstance(live, list):
        pairs = zip(returned, live, strict=True)
        return [_restored(mine, theirs) for mine, theirs in pairs]
    return returned
