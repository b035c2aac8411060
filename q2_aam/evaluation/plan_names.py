"""Whether features without sequences can carry a model: they are known by their names, and new ones are not read."""

from q2_aam.data.known_features import KnownFeatures
from q2_aam.errors import counted, shown

from .plan import ERROR, NOTE, WARNING, Finding

# Reads that an encoder must know.
MIN_KNOWN = 0.5


def check_names(study, encoder: bool, known: KnownFeatures | None) -> list[Finding]:
    """Return findings on features without sequences.

    Parameters
    ----------
    study : q2_aam.data.study.Study
        Of named features.
    encoder : bool
        Whether there is one.
    known : KnownFeatures or None
        What it knows; None where it reads sequences.
    """
    found = [
        Finding(
            NOTE, 'names', 'table',
            f'The {counted(len(study.feature_ids), "feature")} of the table (e.g. {shown(study.feature_ids[0])}) have '
            'no sequences: a model knows them by their names, and those of new samples that it has not learned it '
            'leaves out.',
            'If there are sequences, give them. If not, a taxonomy or a phylogeny in training and prediction places '
            'new features.',
        )
    ]  # fmt: skip
    if not encoder:
        return found
    if known is None:
        return [*found, _other_kind('The encoder reads sequences, but the features of the table have none.')]
    share = known.share(known.on(study))
    if share < MIN_KNOWN:
        found.append(
            Finding(
                ERROR if share == 0 else WARNING, 'few_near', 'encoder',
                f'{share:.0%} of the reads are in features that the encoder knows by name (e.g. '
                f'{shown(known.ids[0])}).',
                'Pretrain on these data, or use a table with features of the same names.',
            )
        )  # fmt: skip
    return found


def check_kind(known: KnownFeatures | None) -> list[Finding]:
    """Return findings on an encoder for a table with sequences; `known` is what it knows, None if it reads them."""
    if known is None:
        return []
    return [_other_kind('The encoder knows features by their names, but the table has sequences.')]


def _other_kind(what):
    return Finding(ERROR, 'names', 'encoder', what, 'Give an encoder that was pretrained on such features, or none.')
