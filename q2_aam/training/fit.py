"""Learning a metadata column from few labels, from files to a bundle."""

import dataclasses
import warnings

import pandas as pd

from q2_aam import bundle
from q2_aam.config import AUTO, FitClassifierConfig, FitRegressorConfig
from q2_aam.config.default_encoder import NONE
from q2_aam.config.search import Settings
from q2_aam.data.applicability import MAJORITY
from q2_aam.data.details import probabilities_of
from q2_aam.data.splits import TEST, VALIDATION
from q2_aam.encoders.choice import choose, share_readable
from q2_aam.errors import AAMWarning
from q2_aam.objectives import Inputs
from q2_aam.runtime.content import hash_files, hash_frame, hash_series
from q2_aam.runtime.history import History
from q2_aam.runtime.launch import Processes
from q2_aam.runtime.results import Result
from q2_aam.runtime.run import Run
from q2_aam.runtime.screen import print_line
from q2_aam.runtime.tracking import parameters_of

from .batch_size import with_batch_size
from .finish import finish_fit
from .job import Job, done
from .prepare import prepare_fit
from .train import train_fit


def fit_regressor(
    table, target: pd.Series, folder, config: FitRegressorConfig, sequences=None, encoder=None, groups=None,
    distance_matrix=None, say=print_line, covariates: pd.DataFrame | None = None, split: pd.Series | None = None,
    extra_targets: pd.DataFrame | None = None, scale_by: pd.Series | None = None,
    sample_weights: pd.Series | None = None, settings: Settings | None = None,
    taxonomy: pd.Series | None = None, phylogeny=None,
) -> tuple[pd.Series, pd.DataFrame, History]:  # fmt: skip
    """Train a regressor and write its bundle.

    Parameters
    ----------
    table : path
        BIOM 2.1 HDF5.
    target : pandas.Series
        Numbers by sample id, NaN where unknown; its name is that of the metadata column.
    folder : path
        Where the bundle is written; it exists.
    config : q2_aam.config.FitRegressorConfig
    sequences : path, optional
        FASTA with the sequence of each feature; without it the feature ids are the sequences.
    encoder : path, optional
        Bundle of a pretrained encoder to start from; without it ``default_encoder`` decides.
    groups : pandas.Series, optional
        Group by sample id: samples of a group are never divided between splits.
    distance_matrix : path, optional
        Its distances are learned beside the target.
    say : callable
        Takes one line of progress.
    covariates : pandas.DataFrame, optional
        What is known of samples besides their reads, by sample id: columns of numbers and of categories, missing
        values where it is not known. Those of the target and of the groups are left out, or those not named in
        ``covariate_columns``.
    split : pandas.Series, optional
        The split of each sample by its id: training, validation or test; samples of which it is something else are
        left out. In place of ``test_fraction`` and ``validation_fraction``.
    extra_targets : pandas.DataFrame, optional
        Metadata by sample id, of which all numeric columns but those of the target and the groups are learned beside
        the target, by the network alone; missing values teach nothing.
    scale_by : pandas.Series, optional
        Category by sample id: the target is scaled by that of each sample. Predictions then need it, too.
    sample_weights : pandas.Series, optional
        Weight of each labelled sample in losses, by sample id, 0 or more. No metric and no choice of an epoch, of
        shares or of intervals knows them.
    settings : q2_aam.config.search.Settings, optional
        What a search found: parameters that `config` has at their default take their values from it.
    taxonomy : pandas.Series, optional
        Taxon of each feature by its id: what features without sequences share.
    phylogeny : path, optional
        Newick; the same where there is no taxonomy.

    Returns
    -------
    predictions : pandas.Series
        For the test samples (the validation samples where there is no test split), in the target's own unit.
    details : pandas.DataFrame
        One row for each labelled sample.
    history : q2_aam.runtime.history.History

    Raises
    ------
    q2_aam.errors.UserError
        If an input cannot be used.
    """
    inputs = Inputs(
        table, sequences, target, groups, encoder, distance_matrix, covariates=covariates, split=split,
        extra_targets=extra_targets, scale_by=scale_by, sample_weights=sample_weights,
        taxonomy=taxonomy, phylogeny=phylogeny,
    )  # fmt: skip
    _, details, history = _fit(bundle.REGRESSOR, inputs, folder, config, say, settings)
    return _scored(details)['prediction'].rename(target.name), details, history


