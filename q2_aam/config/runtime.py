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
        'Memory, in GB, for the work on a batch. What exceeds it is cut into pieces, which training computes twice: '
        'slower, with the same results up to rounding. auto: most of what is free on a GPU, 0.25 on the CPU; where '
        'samples hold hundreds of ASVs, 1 or more trains up to a third faster there.',
        low=0.05,
        high=1e6,
    )
    precision: str = option(
        AUTO,
        'Number format in which the network computes; losses, distances and weights stay float32. auto: bfloat16 on a '
        'GPU that has it, float32 elsewhere.',
        choices=('auto', 'float32', 'bfloat16', 'float16'),
    )
    compile: bool = option(
        False,
        'Let PyTorch compile parts of the network first, which takes a minute and needs a C++ compiler; results stay '
        'the same up to rounding.',
    )
