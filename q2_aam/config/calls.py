"""What each call is configured by: its groups of parameters, in the order in which the user reads them."""

import dataclasses
import typing

from q2_aam.errors import shown

from .covariates import CovariatesConfig
from .data import FitData, FoldData, NewData, PredictData, PredictNumbers, PretrainData
from .default_encoder import DefaultEncoder, StartingEncoder
from .embedding import EmbeddingConfig
from .export import ExportGroup
from .fields import Group, Option
from .folds import FoldsConfig
from .importance import AttentionConfig, ImportanceConfig
from .model import ModelConfig
from .plan import PlanGroup
from .pretraining import PretrainTraining
from .runtime import ClusterRuntime, PredictionRuntime, RuntimeConfig, TrainingRuntime
from .search import SearchConfig
from .training import ClassifierTraining, RegressorTraining

AnyCall = typing.TypeVar('AnyCall', bound='Call')


@dataclasses.dataclass(frozen=True)
class Call:
    """A frozen dataclass whose fields are groups of parameters."""

    @classmethod
    def groups(cls) -> dict[str, type[Group]]:
        """Return {field name: Group class} in order."""
        return {field.name: typing.cast(type[Group], field.type) for field in dataclasses.fields(cls)}

    @classmethod
    def options(cls) -> list[Option]:
        """Return every parameter of every group, in order."""
        return [opt for group in cls.groups().values() for opt in group.options()]

    @classmethod
    def from_flat(cls: type[AnyCall], values: dict[str, typing.Any]) -> AnyCall:
        """Make the configuration from one flat {parameter: value}; parameters that are absent keep their default."""
        return cls(
            **{
                name: group(**{opt.name: values[opt.name] for opt in group.options() if opt.name in values})
                for name, group in cls.groups().items()
            }
        )

    def to_flat(self) -> dict[str, typing.Any]:
        """Return one flat {parameter: value}, as :meth:`from_flat` takes it: a list, or None where it is empty."""
        return {
            opt.name: list(value) or None if opt.many else value
            for name, group in self.groups().items()
            for opt in group.options()
            for value in [getattr(getattr(self, name), opt.name)]
        }

    @classmethod
    def from_dict(cls: type[AnyCall], nested: dict[str, typing.Any]) -> AnyCall:
        """Read back what ``dataclasses.asdict`` wrote, here or in an older version.

        A field that is absent takes the value that means "as it was before this field existed" (see
        :func:`~q2_aam.config.fields.option`).

        Raises
        ------
        ValueError
            In one sentence, for a group or a field that this version does not know, or a value that is not allowed.
        """
        _check_names('configuration', nested, cls.groups())
        groups = {}
        for name, group in cls.groups().items():
            values = nested.get(name, {})
            absent = {opt.name: opt.absent for opt in group.options()}
            _check_names(f'configuration group {name}', values, absent)
            groups[name] = group(**{**absent, **values})
        return cls(**groups)


def _check_names(where, values, known):
    if not isinstance(values, dict):
        raise ValueError(f'The {where} must be an object, but it is {shown(values)}.')
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(
            f'The {where} has a field that this version does not know: {shown(unknown[0])}; use the version of q2-aam '
            'that made it, or a later one.'
        )


@dataclasses.dataclass(frozen=True)
class PretrainConfig(Call):
    data: PretrainData = PretrainData()
    model: ModelConfig = ModelConfig()
    training: PretrainTraining = PretrainTraining()
    runtime: ClusterRuntime = ClusterRuntime()


@dataclasses.dataclass(frozen=True)
class FitRegressorConfig(Call):
    data: FitData = FitData()
    encoder: StartingEncoder = StartingEncoder()
    covariates: CovariatesConfig = CovariatesConfig()
    model: ModelConfig = ModelConfig()
    training: RegressorTraining = RegressorTraining()
    runtime: ClusterRuntime = ClusterRuntime()


