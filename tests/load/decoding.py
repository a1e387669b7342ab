"""Random byte strings through every decoder of the state: a value that can be used and written again, or one error.

python -m tests.load.decoding --rounds 100000
"""

import argparse
import random
import sys
import time
from dataclasses import dataclass, field

from tests.nonsense import KINDS, nonsense


@dataclass
class Outcome:
    """What was read."""

    rounds: int
    understood: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        told = f"{self.rounds:,} byte strings through each of {len(KINDS)} decoders in {self.seconds:.0f} s"
        return "\n".join(
            [f"{told}, {self.understood:,} understood, {len(self.problems)} problems", *self.problems[:20]]
        )


def measure(rounds: int, seed: int = 1) -> Outcome:
    """Read so many byte strings with each decoder: half of them random, half made of a value that was written."""
    outcome, draw, began = Outcome(rounds), random.Random(seed), time.monotonic()
    for kind in KINDS:
        for number in range(rounds):
            raw = draw.randbytes(draw.randrange(64)) if number % 2 else nonsense(draw, kind.genuine)
            try:
                outcome.understood += kind.take_in(raw)
            except Exception as error:  # noqa: BLE001  # any is a problem
                outcome.problems.append(f"{kind.codec.kind}: {raw[:200]!r}: {error!r}")
    outcome.seconds = time.monotonic() - began
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    outcome = measure(arguments.rounds, arguments.seed)
    print(outcome)
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
