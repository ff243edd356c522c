"""What the pages tell a person to send with curl does something at a real runtime."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pages import WRITTEN, blocks, name
from tests.support.runtime_process import KEY, RuntimeFiles, RuntimeProcess, agent, document
from tests.support.servers import binary

# Who follows a stream (-N) is content with its first line.
_SHELL = """
curl() {
  case " $* " in
    *" -N "*)
      read -r line < <(exec curl --fail -sS --max-time 60 "$@") && echo "$line"
      kill $! ;;
    *) command curl --fail-with-body -sS "$@" ;;
  esac
}
make() { [[ $1 == key ]] && echo "$KEY" || echo "$URL"; }
"""
_THERE = {
    "docs/runbooks/BulkheadKeyExpiring.md": """
        curl -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' \\
          -d '{"name": "robot", "scopes": ["agents:run"]}' "$URL/v1/api-keys"
    """
}
"""What a page takes as done before."""
_CHOSEN = re.compile(r"^export URL=.*\n")
# A page may be older than the key that it shows lives.
_ENDS = re.compile(r'(?<="expires_at": ")\d{4}')


def commands(page: Path) -> list[str]:
    """Return the page's commands of curl, in their order."""
    paragraphs = [one for block in blocks(page) for one in block.split("\n\n")]
    told = [_CHOSEN.sub("", one) for one in paragraphs]
    return [_ENDS.sub("2999", one) for one in told if one.startswith("curl ")]


PAGES = {name(page): found for page in WRITTEN if (found := commands(page))}


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    files = RuntimeFiles(tmp_path_factory.mktemp("runtime"))
    files.follow((document("1.0.0", agent(tools=["calculate", "current_time"])), 100))
    path = f"{binary('curl', 'curl', 'usr/bin').parent}{os.pathsep}{os.environ['PATH']}"
    with RuntimeProcess(files) as runtime:
        yield {"PATH": path, "URL": runtime.url, "KEY": KEY, "TRACE_ID": "0" * 32}


@pytest.mark.parametrize("page", PAGES)
def test_every_request_of_a_page_is_answered(shell: dict[str, str], page: str) -> None:
    if page in _THERE:
        _answer(shell, _THERE[page])
    for command in PAGES[page]:
        assert _answer(shell, command) or "-X DELETE" in command, command


def _answer(shell: dict[str, str], command: str) -> str:
    script = f"{_SHELL}\n{command}"
    argv = ["bash", "-ec", script]
    done = subprocess.run(argv, env=shell, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stderr}\n{done.stdout}"
    return done.stdout
