"""The provider: one implementation of the layer, made into a call that can be checked and timed."""

from abc import ABC, abstractmethod

from ..shapes.workload import Workload
from .candidate import Candidate


class Provider(ABC):
    name: str
    devices: tuple[str, ...] = ("cpu", "cuda")
    on_request: tuple[str, ...] = ()  # of those, where a run that names no provider leaves it out
    dtype: str | None = None  # the only one that it is measured in
    presets: tuple[str, ...] | None = None  # where a run that names no provider has it
    passes: tuple[str, ...] | None = None  # the only ones that it has
    peer: bool = False  # somebody else's library: where it is wrong, that is no failure of ours

    def missing(self, work: Workload, pass_name: str) -> str | None:
        """The reason why this provider cannot run here, or None."""
        return None

    def backend_used(self, work: Workload) -> str:
        """What runs, where the provider chooses; only asked when it is not missing."""
        return self.name

    @abstractmethod
    def build(self, work: Workload, pass_name: str, dropout: float = 0.0) -> Candidate:
        """A call of the pass on the workload; it copies what it changes."""
