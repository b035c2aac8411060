"""Parameters of the runtime group: where and with how much the work is done; they never change a result."""

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
        'Memory, in GB, that chunks of work are cut to; it never changes a result. auto: 4 on the CPU, most of what '
        'is free on a GPU.',
        low=0.1,
        high=1e6,
    )
