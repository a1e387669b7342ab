"""instructor in all its modes for OpenAI and Anthropic, against the demo provider, which obeys schemas."""

from collections.abc import Iterable

import anthropic
import instructor
import openai
from checks import DEMO, KEY, ROOT, check, main
from pydantic import BaseModel

QUESTION = [{"role": "user", "content": "Extract: Jason is 25 years old."}]
OPENAI = ("TOOLS", "TOOLS_STRICT", "JSON", "JSON_SCHEMA", "MD_JSON", "PARALLEL_TOOLS", "RESPONSES_TOOLS")
ANTHROPIC = ("ANTHROPIC_TOOLS", "ANTHROPIC_JSON")


class Person(BaseModel):
    name: str
    age: int


def checks_of(name, make, **more):
    mode = getattr(instructor.Mode, name, None)

    def extract():
        assert mode is not None, "this version has no such mode"
        asked = {"model": DEMO, "messages": QUESTION, "max_retries": 1, **more}
        if name == "PARALLEL_TOOLS":
            assert all(isinstance(one, Person) for one in make(mode).create(response_model=Iterable[Person], **asked))
        else:
            assert isinstance(make(mode).create(response_model=Person, **asked), Person)

    extract.__name__ = f"{name.lower()}_plain"
    check(extract)


def of_openai(mode):
    return instructor.from_openai(openai.OpenAI(base_url=f"{ROOT}/v1", api_key=KEY, max_retries=0), mode=mode)


def of_anthropic(mode):
    return instructor.from_anthropic(anthropic.Anthropic(base_url=ROOT, api_key=KEY, max_retries=0), mode=mode)


for one in OPENAI:
    checks_of(one, of_openai)
for one in ANTHROPIC:
    checks_of(one, of_anthropic, max_tokens=500)
main()
