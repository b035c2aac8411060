"""Parameters of the runtime group: where and with how much the work is done; they change results by rounding only."""

import dataclasses

from .fields import AUTO, Group, option


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
        'rounding. auto: most of the free memory of a GPU, 0.25 on the CPU; where samples have hundreds of ASVs, 1 or '
        'more trains up to a third faster there.',
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
