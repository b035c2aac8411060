"""The command of a process of a training in which something goes wrong, as the environment variable FAULT says."""

import os
import pathlib
import signal
import sys
import time

from torch._dynamo.utils import counters

from q2_aam.errors import UserError
from q2_aam.runtime import checkpoint
from q2_aam.training import loop, worker

# What is compiled of layers at least, beside the sum that tries the compiler.
COMPILED = 3


def after(steps_taken, fault, ranks='1'):
    """Let some ranks have a fault before a step."""
    take_step, taken = loop.take_step, []

    def taking(*inputs):
        taken.append(None)
        if len(taken) == steps_taken and os.environ['RANK'] in ranks:
            fault()
        return take_step(*inputs)

    loop.take_step = taking


def main(arguments):
    what, first = os.environ['FAULT'], os.environ['TORCHELASTIC_RESTART_COUNT'] == '0'
    # each step is saved
    checkpoint.SECONDS_BETWEEN = 0.0

    def wrong():
        raise UserError('This is wrong; mend it.')

    def broken():
        raise KeyError('this is a defect')

    def killed():
        os.kill(os.getpid(), signal.SIGKILL)

    def waiting():
        # whichever rank this machine has; once, because it is done again
        folder = pathlib.Path(arguments[0])
        (folder / 'waits').touch()
        while not (folder / 'goes-on').exists():
            time.sleep(0.1)

    if what == 'waiting':
        after(5, waiting, '01')
    elif what in ('wrong', 'broken'):
        after(2, wrong if what == 'wrong' else broken)
    elif what == 'killed' and first:
        after(5, killed)
    elif what == 'killed for ever':
        after(2, killed)
    elif what == 'slow':
        pathlib.Path(arguments[0], f'pid-{os.environ["RANK"]}').write_text(str(os.getpid()))
        after(2, signal.pause)
    status = worker.main(arguments)
    if what == 'compiled' and counters['frames']['ok'] < COMPILED:
        return 8
    # a process of a training has nothing of QIIME 2
    return 9 if {'qiime2', 'rachis', 'q2cli'} & set(sys.modules) else status


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
