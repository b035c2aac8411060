"""What speaks against training on a study, found before training: findings, each with its severity and a way out.

What is looked at stands in the files beside this one: ids (:mod:`.plan_ids`), reads (:mod:`.plan_reads`), the target
and the groups (:mod:`.plan_target`), what else could tell the target (:mod:`.plan_design`).
"""

import dataclasses

import pandas as pd

from q2_aam.errors import counted, listed

# An error ends the training or makes its outcome worthless, a warning makes it look better or be worse than it need be,
# a note is good to know.
ERROR, WARNING, NOTE = 'error', 'warning', 'note'
SEVERITIES = (ERROR, WARNING, NOTE)
COLUMNS = ('severity', 'fault', 'where', 'what', 'what to do')
# What each fault is, in a few words.
TITLES = {
    'sample_ids': 'sample IDs do not match',
    'unlabelled': 'samples without a label',
    'missing': 'missing values',
    'sequences': 'sequences',
    'names': 'features without sequences',
    'hashes': 'feature IDs and sequences do not match',
    'distance_matrix': 'the distance matrix does not fit',
    'without_distances': 'samples without distances',
    'no_reads': 'samples without reads',
    'shallow': 'shallow samples',
    'few_asvs': 'samples of few ASVs',
    'private_asvs': 'samples share few ASVs',
    'lengths': 'sequences of different lengths',
    'orientation': 'reads in two orientations',
    'offset': 'reads that begin at different places',
    'truncated': 'sequences longer than the encoder reads',
    'other_region': 'reads unlike those of the encoder',
    'few_near': 'reads unlike those of the encoder',
    'target': 'the target',
    'constant': 'nearly all values are the same',
    'few_labels': 'few labelled samples',
    'few_groups': 'few groups',
    'large_group': 'one group has most samples',
    'missing_words': 'a number that means missing',
    'extreme': 'an extreme value',
    'skewed': 'a skewed target',
    'identifiers': 'classes that look like identifiers',
    'small_classes': 'small classes',
    'imbalance': 'classes of unlike sizes',
    'numbers': 'classes that are numbers',
    'repeats': 'repeated samples that are not grouped',
    'duplicates': 'copies of samples in different groups',
    'confounding': 'something else goes with the target',
    'no_signal': 'the samples may not tell the target',
    'more_labels': 'more labels would help',
    'refused': 'a fit would refuse the inputs',
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that speaks against training on a study as it is.

    Attributes
    ----------
    severity : str
        One of SEVERITIES.
    fault : str
        Its name, the same in every study: one of TITLES.
    where : str
        The input, or the column.
    what : str
        A sentence, with an example.
    action : str
        A sentence: what to do.
    """

    severity: str
    fault: str
    where: str
    what: str
    action: str

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        return TITLES[self.fault]


def from_message(severity, fault, where, sentence):
    """Return the finding of an error or a warning of ours, whose last part, after a semicolon, says what to do."""
    what, _, action = str(sentence).rpartition('; ')
    if not what:
        return Finding(severity, fault, where, action, 'Nothing need be done if that is meant.')
    return Finding(severity, fault, where, f'{what}.', f'{action[:1].upper()}{action[1:]}')


def sort(findings):
    """Return findings, the gravest first; of one severity they keep their order."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def as_frame(findings):
    """Return findings as a table, one row each, with columns as in COLUMNS."""
    rows = [(one.severity, one.fault, one.where, one.what, one.action) for one in sort(findings)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def verdict(findings):
    """Return the sentence that a page begins with, and one that says what to do next."""
    numbers = {severity: sum(one.severity == severity for one in findings) for severity in SEVERITIES}
    grave = [counted(numbers[severity], severity) for severity in (ERROR, WARNING) if numbers[severity]]
    if not grave:
        return 'Nothing was found that speaks against training on these data.', 'The command to run stands below.'
    titles = list(dict.fromkeys(one.title for one in sort(findings) if one.severity != NOTE))
    return (
        f'Found {" and ".join(grave)}: {listed(titles, 3)}.',
        'Mend errors before you train: they end the training, or make its outcome worthless. If a warning is as '
        'you intend, go on.'
        if numbers[ERROR]
        else 'If a warning is as you intend, go on.',
    )
