"""What a run tells its user: at the start a summary and what was derived, at the end the card."""

import platform
import time

import numpy as np
import torch

import q2_aam
from q2_aam.errors import counted


def say_study(study, parts, say):
    """Say what the data are; `parts` is {part: number of samples}."""
    lengths = np.unique(study.lengths)
    span = f'{lengths[0]}' if len(lengths) == 1 else f'{lengths[0]} to {lengths[-1]}'
    divided = ', '.join(f'{number:,} {part}' for part, number in parts.items())
    say(f'Samples: {len(study):,} ({divided}); median richness {np.median(study.richness):.0f}.')
    say(f'ASVs: {len(study.codes):,} distinct, of {span} nucleotides.')


def say_model(network, config, device, seed, say):
    """Say what the model is and what was derived."""
    model, training = config.model, config.training
    parameters = sum(parameter.numel() for parameter in network.parameters())
    say(
        f'Model: width {model.width}, {counted(model.asv_layers, "ASV layer")} on tokens of '
        f'{counted(model.nucleotides_per_token, "nucleotide")}, {counted(model.sample_layers, "sample layer")}, '
        f'{counted(model.attention_heads, "head")}, {counted(model.memberships, "membership")}; '
        f'{parameters:,} parameters.'
    )
    say(
        f'Training: {counted(training.epochs, "epoch")} at most, batches of up to {training.batch_size} samples, '
        f'highest learning rate {training.learning_rate:.2g}, seed {seed}, on {device_name(device)}.'
    )


def device_name(device):
    """Return 'cpu', or the name of the GPU."""
    return torch.cuda.get_device_name(device) if device.type == 'cuda' else 'cpu'


def make_card(study, parts, hashes, seed, device, figures, started, target=None, *, precision):
    """Return what `card.json` tells a reader, without any id of a sample.

    Parameters
    ----------
    study : q2_aam.data.study.Study
    parts : dict
        Number of samples of each part.
    hashes : dict
        SHA-256 of each input.
    figures : dict
        {part: {metric: value}}
    started : float
        `time.monotonic()` at the start of the run.
    target : str, optional
        Name of the metadata column.
    precision : torch.dtype
        In which the encoders computed.
    """
    lengths = study.lengths
    return {
        'samples': parts,
        'asvs': len(study.codes),
        'amplicon_length': {
            'shortest': int(lengths.min()),
            'median': float(np.median(lengths)),
            'longest': int(lengths.max()),
        },
        'input_sha256': hashes,
        'target': target,
        # QIIME 2 metadata has no units: predictions are in that of the column
        'unit': None if target is None else f'that of the metadata column "{target}"',
        'seed': seed,
        'device': device_name(device),
        'precision': str(precision).removeprefix('torch.'),
        'versions': {
            'q2-aam': q2_aam.__version__,
            'torch': torch.__version__,
            'numpy': np.__version__,
            'python': platform.python_version(),
        },
        'wall_seconds': round(time.monotonic() - started, 1),
        'figures': figures,
    }
