"""The peak memory of a call on a GPU."""

import torch

from .candidate import Candidate


def peak_mb(candidate: Candidate) -> float:
    """MiB that a call needs at its worst moment beyond what was there before, results included.

    The candidate has run before: workspaces that libraries keep for good count for nobody.
    """
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    with candidate.context():
        candidate.call()
    return (torch.cuda.max_memory_allocated() - before) / 2**20
