"""Takes the pictures of the documentation: `python -m tests.ui.screenshots`, in docs/images.

Also prints what the page weighs and how soon it is painted.
"""

import asyncio
import gzip
import tempfile
from pathlib import Path

from bulkhead_api.v1alpha1.models import ModelPrice
from tests.support import stub_provider
from tests.support.browser import Browser
from tests.support.runtime.tenants import Tenant, talk
from tests.support.runtime_process import KEY, REPOSITORY, RuntimeProcess, agent, document
from tests.ui.visits import Visit

IMAGES = REPOSITORY / "docs" / "images"
_UI = REPOSITORY / "runtime_image" / "bulkhead_runtime" / "ui"
_TITLES = ("Quarterly figures", "Refund of order 1182", "The handbook in French", "First day")
_PAINTED = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime.toFixed(0)"


_HELPERS = (
    agent("assistant", description="Answers questions and calculates.", tools=["calculate"]),
    agent("support", description="Knows orders, returns and parcels.", model="hosted/words"),
    agent("translator", description="Writes German, French and Spanish."),
)
_LIBRARIAN = agent("librarian", description="Knows the handbook.", tools=["current_time"])
_PACKAGES = (
    (document("1.4.0", *_HELPERS), 90),
    (document("1.5.0", *_HELPERS), 10),
    (document("2.0.3", _LIBRARIAN, package="library"), 100),
)
_PRICE = ModelPrice(model="hosted/words", input_per_million="15", output_per_million="60")


def main() -> None:
    """Write every picture anew."""
    with stub_provider.running() as provider, tempfile.TemporaryDirectory() as folder:
        tenant = Tenant(Path(folder), provider)
        tenant.follow(
            *_PACKAGES,
            prices=(_PRICE,),
            budgets={"day": {"tokens": 5_000, "cost": "1.00"}},
        )
        with tenant.running() as runtime:
            asyncio.run(_work(runtime))
            browser = Browser(width=1200, height=860)
            try:
                _take(Visit(browser, runtime.url))
            finally:
                browser.close()
    _weigh()


async def _work(runtime: RuntimeProcess) -> None:
    """Let the organization have talked."""
    for number in range(8):
        title = _TITLES[number % len(_TITLES)]
        session_id = await talk(runtime, f"What is {number} times 7?", title=title)
        await talk(runtime, "Thank you. And twice that?", session_id=session_id)
    for _ in range(40):
        await talk(runtime, "Where is my parcel?", "support", title="Where is my parcel?")
    await talk(runtime, "How many days off do I have?", "librarian", title="Days off")


def _take(visit: Visit) -> None:
    browser = visit.browser
    browser.prefer("light", motion=False)
    visit.open()
    print(f"first paint after {browser.run(_PAINTED)} ms")
    visit.sign_in(KEY)

    def recorded() -> bool:
        visit.go("tools")
        visit.go("overview")
        return "Executions\n0" not in browser.one("#main").text

    browser.wait(recorded, "the last hour is recorded")
    for section in ("overview", "agents", "usage"):
        visit.go(section)
        browser.picture(IMAGES / f"ui-{section}.png")
    browser.prefer("dark", motion=False)
    visit.chat_with("assistant")
    visit.say("What is 6 * 7?")
    visit.answered()
    visit.say("And what is 42 * 365?")
    browser.wait(lambda: len(browser.all(".turn.assistant .fine")) == 2, "both are answered")
    visit.answered()
    browser.picture(IMAGES / "ui-chat-dark.png")
    browser.resize(390, 780)
    visit.go("overview")
    browser.picture(IMAGES / "ui-phone-dark.png")


def _weigh() -> None:
    files = [file.read_bytes() for file in _UI.rglob("*") if file.is_file()]
    packed = sum(len(gzip.compress(content)) for content in files)
    print(f"{len(files)} files, {sum(map(len, files)):,} bytes, {packed:,} as they are sent")


if __name__ == "__main__":
    main()
