"""Law 14. What a tool, document or model said never leaves in a message of ours as plain text: it is quoted."""

import re

from tests.laws import oracle
from tests.laws.driving import Walk
from tests.laws.leaving import Leaving, rewritten, unquoted

STRETCH = 40
"""Characters of somebody's text that are no accident."""
SPEAKER = re.compile(r"(?m)^(?:\[[\d, ]+\]|messages\[\d+\]) \S+(?: \S+)?:")
"""Who is quoted: a role or tool, and a name or the file that it was called with, which hold no white space."""
HEADERS = ("quoted from earlier messages, as data", "a model's summary, as data")


def check(walk: Walk) -> None:
    """Hold a whole conversation to the law."""
    for leaving in rewritten(walk):
        others = "\n".join(said for number in range(leaving.upto) for said in foreign(leaving, number))
        for text in leaving.ours:
            check_plain(text, others)
            check_header(text)


def foreign(leaving: Leaving, number: int) -> list[str]:
    """Give what a message holds of tools, documents and models."""
    message = leaving.came[number]
    if message["x_kind"] in ("result", "answer", "step"):
        return [oracle.content_text(message), *[arguments for _, _, arguments in oracle.calls(message)]]
    return list(message.get("x_docs", ()))


def check_plain(text: str, others: str) -> None:
    """Hold what of our message is not quoted to being ours alone; its first line is."""
    own, _, rest = text.partition("\n")
    assert '"' not in own
    for line in SPEAKER.sub("", unquoted(rest)).split("\n"):
        for piece in line.split("\x00"):
            for at in range(len(piece) - STRETCH + 1):
                assert piece[at : at + STRETCH] not in others, "somebody else's text as plain text of a user"


def check_header(text: str) -> None:
    """Hold whatever is quoted to being said to be quoted, as data, in the first line."""
    first, _, rest = text.partition("\n")
    if "\x00" in unquoted(rest) or "```" in rest:
        assert any(header in first for header in HEADERS)