def fit_classifier(
    table, target: pd.Series, folder, config: FitClassifierConfig, sequences=None, encoder=None, groups=None,
    distance_matrix=None, say=print_line, covariates: pd.DataFrame | None = None, split: pd.Series | None = None,
    extra_targets: pd.DataFrame | None = None, sample_weights: pd.Series | None = None,
    settings: Settings | None = None, taxonomy: pd.Series | None = None, phylogeny=None,
) -> tuple[pd.Series, pd.DataFrame, pd.DataFrame, History]:  # fmt: skip
    """Train a classifier and write its bundle; see :func:`fit_regressor`.

    Parameters
    ----------
    table, folder, sequences, encoder, groups, distance_matrix, say, covariates, split, extra_targets, sample_weights
        As there, and settings.
    target : pandas.Series
        Names of classes by sample id, missing where unknown; its name is that of the metadata column.
    config : q2_aam.config.FitClassifierConfig

    Returns
    -------
    predictions : pandas.Series
        The most probable class, for the test samples (the validation samples where there is no test split).
    probabilities : pandas.DataFrame
        For the same samples; one column a class, by its name.
    details : pandas.DataFrame
        One row for each labelled sample.
    history : q2_aam.runtime.history.History

    Raises
    ------
    q2_aam.errors.UserError
        If an input cannot be used.
    """
    inputs = Inputs(
        table, sequences, target, groups, encoder, distance_matrix, covariates=covariates, split=split,
        extra_targets=extra_targets, sample_weights=sample_weights,
        taxonomy=taxonomy, phylogeny=phylogeny,
    )  # fmt: skip
    calibrated, details, history = _fit(bundle.CLASSIFIER, inputs, folder, config, say, settings)
    scored = _scored(details)
    return scored['prediction'].rename(target.name), probabilities_of(calibrated.classes, scored), details, history


def _fit(kind, inputs, folder, config, say, settings):
    """Train a model of this kind and write its bundle; return its target, the details and the history."""
    processes = Processes.of(config.runtime)
    inputs = with_default_encoder(inputs, config, say)
    if settings is not None:
        line = settings.describe(config)
        config = settings.applied(config, inputs.encoder is not None)
        say(line)
        if config.data.test_fraction > 0 or inputs.split is not None:
            settings.warn_of_test('the test samples')
    job = Job(kind, inputs, config, folder)
    result = done(f'fit-{kind}', job, hashes_of(inputs), processes, train_model, say)
    return bundle.read_config(folder).target, result.details, result.history


def train_model(job: Job, run: Run) -> Result:
    """Do a job, alone or as one of its processes; the result is that of rank 0, which has it to itself."""

    def prepare(config, run):
        return run.ranks.in_turn(lambda: prepare_fit(job.kind, job.inputs, config, run))

    prepared = with_batch_size(prepare, job.config, run)
    run.recorder.parameters(**parameters_of(prepared.config, run.hashes, job.inputs))
    trained = train_fit(prepared, run)
    run.ranks.part()
    if 'encoder' in run.hashes:
        run.recorder.log(0, 0, 'encoder', **{run.hashes['encoder']: 1.0})
    _, details = finish_fit(prepared, trained, run, job.folder)
    return run.keep(details)


def with_default_encoder(inputs, config, say):
    """Return the inputs with the encoder that is to be started from, where one that comes with the package is."""
    name = config.encoder.default_encoder
    # to start from v4 changes no error and takes twice as long (docs/encoders.md)
    chosen = choose(inputs.encoder, NONE if name == AUTO else name)
    if chosen is None or chosen.name is None:
        return inputs
    model = bundle.load(chosen.path, bundle.ENCODER)
    share = share_readable(inputs.table, inputs.sequences, model)
    of_reads = f'{share:.0%} of the reads are in sequences that begin where those of the encoder {name} do and are near'
    if share < MAJORITY:
        warnings.warn(
            f'Only {of_reads} them, so that training starts from scratch; leave default_encoder at auto, or give an '
            'encoder that was trained on such sequences.',
            AAMWarning,
            stacklevel=2,
        )
        return inputs
    say(f'Encoder: {name}, which comes with q2-aam; {of_reads} them.')
    return dataclasses.replace(inputs, encoder=chosen.path)


def hashes_of(inputs: Inputs) -> dict[str, str]:
    hashes = hash_files(
        table=inputs.table,
        sequences=inputs.sequences,
        encoder=inputs.encoder,
        distance_matrix=inputs.distance_matrix,
        phylogeny=inputs.phylogeny,
    )
    hashes['metadata'] = hash_series(inputs.target)
    for name in ('groups', 'split', 'scale_by', 'sample_weights', 'taxonomy'):
        if (column := getattr(inputs, name)) is not None:
            hashes[name] = hash_series(column)
    for name in ('covariates', 'extra_targets'):
        if (frame := getattr(inputs, name)) is not None:
            hashes[name] = hash_frame(frame)
    return hashes


def _scored(details):
    """Return the rows of the test samples, of the validation samples where there are none."""
    tests = details['part'] == TEST
    return details[tests if tests.any() else details['part'] == VALIDATION]
