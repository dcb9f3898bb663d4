"""The candidate: a call that can be checked and timed."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from torch import Tensor

# See Workload.result_names. None stands for a gradient that did not arrive.
Result = tuple[Tensor | None, ...]


def as_returned(returned: Result) -> Result:
    return returned


@dataclass(frozen=True)
class Candidate:
    """One provider on one workload and pass. What is not the call stays outside the timed part."""

    call: Callable[[], object]
    context: Callable[[], AbstractContextManager]
    results: Callable[[object], Result] = as_returned  # from what the call returned
