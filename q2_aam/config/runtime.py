"""Parameters of the runtime group: where and with how much the work is done; they change results by rounding only."""

import dataclasses
import re

from q2_aam.errors import shown

from .fields import AUTO, Group, limits_of, option

# Experiment trackers, which q2_aam.runtime.tracking knows.
NO_TRACKER, TRACKERS = 'none', ('tensorboard', 'mlflow', 'wandb')
# How several devices train together.
SINGLE, DDP, FSDP = 'single', 'ddp', 'fsdp'
RENDEZVOUS = re.compile(r'[A-Za-z0-9._-]+:[0-9]{1,5}')


@dataclasses.dataclass(frozen=True)
class RuntimeConfig(Group):
    group = 'runtime'

    device: str = option(
        AUTO,
        'Device to compute on. auto: a GPU if there is one that works, else the CPU.',
        choices=('auto', 'cpu', 'cuda'),
    )
    threads: int = option(0, 'Number of CPU threads; 0 uses all that are available.', low=0, high=4096)
    max_memory_gb: float | str = option(
        AUTO,
        'Memory, in GB, for one batch. A larger batch is processed in chunks: slower, with the same results up to '
        'rounding. auto: most of the free memory of a GPU; on a CPU a sixteenth of the memory of the machine or of the '
        'job, at most 4.',
        low=0.05,
        high=1e6,
        advanced=True,
    )
    precision: str = option(
        AUTO,
        'Number format of the network; losses, distances and weights stay float32. auto: bfloat16 on a GPU that '
        'supports it, else float32.',
        choices=('auto', 'float32', 'bfloat16', 'float16'),
        advanced=True,
    )
    compile: bool = option(
        False,
        'Compile parts of the network with PyTorch first, which takes a minute and needs a C++ compiler. Results stay '
        'the same up to rounding.',
        advanced=True,
    )


@dataclasses.dataclass(frozen=True)
class PredictionRuntime(RuntimeConfig):
    devices: int | str = option(
        1,
        'Number of devices that read together: GPUs of this machine or, where device is cpu, parts of its threads. '
        'Distinct ASVs, then samples, are dealt out among them. Results stay the same up to rounding. auto: all GPUs, '
        'or 1 on the CPU.',
        low=1,
        high=1024,
    )


@dataclasses.dataclass(frozen=True)
class TrainingRuntime(RuntimeConfig):
    devices: int | str = option(
        1,
        'Number of devices that train together, each by a process of its own: GPUs or, where device is cpu, processes '
        'among which the CPU threads are divided. Results stay the same up to rounding. auto: all GPUs, or 1 on the '
        'CPU.',
        low=1,
        high=1024,
    )
    strategy: str = option(
        AUTO,
        'How several devices train together. ddp: each holds the whole network. fsdp: its weights are divided among '
        'them, for networks that are too large for one. single: one device. auto: ddp where the network fits on a '
        'device, else fsdp. Results stay the same up to rounding.',
        choices=(AUTO, DDP, FSDP, SINGLE),
        advanced=True,
    )
    max_restarts: int = option(
        2,
        'How often the processes of several devices are started again, from the last checkpoint, after one of them '
        'was killed.',
        low=0,
        high=1000,
        advanced=True,
    )
    tracker: str = option(
        NO_TRACKER,
        'Experiment tracker that is also told parameters, metrics and figures: tensorboard, mlflow or wandb, each a '
        "package that is installed with pip install 'q2-aam[NAME]'. Addresses and keys come from its own environment "
        'variables only. The model stays the same, bit for bit.',
        choices=(NO_TRACKER, *TRACKERS),
        advanced=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.strategy == SINGLE and self.devices not in (1, AUTO):
            raise ValueError(
                f'Parameter strategy is single, but devices is {self.devices}; set devices to 1, or strategy to auto.'
            )
        if self.strategy in (DDP, FSDP) and self.devices == 1 == getattr(self, 'nodes', 1):
            raise ValueError(
                f'Parameter strategy is {self.strategy}, but devices is 1, so that nothing is shared; raise devices, '
                'or set strategy to auto.'
            )


@dataclasses.dataclass(frozen=True)
class ClusterRuntime(TrainingRuntime):
    nodes: int | str = option(
        1,
        'Number of machines that train together, each with as many devices; on the others, q2-aam-worker is started '
        'with the same rendezvous. They share the directory for working files. A range, such as 2:4: training begins '
        'with 2 and goes on, from its last checkpoint, whenever one of at most 4 leaves or joins; that of this command '
        'must stay. Results stay the same up to rounding.',
        low=1,
        high=1024,
        advanced=True,
        ranges=True,
    )
    rendezvous: str = option(
        '',
        'Where machines find each other: the name of the one that runs this command and a free port of it, such as '
        'node-1:29400.',
        advanced=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _, most = limits_of(self.nodes)
        if self.strategy == SINGLE and most > 1:
            raise ValueError(
                f'Parameter strategy is single, but nodes is {self.nodes}; set nodes to 1, or strategy to auto.'
            )
        if most > 1 and not self.rendezvous:
            raise ValueError(
                f'Parameter nodes is {self.nodes}, but no rendezvous is given; give the name of this machine and a '
                'free port of it, such as node-1:29400.'
            )
        if self.rendezvous and not RENDEZVOUS.fullmatch(self.rendezvous):
            raise ValueError(
                f'Parameter rendezvous must be the name of a machine and a port, such as node-1:29400, but it is '
                f'{shown(self.rendezvous)}.'
            )
        if self.rendezvous and most == 1:
            raise ValueError('Parameter rendezvous is of no use where nodes is 1; set nodes, or leave it out.')
