"""Stand-ins for Lanes on the CPU: one that runs in order, one that watches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rnn_kernels.backends.gpu.lanes import CALLER

Clock = list[int]  # by lane: how much of it has happened; CALLER's is the last


class InOrder:
    """Everything runs when it is issued."""

    def on(self, lane: int) -> AbstractContextManager[None]:
        return nullcontext()

    def event(self, lane: int) -> None:
        return None

    def wait(self, lane: int, event: None) -> None:
        pass

    def uses(self, lane: int, *tensors: Tensor | None) -> None:
        pass


class Unsafe(AssertionError):
    """A device could have run this in another order, or handed memory out too early."""


class Watched(TorchDispatchMode):
    """Looks at every operation of torch: what it reads and writes, and on which lane.

    Operations on the same memory, one of which writes, have to be ordered by lanes and events.
    Memory that a lane touches has to be its own, or be declared as used there.

    Args:
        count: of lanes.
        exempt: tensors that the host alone reads.
        without: the wait, or the declaration, that is left out, as ("wait" | "uses", number).
    """

    def __init__(
        self, count: int, exempt: tuple[Tensor, ...] = (), without: tuple[str, int] | None = None
    ) -> None:
        super().__init__()
        self.clocks: list[Clock] = [[0] * (count + 1) for _ in range(count + 1)]
        self.clocks[CALLER][CALLER] = 1  # what was there before
        self.lane, self.without = CALLER, without
        self.calls = {"wait": 0, "uses": 0}
        self.issued: list[int] = []  # the lane of each task
        self.memory: list[Tensor] = []  # kept, so that no address comes twice
        self.exempt = {self._address(t) for t in exempt} | {0}
        self.home: dict[int, int] = {}  # the lane that memory comes from
        self.written: dict[int, tuple[int, int]] = {}  # lane and time of the last write
        self.read: dict[int, list[tuple[int, int]]] = {}
        self.touched: set[tuple[int, int]] = set()  # memory, lane
        self.declared: set[tuple[int, int]] = set()

    @staticmethod
    def _address(t: Tensor) -> int:
        return t.untyped_storage().data_ptr()

    def _left_out(self, what: str) -> bool:
        self.calls[what] += 1
        return self.without == (what, self.calls[what] - 1)

    @contextmanager
    def on(self, lane: int) -> Iterator[None]:
        before, self.lane = self.lane, lane
        self.issued.append(lane)
        yield
        self.lane = before

    def event(self, lane: int) -> Clock:
        return list(self.clocks[lane])

    def wait(self, lane: int, event: Clock) -> None:
        if not self._left_out("wait"):
            self.clocks[lane] = list(map(max, self.clocks[lane], event))

    def uses(self, lane: int, *tensors: Tensor | None) -> None:
        if not self._left_out("uses"):
            self.declared |= {(self._address(t), lane) for t in tensors if t is not None}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self.clocks[self.lane][self.lane] += 1
        written = {
            self._address(t)
            for argument, value in zip(func._schema.arguments, args, strict=False)
            if argument.alias_info is not None and argument.alias_info.is_write
            for t in self._tensors(value)
        }
        given = self._tensors((args, kwargs))
        for t in given:
            self._touch(t, self._address(t) in written, CALLER, func)
        results = func(*args, **kwargs)
        known = {self._address(t) for t in given}
        for t in self._tensors(results):
            if self._address(t) not in known:
                self._touch(t, True, self.lane, func)
        return results

    @staticmethod
    def _tensors(value: Any) -> list[Tensor]:
        return [t for t in tree_leaves(value) if isinstance(t, Tensor)]

    def _touch(self, t: Tensor, writes: bool, home: int, func: Any) -> None:
        where = self._address(t)
        if where in self.exempt:
            return
        self.memory.append(t)
        self.home.setdefault(where, home)
        before = [self.written.setdefault(where, (home, 1))]
        for lane, time in before + (self.read.get(where, []) if writes else []):
            if self.clocks[self.lane][lane] < time:
                raise Unsafe(f"{func} on lane {self.lane} does not wait for lane {lane}")
        now = self.lane, self.clocks[self.lane][self.lane]
        if writes:
            self.written[where], self.read[where] = now, []
        else:
            self.read.setdefault(where, []).append(now)
        self.touched.add((where, self.lane))

    def check_memory(self) -> None:
        """Raises Unsafe if memory could be handed out again while a lane still works on it."""
        for where, lane in self.touched - self.declared:
            if self.home[where] != lane:
                raise Unsafe(f"memory of lane {self.home[where]} is used on {lane}, undeclared")
