"""The folders stay what they are meant to be."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_folder_named_operator_never_shadows_the_standard_library() -> None:
    program = "import collections, operator; print(operator.__file__)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {program}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(ROOT) not in done.stdout
    assert not (ROOT / "operator" / "__init__.py").exists()


def test_no_file_is_named_for_nothing() -> None:
    vague = {"utils.py", "util.py", "helpers.py", "misc.py", "common.py"}
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.py"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert [path for path in listed.stdout.split() if Path(path).name in vague] == []
