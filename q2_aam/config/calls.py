"""What each call is configured by: its groups of parameters, in the order in which the user reads them."""

import dataclasses

from .data import FitData, FoldData, NewData, NewNumbers, PretrainData
from .embedding import EmbeddingConfig
from .folds import FoldsConfig
from .model import ModelConfig
from .runtime import RuntimeConfig
from .training import ClassifierTraining, FitTraining, PretrainTraining


@dataclasses.dataclass(frozen=True)
class Call:
    """A frozen dataclass whose fields are groups of parameters."""

    @classmethod
    def groups(cls):
        """Return {field name: Group class} in order."""
        return {field.name: field.type for field in dataclasses.fields(cls)}

    @classmethod
    def options(cls):
        """Return every parameter of every group, in order."""
        return [opt for group in cls.groups().values() for opt in group.options()]

    @classmethod
    def from_flat(cls, values):
        """Make the configuration from one flat {parameter: value}; parameters that are absent keep their default."""
        return cls(
            **{
                name: group(**{opt.name: values[opt.name] for opt in group.options() if opt.name in values})
                for name, group in cls.groups().items()
            }
        )

    def to_flat(self):
        """Return one flat {parameter: value}, as :meth:`from_flat` takes it."""
        return {
            opt.name: getattr(getattr(self, name), opt.name)
            for name, group in self.groups().items()
            for opt in group.options()
        }

    @classmethod
    def from_dict(cls, nested):
        """Read back what ``dataclasses.asdict`` wrote; a field too many or too few is a ValueError that names it."""
        _same_names('configuration', nested, cls.groups())
        parts = {}
        for name, group in cls.groups().items():
            _same_names(f'configuration group {name}', nested[name], [opt.name for opt in group.options()])
            parts[name] = group(**nested[name])
        return cls(**parts)


def _same_names(where, found, wanted):
    if not isinstance(found, dict):
        raise ValueError(f'The {where} must be an object, but it is {found!r}.')
    if unknown := sorted(set(found) - set(wanted)):
        raise ValueError(f'The {where} has a field that this version does not know: {unknown[0]}.')
    if missing := sorted(set(wanted) - set(found)):
        raise ValueError(f'The {where} lacks the field {missing[0]}.')


@dataclasses.dataclass(frozen=True)
class PretrainConfig(Call):
    data: PretrainData = PretrainData()
    model: ModelConfig = ModelConfig()
    training: PretrainTraining = PretrainTraining()
    runtime: RuntimeConfig = RuntimeConfig()


@dataclasses.dataclass(frozen=True)
class FitConfig(Call):
    data: FitData = FitData()
    model: ModelConfig = ModelConfig()
    training: FitTraining = FitTraining()
    runtime: RuntimeConfig = RuntimeConfig()


@dataclasses.dataclass(frozen=True)
class FitClassifierConfig(Call):
    data: FitData = FitData()
    model: ModelConfig = ModelConfig()
    training: ClassifierTraining = ClassifierTraining()
    runtime: RuntimeConfig = RuntimeConfig()


@dataclasses.dataclass(frozen=True)
class PredictConfig(Call):
    data: NewNumbers = NewNumbers()
    runtime: RuntimeConfig = RuntimeConfig()


@dataclasses.dataclass(frozen=True)
class PredictClassesConfig(Call):
    data: NewData = NewData()
    runtime: RuntimeConfig = RuntimeConfig()


@dataclasses.dataclass(frozen=True)
class DistancesConfig(Call):
    runtime: RuntimeConfig = RuntimeConfig()


@dataclasses.dataclass(frozen=True)
class EmbedConfig(Call):
    embedding: EmbeddingConfig = EmbeddingConfig()
    runtime: RuntimeConfig = RuntimeConfig()


@dataclasses.dataclass(frozen=True)
class CrossValidateConfig(Call):
    """Every parameter of a fit but those of its test part, which is the fold."""

    folds: FoldsConfig = FoldsConfig()
    data: FoldData = FoldData()
    model: ModelConfig = ModelConfig()
    training: FitTraining = FitTraining()
    runtime: RuntimeConfig = RuntimeConfig()


@dataclasses.dataclass(frozen=True)
class CrossValidateClassifierConfig(Call):
    folds: FoldsConfig = FoldsConfig()
    data: FoldData = FoldData()
    model: ModelConfig = ModelConfig()
    training: ClassifierTraining = ClassifierTraining()
    runtime: RuntimeConfig = RuntimeConfig()
