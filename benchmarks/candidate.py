"""The candidate: a call that can be checked and timed."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from torch import Tensor

# What a call returns: see Workload.result_names. None stands for a gradient that did not arrive.
Result = tuple[Tensor | None, ...]


@dataclass(frozen=True)
class Candidate:
    """One provider on one workload and pass. The context is entered outside the timed part."""

    call: Callable[[], Result]
    context: Callable[[], AbstractContextManager]
