"""Parameters of the runtime group: where and with how much the work is done; they change results by rounding only."""

import dataclasses

from .fields import AUTO, Group, option


@dataclasses.dataclass(frozen=True)
class RuntimeConfig(Group):
    group = 'runtime'

    device: str = option(
        AUTO, 'Where to compute. auto: a GPU if one really computes, else the CPU.', choices=('auto', 'cpu', 'cuda')
    )
    threads: int = option(0, 'CPU threads; 0 takes all.', low=0, high=4096)
    max_memory_gb: float | str = option(
        AUTO,
        'Memory, in GB, for which work is cut into pieces; less is slower, and results stay the same up to rounding. '
        'auto: 4 on the CPU, most of what is free on a GPU.',
        low=0.1,
        high=1e6,
    )
    precision: str = option(
        AUTO,
        'Number format in which the network computes; losses, distances and weights stay float32. auto: bfloat16 on a '
        'GPU that has it, float32 elsewhere.',
        choices=('auto', 'float32', 'bfloat16'),
    )
