"""`python -m tests.upstream --port P`: serve until killed; the first line printed is the port (0 = any free one)."""

import argparse
import asyncio
import contextlib

from tests.upstream.server import serve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(arguments.port))


if __name__ == "__main__":
    main()
