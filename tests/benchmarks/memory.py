"""Peak resident memory of one training step, each side in a fresh process.

    python tests/benchmarks/memory.py [--data FOLDER] [--max-memory-gb 0.1 4] [--seed 1] [--quick]

The peak holds everything: Python, torch, data, weights, AdamW's moments, activations. The second column leaves out what
stands before the step (Python, torch, the data and the weights), so that it shows what the procedure itself needs.
"""

import pathlib
import resource
import subprocess
import sys

import bench
import padded
import throughput

AIM = 4
MIB = 2**20
OURS, BATCH_PADDED, REFERENCE = 'q2_aam', 'batch-padded', "reference's defaults"
OURS_WITH_GB = f'{OURS}, max_memory_gb '


def one_step(side, options):
    """Do one training step as `side` does; print peak resident memory before and after it, in MiB."""
    study = bench.read_data(options.data)
    rows = bench.spread_rows(study, throughput.BATCH)
    reference = side == REFERENCE
    form = padded.REFERENCE_FORM if reference else {}
    if side not in (OURS, BATCH_PADDED, REFERENCE):
        form = {'max_memory_gb': float(side.removeprefix(OURS_WITH_GB))}
    config = bench.configuration(study, **form)
    network, loss = bench.our_network(study, config, options.seed, options.device)
    if side in (BATCH_PADDED, REFERENCE):
        procedure = padded.REFERENCE if reference else padded.Procedure()
        network = padded.PaddedNetwork(network, procedure).to(options.device)
        loss = padded.padded_loss(study, bench.random_distances(study, options.seed), config, procedure, options.device)
    if reference or options.quick:
        rows = throughput.thinned(study, rows, padded.REFERENCE_BATCH)
    step = bench.training_step(network, loss, config)
    before = peak()
    step(rows)
    print(f'{before:.0f} {peak():.0f} {len(rows)}')


def peak():
    """Return the peak resident memory of this process so far, in MiB."""
    unit = 1 if sys.platform == 'darwin' else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB


def measured(side):
    """Return (MiB before the step, at its peak, samples) of `side`, from a fresh process with the same arguments."""
    command = [sys.executable, str(pathlib.Path(__file__).resolve()), *sys.argv[1:], '--side', side]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return tuple(map(float, done.stdout.split()[-3:]))


def against(ratio, side):
    """Return `side`'s ratio to ours in words."""
    return bench.verdict(ratio, AIM) if side == REFERENCE else f'{ratio:.1f}x'


def main():
    options = bench.arguments(
        __doc__,
        **{
            'max-memory-gb': {'type': float, 'nargs': '*', 'default': [4.0], 'help': 'of ours, beside the default'},
            'side': {'help': 'do one step of this side, in this process'},
        },
    )
    if options.side:
        one_step(options.side, options)
        return
    bench.say_machine(options)
    sides = (OURS, *(f'{OURS_WITH_GB}{gb:g}' for gb in options.max_memory_gb), BATCH_PADDED, REFERENCE)
    peaks = {side: measured(side) for side in sides}
    ours = peaks[OURS]
    bench.say_table(
        ('', 'samples', 'peak MiB', 'of the step', 'peak against q2_aam', 'of the step'),
        [
            (
                side,
                f'{samples:.0f}',
                f'{after:.0f}',
                f'{after - before:.0f}',
                against(after / ours[1], side),
                against((after - before) / (ours[1] - ours[0]), side),
            )
            for side, (before, after, samples) in peaks.items()
        ],
    )


if __name__ == '__main__':
    main()
