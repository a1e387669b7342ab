"""A process that says how requests leave: a pickled case a line in, fingerprints out. For the law of determinism.

It keeps what it has read and walks each conversation forwards, where the test walks it backwards without a memory.
"""

import base64
import hashlib
import pickle
import sys

from gateway.wire.chat import Memo
from tests.laws.driving import counter_of, leave


def main() -> None:
    memo = Memo()
    for line in sys.stdin.buffer:
        case, count = pickle.loads(base64.b64decode(line))
        counter = counter_of(count)
        left = [leave(case.talk.body(upto), case.policy, case.model, counter, memo) for upto in case.talk.requests()]
        prints = [hashlib.sha256(one.fingerprint()).hexdigest()[:16] for one in reversed(left)]
        print(*prints, flush=True)


if __name__ == "__main__":
    main()
