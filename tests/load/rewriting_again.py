"""A process that says how requests leave under a three-key policy: a base64 body a line in, a SHA-256 a line out.

For tests of determinism, which start it with a hash seed of its own. With `--forget` nothing is remembered from one
request to the next.

    python -m tests.load.rewriting_again 8000 [--forget]
"""

import base64
import hashlib
import sys

from gateway.budget.allocation import Window
from gateway.budget.components import dissect
from gateway.budget.tokens import Counter
from gateway.config.policy import Policy, Reserve
from gateway.rewriting.memory import Known
from gateway.rewriting.plan import Plan, plan, recognition_of
from gateway.wire.chat.read import parse
from gateway.wire.chat.write import sent
from gateway.wire.legality import CHAT
from gateway.wire.memo import Memo


def main() -> None:
    window, forgets = int(sys.argv[1]), "--forget" in sys.argv
    policy = Policy("measured", context_window=window, reserve=Reserve(0, 0))
    counter, memo, known = Counter("o200k_base"), Memo(), Known()
    for line in sys.stdin.buffer:
        request = parse(base64.b64decode(line), Memo() if forgets else memo)
        anatomy = dissect(request.conversation, recognition_of(policy), counter.count, lambda part: 0)
        bounds = Window(window, None, False, 0, 0)
        made = plan(anatomy, policy, bounds, 0, (CHAT,), counter.count, None if forgets else known)
        left = sent(request, request.model, made.changes) if isinstance(made, Plan) else b"refused"
        print(hashlib.sha256(left).hexdigest(), flush=True)


if __name__ == "__main__":
    main()
