"""Writes docs/options.md: every option of every action, from the configuration classes themselves.

Run it after a change of an option: python recipe/options_table.py
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from q2_aam import config as options  # noqa: E402

PAGE = ROOT / 'docs' / 'options.md'
# What the options of AAM (github.com/jbk708/aam) are called here.
OF_AAM = {
    'abundance_as': 'count-embedding',
    'abundance_fusion': 'count-embedding-method',
    'abundance_weight': 'count-prediction, count-penalty',
    'accumulation_steps': 'gradient-accumulation-steps',
    'asv_choice': 'asv-sampling',
    'asv_layers': 'attention-layers',
    'attention_heads': 'attention-heads',
    'batch_size': 'batch-size, auto-batch-size',
    'category_weights': 'categorical-loss-weights',
    'class_weights': 'class-weights',
    'compile': 'compile-model',
    'covariate_columns': 'categorical-columns',
    'covariate_fusion': 'categorical-fusion',
    'device': 'device',
    'devices': 'distributed',
    'distance_weight': 'penalty',
    'epochs': 'epochs',
    'freeze': 'freeze-base',
    'gradient_clip': 'max-grad-norm',
    'head_dropout': 'regressor-dropout',
    'head_layers': 'regressor-hidden-dims',
    'learnable_scale': 'learnable-output-scale, conditional-output-scaling',
    'learning_rate': 'lr',
    'loss': 'loss-type',
    'mask_ratio': 'nuc-mask-ratio',
    'mask_strategy': 'nuc-mask-strategy',
    'max_asvs_per_sample': 'token-limit',
    'max_memory_gb': 'max-memory-fraction',
    'max_sequence_length': 'max-bp',
    'nucleotide_weight': 'nuc-penalty',
    'optimizer': 'optimizer',
    'output_activation': 'output-activation',
    'output_range': 'bounded-targets',
    'over_penalty': 'over-penalty',
    'patience': 'patience',
    'plateau_factor': 'scheduler-factor',
    'plateau_patience': 'scheduler-patience',
    'precision': 'mixed-precision',
    'prediction_passes': 'prediction-passes, output-variance',
    'quantiles': 'quantiles',
    'random_forest': 'rf_baseline (a command)',
    'random_seed': 'seed',
    'rarefaction_depth': 'rarefy-depth',
    'residual_head': 'residual-regression-head',
    'restarts': 'scheduler-t0',
    'sample_layers': 'attention-layers',
    'schedule': 'scheduler',
    'select_by': 'best-metric',
    'strategy': 'fsdp, fsdp-sharded-checkpoint',
    'target_scaling': 'target-transform, normalize-targets, log-transform-targets',
    'threads': 'num-workers',
    'under_penalty': 'under-penalty',
    'unifrac': 'unifrac-metric',
    'validation_fraction': 'test-size',
    'warmup_fraction': 'warmup-steps',
    'weight_decay': 'weight-decay',
    'weights_of_classes': 'class-weights',
    'width': 'embedding-dim',
}
# Options of AAM that have no counterpart, and why.
LEFT_OUT = {
    'asv-chunk-size, gradient-checkpointing, target-effective-batch-size, use-expandable-segments': (
        'Work is cut into chunks by max_memory_gb, and computed again where memory asks for it; results are the same.'
    ),
    'attn-implementation, tf32': 'PyTorch chooses; precision says what is given up.',
    'categorical-loss-weight-column': 'An input and no option here: sample_weights, a metadata column.',
    'categorical-embed-dim, cross-attn-heads, perceiver-num-latents, perceiver-num-layers, categorical-lr': (
        'The sizes follow from width and attention_heads, the rate from learning_rate.'
    ),
    'classifier, out-dim': 'fit-classifier is an action of its own; the number of classes follows from the metadata.',
    'normalize-by, normalize-targets-by, target-transform zscore-category': (
        'An input and no option here: scale_by, a metadata column of categories.'
    ),
    'data-parallel, sync-batchnorm': 'There is no batch norm; devices spreads the work over several GPUs.',
    'focal loss (of classes)': (
        'Tried with gamma 1 and 2 in place of cross-entropy, network and perceptrons alone, on test samples of two '
        'tasks of docs/accuracy.md. Balanced accuracy did not rise (turnbaugh_twins.obese, 3 splits: 0.51 and 0.51 '
        'instead of 0.52; amazon_homes.surface, 2 splits: 0.62 and 0.63 instead of 0.62); balanced log loss fell from '
        '0.68 to 0.67 and from 1.13 to 1.10. Linear members and trees, which cannot learn it, bring as much: with them '
        'it is 0.67 on the first. Rare classes count by class_weights balanced, the default.'
    ),
    'loss-config': 'Losses that learn beside the target have a weight each.',
    'memory-profile': 'Memory is bounded (max_memory_gb) and reported when it runs out.',
    'no-sequence-cache': 'Frozen ASV encoders encode each ASV once.',
    'resume-from': 'The same call resumes by itself.',
    'scheduler-eta-min, scheduler-min-lr, scheduler-t-mult': (
        'Fixed: 2 % of the peak, and cycles that last twice as long each.'
    ),
    'target-layer-norm': 'What the head reads is always normalised.',
    'target-penalty': 'The weight of the target is 1; those of other losses are relative to it.',
    'val-prediction-passes': 'Epochs are compared by one reading of all ASVs, which is the same in each.',
}
# Options that change nothing by default, and what they brought on a study.
TRIED = {
    'abundance_weight': (
        'It did not help. Encoders were pretrained on the 875 samples of recipe/demo.sh with weight 0 and with 1, '
        'from the same seed, and the age of the infants was cross-validated from each in 3 folds (seeds 1, 2 and 3). '
        'The mean absolute error of the network alone was 4.12, 5.00 and 4.27 months without, 4.57, 5.05 and 4.38 '
        'with masked abundances; that of the default model was 3.59, 3.79 and 4.08 either way, since the network had '
        'no share in it. Distances of held-out samples suffered: R2 0.98, 0.97 and 0.98 without, 0.96, 0.95 and 0.95 '
        'with them.'
    ),
}
ACTIONS = {
    'PretrainConfig': 'pretrain',
    'FitRegressorConfig': 'fit-regressor',
    'FitClassifierConfig': 'fit-classifier',
    'CrossValidateConfig': 'cross-validate',
    'CrossValidateClassifierConfig': 'cross-validate-classifier',
    'DistancesConfig': 'predict-distances',
    'PredictConfig': 'predict',
    'PredictClassesConfig': 'predict-classes',
}
HEAD = """# Options

