"""What a person does on the tenant's page."""

from tests.support.browser import Browser

SECTIONS = ("overview", "chat", "sessions", "agents", "tools", "usage", "connect")


class Visit:
    """One person at one runtime's page."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser = browser
        self.url = url

    def open(self) -> None:
        """Open the page as a stranger."""
        self.browser.open(f"{self.url}/ui")
        self.browser.one("#key")

    def sign_in(self, key: str, *, keep: bool = False) -> None:
        """Open the page and sign in."""
        self.open()
        self.try_key(key, keep=keep)
        self.browser.one("#main h1")

    def try_key(self, key: str, *, keep: bool = False) -> None:
        """Show a key, whether or not it is accepted."""
        self.browser.write("#key", key)
        if keep:
            self.browser.click("#keep")
        self.browser.click("#login button", "Sign in")

    def go(self, section: str) -> None:
        """Open a section by its link and wait until it has loaded."""
        self.browser.click(f'nav a[href="#{section}"]')
        self.settle()

    def settle(self) -> None:
        """Wait until nothing loads any more."""
        self.browser.wait(
            lambda: self.browser.all("#main h1") and not self.browser.all(".card[aria-busy=true]"),
            "all parts of the section have loaded",
        )

    def chat_with(self, agent: str) -> None:
        """Open the chat and choose an agent."""
        self.go("chat")
        self.browser.click(f'.heading select option[value="{agent}"]')

    def say(self, text: str) -> None:
        """Send a message."""
        self.browser.write("#message", text)
        self.browser.click(".composer button", "Send")

    def answered(self) -> str:
        """Wait until the answer is whole and return its text."""
        self.browser.one("#chat-state", "Answered.")
        return self.browser.all(".turn.assistant .text")[-1].text
