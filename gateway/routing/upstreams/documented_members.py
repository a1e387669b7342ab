"""Members of requests that litellm 1.106 writes otherwise than their APIs define them, written as they are defined."""

from __future__ import annotations

from typing import Any, Final

_PART_OF: Final = "_convert_content_to_responses_format"
_BODY_OF: Final = "transform_request"


def write_as_documented(to_responses: Any, to_claude: Any, also: tuple[type, ...] = ()) -> None:
    """Mend litellm's two classes that write requests for Responses and for Anthropic's own API, once; `also` are those
    that inherit the second, and ask the same API.
    """
    content_of, body_of = getattr(to_responses, _PART_OF), getattr(to_claude, _BODY_OF)
    if content_of.__module__ == __name__:
        return

    def content(self: Any, said: Any, role: str, **more: Any) -> Any:
        """Leave what the assistant said a text: a part of it needs the id that OpenAI gave it
        (platform.openai.com/docs/api-reference/responses/create, `input`).
        """
        return said if role == "assistant" and isinstance(said, str) else content_of(self, said, role, **more)

    def body(self: Any, *given: Any, **named: Any) -> Any:
        """Write the form of the answer where Anthropic has it since it is no beta
        (platform.claude.com/docs/en/build-with-claude/structured-outputs).
        """
        written = body_of(self, *given, **named)
        if type(self) in (to_claude, *also) and (form := written.pop("output_format", None)) is not None:
            written["output_config"] = {**(written.get("output_config") or {}), "format": form}
        return written

    setattr(to_responses, _PART_OF, content)
    setattr(to_claude, _BODY_OF, body)