Every parameter of every action, made from the code by `python recipe/options_table.py`. Most runs need none of them;
those marked *advanced* hardly any. The column AAM tells what the option is called in
[AAM](https://github.com/jbk708/aam), the first implementation of Attention All Microbes.
"""


def action_of(name: str) -> str:
    """Return the action that a configuration class belongs to, as it is typed."""
    if name in ACTIONS:
        return ACTIONS[name]
    words = name.removesuffix('Config')
    return ''.join(f'-{letter.lower()}' if letter.isupper() else letter for letter in words)[1:]


def allowed(opt) -> str:
    """Return what a value may be."""
    if opt.choices:
        words = ', '.join(opt.choices)
    elif opt.kind is bool:
        words = 'True, False'
    elif opt.kind is str:
        words = 'text'
    else:
        kind = 'whole number' if opt.kind is int else 'number'
        words = kind if opt.low is None else f'{kind}, {opt.low:g} to {opt.high:g}'
        if opt.auto:
            words += f', {", ".join((options.AUTO, *opt.words))}'
        if opt.ranges:
            words += ', or a range such as 2:4'
    return f'list of: {words}' if opt.many else words


def rows() -> dict[str, list[tuple[str, ...]]]:
    """Return {group: rows}, options that are the same in several actions in one row."""
    found: dict[tuple, list[str]] = {}
    for name in options.__all__:
        call = getattr(options, name)
        if not (isinstance(call, type) and issubclass(call, options.Call)) or call is options.Call:
            continue
        for opt in call.options():
            default = 'none' if opt.many else opt.default
            marked = f'*advanced.* {opt.help}' if opt.advanced else opt.help
            key = (opt.group, opt.name, str(default), allowed(opt), marked)
            found.setdefault(key, []).append(action_of(name))
    table: dict[str, list[tuple[str, ...]]] = {}
    for (group, name, default, values, text), actions in found.items():
        cells = (f'`{name}`', ', '.join(actions), default, values, text, OF_AAM.get(name, ''))
        table.setdefault(group, []).append(tuple(cell.replace('|', '\\|') for cell in cells))
    return table


def page() -> str:
    """Return the text of the page."""
    parts = [HEAD]
    for group, lines in rows().items():
        parts.append(f'\n## {group.capitalize()}\n\n| Option | Actions | Default | Allowed | What it does | AAM |\n')
        parts.append('|---|---|---|---|---|---|\n')
        parts += [f'| {" | ".join(line)} |\n' for line in sorted(lines)]
    parts.append('\n## Options that were tried\n\n| Option | What it brought |\n|---|---|\n')
    parts += [f'| `{name}` | {found} |\n' for name, found in sorted(TRIED.items())]
    parts.append('\n## Options of AAM that are left out\n\n| Option | Why |\n|---|---|\n')
    parts += [f'| {name} | {why} |\n' for name, why in sorted(LEFT_OUT.items())]
    return ''.join(parts)


if __name__ == '__main__':
    PAGE.write_text(page(), 'utf-8')
