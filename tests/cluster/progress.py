"""Steps of `up` and `down`: run side by side where they may, shown as one timed line each."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

# A line after this much silence tells a compiling step from one that hangs.
_REMIND_AFTER_SECONDS = 30.0
_LOG_LINES = 15
_TITLE_WIDTH = 62
_print_lock = threading.Lock()


class ClusterError(Exception):
    """A step cannot go on; says what failed, what to do and which log tells more."""

    def __init__(self, message: str, *, remedy: str = "", log: Path | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.log = log

    def __str__(self) -> str:
        """Return the message with the last lines of the log and what to do."""
        parts = [self.message]
        if self.log is not None and self.log.exists():
            tail = self.log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
            parts.append(f"Last lines of {self.log}:")
            parts.extend(f"  | {line}" for line in tail)
        if self.remedy:
            parts.append(f"What to do: {self.remedy}")
        return "\n".join(parts)


@dataclass(frozen=True)
class Step:
    """One thing to do; `action` may return a detail for its line, `after` names earlier steps."""

    title: str
    action: Callable[[], str | None]
    after: Sequence[str] = field(default=())


def say(text: str) -> None:
    """Print whole lines even while several steps speak at once."""
    with _print_lock:
        print(text, flush=True)


def _line(mark: str, title: str, seconds: float, detail: str | None) -> str:
    shown = f"{title}: {detail}" if detail else title
    return f"  {mark} {shown:<{_TITLE_WIDTH}} {seconds:7.1f} s"


@contextmanager
def _reminding(title: str) -> Iterator[None]:
    done = threading.Event()
    started = time.monotonic()

    def remind() -> None:
        while not done.wait(_REMIND_AFTER_SECONDS):
            say(_line("…", title, time.monotonic() - started, "still at work"))

    thread = threading.Thread(target=remind, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def timed(title: str, action: Callable[[], str | None]) -> None:
    """Run one action and print its line when it ends."""
    started = time.monotonic()
    try:
        with _reminding(title):
            detail = action()
    except BaseException:
        say(_line("✗", title, time.monotonic() - started, "failed"))
        raise
    say(_line("✓", title, time.monotonic() - started, detail))


def run_steps(steps: Sequence[Step]) -> None:
    """Run all steps, each as soon as those it comes after are done.

    After a failure nothing new is begun, but what runs may finish: a build that is half done
    would only have to be repeated.
    """
    waiting = {step.title: step for step in steps}
    done: set[str] = set()
    failures: list[BaseException] = []
    running: dict[Future[None], str] = {}
    with ThreadPoolExecutor(max_workers=max(1, len(steps))) as pool:
        while waiting or running:
            ready = [step for step in waiting.values() if done.issuperset(step.after)]
            for step in ready if not failures else []:
                del waiting[step.title]
                running[pool.submit(timed, step.title, step.action)] = step.title
            if not running:
                break
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                title = running.pop(future)
                error = future.exception()
                if error is None:
                    done.add(title)
                else:
                    failures.append(error)
    if failures:
        raise failures[0]
    if waiting:
        raise RuntimeError(f"steps wait for steps that are not there: {sorted(waiting)}")


def until(check: Callable[[], bool], *, seconds: float, what: str, log: Path | None = None) -> None:
    """Poll `check` until it holds; a ClusterError names what was waited for."""
    deadline = time.monotonic() + seconds
    pause = 0.02
    while not check():
        if time.monotonic() > deadline:
            raise ClusterError(
                f"{what}: not so after {seconds:.0f} seconds.",
                log=log,
                remedy="run `make up` again, it resumes; `make down` first starts from nothing.",
            )
        time.sleep(pause)
        pause = min(pause * 1.5, 0.3)


def warn(text: str) -> None:
    """Print to standard error, so that commands whose output is used stay clean."""
    with _print_lock:
        print(text, file=sys.stderr, flush=True)
