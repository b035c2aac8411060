"""What a request may be, and how many may wait: bounds on memory and time that whoever starts a server can move."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of a server; each is an option of ``q2-aam-serve`` of that name.

    Attributes
    ----------
    max_megabytes : int
        Of the body of a request. As many bytes may wait in memory as this times max_waiting.
    max_samples, max_features : int
        Of a table.
    max_nucleotides : int
        Of a sequence; a model reads fewer.
    max_waiting : int
        Requests that are read, wait or are computed at a time; one more is refused at once.
    max_seconds : int
        Until a request is refused that waits or is computed for longer, and until its body must have come.
    """

    max_megabytes: int = 16
    max_samples: int = 1000
    max_features: int = 20_000
    max_nucleotides: int = 2000
    max_waiting: int = 64
    max_seconds: int = 60

    @property
    def max_bytes(self) -> int:
        """Of the body of a request."""
        return self.max_megabytes * 10**6


HELP = {
    'max_megabytes': 'size of the body of a request',
    'max_samples': 'samples of a table',
    'max_features': 'features of a table',
    'max_nucleotides': 'nucleotides of a sequence',
    'max_waiting': 'requests that are read, wait or are computed at a time',
    'max_seconds': 'seconds for which a request may be sent, and for which it may wait and be computed',
}


class Refused(Exception):
    """A request that is not answered: the status of HTTP, and one sentence."""

    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status, self.sentence = status, sentence
