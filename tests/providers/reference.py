"""Ask every provider by litellm alone, as it comes: what it sends is what the gateway is compared with.

    python -m tests.providers.reference PARAMS.json

PARAMS.json: by name, the `litellm_params`. Each is asked twice, plain and streamed; answers are thrown away. Writes
homes.json beside it: the address that litellm knows of each provider.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

PLAIN: dict[str, Any] = {"messages": [{"role": "user", "content": "How are you?"}], "max_tokens": 7}
AT_ONCE = 8


async def _ask(params: dict[str, Any], stream: bool, free: asyncio.Semaphore) -> None:
    import litellm

    async with free:
        try:
            async with asyncio.timeout(20):
                answer = await litellm.acompletion(**PLAIN, **params, stream=stream, drop_params=True)
                if stream:
                    _ = [chunk async for chunk in answer]
        except Exception as error:  # noqa: BLE001  # what it makes of the answer is its own affair
            print(params["model"], stream, type(error).__name__, str(error)[:300], file=sys.stderr)


def _home(name: str) -> str | None:
    """Return the address that litellm has for a provider, where it has one before the request."""
    import litellm

    address: str | None = litellm.get_llm_provider(f"{name.partition('+')[0]}/m", api_key="k")[3]
    return address


async def _main(path: str) -> None:
    import litellm

    litellm.suppress_debug_info = True
    logging.disable(logging.CRITICAL)
    free = asyncio.Semaphore(AT_ONCE)
    named: dict[str, dict[str, Any]] = json.loads(Path(path).read_text(encoding="utf-8"))
    Path(path).with_name("homes.json").write_text(json.dumps({name: _home(name) for name in named}), encoding="utf-8")
    await asyncio.gather(*[_ask(params, stream, free) for params in named.values() for stream in (False, True)])


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
    sys.stdout.flush()
    os._exit(0)  # its clients are never closed, and would complain
