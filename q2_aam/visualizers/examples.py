"""Usage examples of the visualizers, on predictions and a history made in memory."""

import numpy as np
import pandas as pd

SAMPLES = 24


def _study():
    """Return true and predicted values, and metadata, of a small study, the same at each call."""
    random = np.random.default_rng(11)
    ids = pd.Index([f'S{number:02}' for number in range(SAMPLES)], name='id')
    age = pd.Series(np.round(random.uniform(1, 24, SAMPLES), 1), ids, name='age')
    predicted = (age + random.normal(scale=3, size=SAMPLES)).round(2)
    subject = [f'P{number // 2}' for number in range(SAMPLES)]
    metadata = pd.DataFrame({'age': age, 'subject': subject, 'site': ['gut', 'skin'] * (SAMPLES // 2)}, ids)
    return predicted, metadata.rename_axis('sample-id')


def predictions_factory():
    import qiime2

    return qiime2.Artifact.import_data('SampleData[RegressorPredictions]', _study()[0])


def rough_predictions_factory():
    """Of a model that errs twice as much."""
    import qiime2

    predicted, metadata = _study()
    rough = (2 * predicted - metadata['age'].to_numpy()).rename('age')
    return qiime2.Artifact.import_data('SampleData[RegressorPredictions]', rough)


def metadata_factory():
    import qiime2

    return qiime2.Metadata(_study()[1])


def history_factory():
    import qiime2

    from q2_aam.runtime.history import History
    from q2_aam.types import AAMTrainingHistoryDirectoryFormat

    history = History()
    for epoch in range(1, 13):
        history.log(epoch * 4, epoch, 'training', loss=0.1 + 1 / epoch, learning_rate_share=1 - epoch / 13)
        history.log(epoch * 4, epoch, 'validation', mae=3 + 4 / epoch + 0.1 * epoch)
    history.log(24, 6, 'validation', best_epoch=6)
    predicted, metadata = _study()
    history.add_points('target', 'validation', predicted, metadata['age'])
    folder = AAMTrainingHistoryDirectoryFormat()
    history.save(str(folder))
    return qiime2.Artifact.import_data('AAMTrainingHistory', folder)


def evaluate_example(use):
    predictions = use.init_artifact('predictions', predictions_factory)
    metadata = use.init_metadata('sample_metadata', metadata_factory)
    truth = use.get_metadata_column('age', 'age', metadata)
    groups = use.get_metadata_column('subject', 'subject', metadata)

    (evaluation,) = use.action(
        use.UsageAction(plugin_id='aam', action_id='evaluate'),
        use.UsageInputs(predictions=predictions, truth=truth, metadata=metadata, groups=groups),
        use.UsageOutputNames(visualization='evaluation'),
    )

    evaluation.assert_output_type('Visualization')
    evaluation.assert_has_line_matching(path='index.html', expression=r'^ *<h1>Predictions of age</h1>$')


def summarize_training_example(use):
    history = use.init_artifact('history', history_factory)

    (summary,) = use.action(
        use.UsageAction(plugin_id='aam', action_id='summarize_training'),
        use.UsageInputs(history=history),
        use.UsageOutputNames(visualization='summary'),
    )

    summary.assert_output_type('Visualization')
    summary.assert_has_line_matching(path='index.html', expression=r'^ *<h1>Summary of training</h1>$')


def compare_models_example(use):
    fine = use.init_artifact('predictions', predictions_factory)
    rough = use.init_artifact('rough_predictions', rough_predictions_factory)
    metadata = use.init_metadata('sample_metadata', metadata_factory)
    truth = use.get_metadata_column('age', 'age', metadata)

    (comparison,) = use.action(
        use.UsageAction(plugin_id='aam', action_id='compare_models'),
        use.UsageInputs(predictions=[fine, rough], names=['fine', 'rough'], truth=truth, metadata=metadata),
        use.UsageOutputNames(visualization='comparison'),
    )

    comparison.assert_output_type('Visualization')
    comparison.assert_has_line_matching(path='index.html', expression=r'^ *<h1>Models of age</h1>$')
