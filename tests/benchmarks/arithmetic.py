"""Operations that training and prediction need, ours against the padded baseline's: what a speed-up can be at most.

    python tests/benchmarks/arithmetic.py [--data FOLDER] [--seed 1]

Counted from the data and the configuration by the formulas of utilisation.py, so that no noise of the machine is in it.
The measured ratios of throughput.py stand beside these: where both sides run matrix products equally well, they agree.
"""

import bench
import numpy as np
import padded
import throughput
import utilisation


def padded_flops(config, training, study, rows, procedure, learns):
    """Operations of the baseline on one batch: a training step, or a prediction."""
    places = procedure.pad_to or int(study.richness[rows].max())
    asvs = np.concatenate([study.asvs[study.offsets[row] : study.offsets[row + 1]] for row in rows])
    lengths = study.lengths[asvs]
    layers = utilisation.asv_flops(config, lengths) + config.sample_layers * utilisation.layer_flops(
        np.full(len(rows), places + 1), config.width, config.mlp_ratio
    )
    rest = 2 * len(rows) * places * config.width * (config.width + 2 * config.memberships)
    if not learns:
        return layers + rest
    # logits of every token
    tokens = -(-lengths.astype(np.int64) // config.nucleotides_per_token)
    rest += 2 * tokens.sum() * config.width * utilisation.NUCLEOTIDES * config.nucleotides_per_token
    # a checkpointed layer is computed once more
    return (4 if procedure.checkpointing else 3) * layers + 3 * rest


def our_prediction_flops(config, study, rows):
    """Operations of our prediction: each distinct ASV once, then the samples."""
    asvs = np.unique(np.concatenate([study.asvs[study.offsets[row] : study.offsets[row + 1]] for row in rows]))
    richness = study.richness[rows]
    sample = config.sample_layers * utilisation.layer_flops(richness + 1, config.width, config.mlp_ratio)
    # embeddings are projected anew in each chunk of samples, which is little
    rest = 2 * (len(asvs) + richness.sum()) * config.width * config.memberships
    return utilisation.asv_flops(config, study.lengths[asvs]) + sample + rest


def our_step_flops(config, study, rows):
    """Operations of our training step."""
    asvs = np.unique(np.concatenate([study.asvs[study.offsets[row] : study.offsets[row + 1]] for row in rows]))
    return utilisation.step_flops(config.model, config.training, study.lengths[asvs], study.richness[rows])


def a_sample(flops, batches):
    """Operations a sample over batches of rows."""
    return sum(flops(rows) for rows in batches) / sum(map(len, batches))


def main():
    options = bench.arguments(__doc__)
    study = bench.read_data(options.data)
    order = np.random.default_rng(options.seed).permutation(len(study))
    batches = [order[i : i + throughput.BATCH] for i in range(0, len(order), throughput.BATCH)]
    ours = bench.configuration(study)
    default = a_sample(lambda rows: our_step_flops(ours, study, rows), batches)
    table = []

    def add(work, form, name, mine, theirs):
        table.append((work, form, name, f'{mine / 1e9:.3f}', f'{theirs / 1e9:.3f}', f'{theirs / mine:.1f}x'))

    for form, options_of_form in throughput.FORMS.items():
        config = bench.configuration(study, **options_of_form)
        step = a_sample(lambda rows, config=config: our_step_flops(config, study, rows), batches)
        prediction = our_prediction_flops(config.model, study, np.arange(len(study))) / len(study)
        for name, pad_to in (('batch-padded', None), ('1,024-padded', padded.REFERENCE_PAD)):
            for work, mine, learns in (('training', step, True), ('prediction', prediction, False)):
                procedure = padded.Procedure(pad_to)
                theirs = a_sample(
                    lambda rows, config=config, procedure=procedure, learns=learns: padded_flops(
                        config.model, config.training, study, rows, procedure, learns
                    ),
                    batches,
                )
                add(work, form, name, mine, theirs)
    config = bench.configuration(study, **padded.REFERENCE_FORM)
    theirs = a_sample(
        lambda rows: padded_flops(config.model, config.training, study, rows, padded.REFERENCE, True), batches
    )
    add('training', 'each its own', "reference's defaults", default, theirs)
    bench.say_table(('', 'form of both', 'against', 'q2_aam GFLOP a sample', 'baseline', 'ratio'), table)


if __name__ == '__main__':
    main()