@dataclasses.dataclass(frozen=True)
class FitClassifierConfig(Call):
    data: FitData = FitData()
    encoder: StartingEncoder = StartingEncoder()
    covariates: CovariatesConfig = CovariatesConfig()
    model: ModelConfig = ModelConfig()
    training: ClassifierTraining = ClassifierTraining()
    runtime: ClusterRuntime = ClusterRuntime()


@dataclasses.dataclass(frozen=True)
class PredictConfig(Call):
    data: PredictNumbers = PredictNumbers()
    runtime: PredictionRuntime = PredictionRuntime()


@dataclasses.dataclass(frozen=True)
class PredictClassesConfig(Call):
    data: PredictData = PredictData()
    runtime: PredictionRuntime = PredictionRuntime()


@dataclasses.dataclass(frozen=True)
class DistancesConfig(Call):
    data: NewData = NewData()
    encoder: DefaultEncoder = DefaultEncoder()
    runtime: PredictionRuntime = PredictionRuntime()


@dataclasses.dataclass(frozen=True)
class EmbedConfig(Call):
    data: NewData = NewData()
    encoder: DefaultEncoder = DefaultEncoder()
    embedding: EmbeddingConfig = EmbeddingConfig()
    runtime: PredictionRuntime = PredictionRuntime()


@dataclasses.dataclass(frozen=True)
class FeatureImportanceConfig(Call):
    data: NewData = NewData()
    importance: ImportanceConfig = ImportanceConfig()
    runtime: RuntimeConfig = RuntimeConfig()


@dataclasses.dataclass(frozen=True)
class VisualizeAttentionConfig(Call):
    data: NewData = NewData()
    attention: AttentionConfig = AttentionConfig()
    runtime: RuntimeConfig = RuntimeConfig()


@dataclasses.dataclass(frozen=True)
class CrossValidateConfig(Call):
    """Every parameter of a fit but those of its test split: each fold is a test split."""

    folds: FoldsConfig = FoldsConfig()
    data: FoldData = FoldData()
    encoder: StartingEncoder = StartingEncoder()
    covariates: CovariatesConfig = CovariatesConfig()
    model: ModelConfig = ModelConfig()
    training: RegressorTraining = RegressorTraining()
    runtime: TrainingRuntime = TrainingRuntime()


@dataclasses.dataclass(frozen=True)
class CrossValidateClassifierConfig(Call):
    folds: FoldsConfig = FoldsConfig()
    data: FoldData = FoldData()
    encoder: StartingEncoder = StartingEncoder()
    covariates: CovariatesConfig = CovariatesConfig()
    model: ModelConfig = ModelConfig()
    training: ClassifierTraining = ClassifierTraining()
    runtime: TrainingRuntime = TrainingRuntime()


@dataclasses.dataclass(frozen=True)
class TuneRegressorConfig(Call):
    """Every parameter of a fit that a search holds fixed; those that are searched are left at their default."""

    search: SearchConfig = SearchConfig()
    data: FoldData = FoldData()
    encoder: StartingEncoder = StartingEncoder()
    covariates: CovariatesConfig = CovariatesConfig()
    model: ModelConfig = ModelConfig()
    training: RegressorTraining = RegressorTraining()
    runtime: RuntimeConfig = RuntimeConfig()


@dataclasses.dataclass(frozen=True)
class TuneClassifierConfig(Call):
    search: SearchConfig = SearchConfig()
    data: FoldData = FoldData()
    encoder: StartingEncoder = StartingEncoder()
    covariates: CovariatesConfig = CovariatesConfig()
    model: ModelConfig = ModelConfig()
    training: ClassifierTraining = ClassifierTraining()
    runtime: RuntimeConfig = RuntimeConfig()


@dataclasses.dataclass(frozen=True)
class PlanConfig(Call):
    plan: PlanGroup = PlanGroup()
    runtime: RuntimeConfig = RuntimeConfig()


@dataclasses.dataclass(frozen=True)
class ExportOnnxConfig(Call):
    export: ExportGroup = ExportGroup()
