"""How well samples are told apart after the same number of samples seen: our defaults, and the reference's.

    python tests/benchmarks/same_samples.py [--samples 4000] [--asv-layers 4] [--sample-layers 8] [--seed 1] [--quick]

The reference's defaults are nucleotides as tokens, an MLP ratio of 4 and batches of 8; what it computes beyond
that, padding, changes nothing. Both are pretrained by the plugin, on the unweighted UniFrac from the phylogeny of
--data, a tenth of the samples held out; printed is R2 of the distances among those. What a sample costs is measured by
throughput.py.
"""

import pathlib
import tempfile
import time

import bench
from equal_compute import held_out_metrics, unpacked

from q2_aam.config import PretrainConfig

FORMS = {
    'our defaults': {},
    "the reference's": {'nucleotides_per_token': 1, 'mlp_ratio': 4, 'batch_size': 8},
}


def main():
    options = bench.arguments(
        __doc__,
        samples={'type': int, 'default': 4000, 'help': 'samples seen, the same one again and again'},
        **{'asv-layers': {'type': int, 'default': 4}, 'sample-layers': {'type': int, 'default': 8}},
    )
    bench.say_machine(options)
    samples = 64 if options.quick else options.samples
    table = []
    with tempfile.TemporaryDirectory() as work:
        files = unpacked(options.data, work)
        for number, (name, form) in enumerate(FORMS.items()):
            batch = form.get('batch_size', PretrainConfig().training.batch_size)
            steps = max(2, samples // batch)
            depth = {'asv_layers': options.asv_layers, 'sample_layers': options.sample_layers}
            more = {'random_seed': options.seed, 'device': options.device.type, 'epochs': 10_000, 'max_steps': steps}
            config = PretrainConfig.from_flat({**form, **depth, **more})
            started = time.monotonic()
            metrics = held_out_metrics(files, config, pathlib.Path(work) / str(number))
            seconds = time.monotonic() - started
            table.append((name, str(batch), str(steps), f'{metrics["distance_r2"]:.3f}', f'{seconds:.0f}'))
            print(*table[-1], flush=True)
    bench.say_table(('form', 'samples a step', 'steps', 'R2 of held-out distances', 'seconds'), table)


if __name__ == '__main__':
    main()
