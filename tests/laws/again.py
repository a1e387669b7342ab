"""A process that says how requests leave: a pickled case a line in, fingerprints out. For the law of determinism.

It keeps what it has read and walks each conversation forwards, also over requests that no client needs to have sent,
where the test walks it backwards without a memory.
"""

import base64
import hashlib
import pickle
import sys

from gateway.rewriting.memory import Known
from gateway.wire.memo import Memo
from tests.laws.driving import counter_of, leave


def main() -> None:
    memo, known = Memo(), Known()
    for line in sys.stdin.buffer:
        case, count = pickle.loads(base64.b64decode(line))
        counter = counter_of(count)
        bodies = [case.talk.body(upto) for upto in case.talk.prefixes()]
        left = [leave(body, case.policy, case.model, counter, memo, known=known) for body in bodies]
        prints = [hashlib.sha256(one.fingerprint()).hexdigest()[:16] for one in reversed(left)]
        print(*prints, flush=True)


if __name__ == "__main__":
    main()
