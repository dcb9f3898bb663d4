"""Triton's interpreter as more of a GPU: all programs of a launch at once, and bfloat16.

By itself it runs one program after the other, so one that waits for another would wait forever.
Here each has a thread, of which one runs at a time; after loads, stores and atomics it may be
another's turn, in an order that is drawn. And by itself it cuts float32 off to bfloat16, multiplies
the bits of that, and does not look where a kernel loads and stores.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
import triton.language as tl
from triton.runtime import interpreter


class Stopped(BaseException):
    """Another program has failed."""


class Turns:
    """Programs of one launch, of which one runs at a time."""

    def __init__(self, programs: list[tuple[int, ...]], draw: random.Random) -> None:
        self.draw, self.ready = draw, set(programs)
        self.parked: set[tuple[int, ...]] = set()
        self.now, self.error = draw.choice(programs), None
        self.turn = threading.Condition()

    def wait(self, program: tuple[int, ...]) -> None:
        with self.turn:
            self.turn.wait_for(lambda: self.error is not None or self.now == program)
        if self.error is not None:
            raise Stopped
        interpreter.interpreter_builder.set_grid_idx(*program)

    def give(self) -> None:
        """To any program that can go on."""
        with self.turn:
            if self.ready:
                self.now = self.draw.choice(sorted(self.ready))
            elif self.parked:
                self.error = RuntimeError("all programs wait for each other")
            self.turn.notify_all()

    def end(self, program: tuple[int, ...]) -> None:
        self.ready.discard(program)
        self.give()

    def park(self, program: tuple[int, ...]) -> None:
        """It finds what it has found before: until somebody tells something."""
        self.ready.discard(program)
        self.parked.add(program)

    def told(self) -> None:
        self.ready |= self.parked
        self.parked.clear()

    def fail(self, error: BaseException) -> None:
        with self.turn:
            self.error = self.error or error
            self.turn.notify_all()


def _inside(operation: Callable, which: int, buffers: np.ndarray) -> Callable:
    """A load or store whose mask is argument ``which``, of nothing but what lies in ``buffers``."""

    def run(at: interpreter.TensorHandle, *rest: Any) -> Any:
        mask = np.broadcast_to(rest[which].data, at.data.shape).astype(bool)
        first = at.data[mask].astype(np.int64)[:, None]
        last = first + at.get_element_ty().primitive_bitwidth // 8
        inside = ((first >= buffers[:, 0]) & (last <= buffers[:, 1])).any(1)
        if not inside.all():
            raise IndexError(f"{(~inside).sum()} elements are in none of the launch's tensors")
        return operation(at, *rest)

    return run


class Together(interpreter.GridExecutor):
    """Runs a grid's programs in threads; tests set ``draw``."""

    draw = random.Random(0)

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        builder = interpreter.interpreter_builder
        set_grid_dim = builder.set_grid_dim
        tensors = [t for t in args if isinstance(t, torch.Tensor) and t.numel()]
        buffers = np.array(
            [(t.data_ptr(), t.data_ptr() + t.numel() * t.element_size()) for t in tensors]
        )

        def begin(*grid: int) -> None:
            """The last thing that happens before the loop over programs."""
            set_grid_dim(*grid)
            self.fn = self._once(self.fn, grid)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(builder, "set_grid_dim", begin)
            for name, mask in (("create_masked_load", 0), ("create_masked_store", 1)):
                patch.setattr(builder, name, _inside(getattr(builder, name), mask, buffers))
            super().__call__(*args, **kwargs)

    def _once(self, fn: Callable, grid: tuple[int, ...]) -> Callable:
        """All programs in the first call, nothing in the others."""
        programs = list(itertools.product(*map(range, grid)))

        def run(**args: Any) -> None:
            if args.get("arrived") is None:  # nobody waits
                fn(**args)
            elif programs:
                turns = Turns(programs[:], self.draw)
                programs.clear()
                self._run(fn, turns, args)

        return run

    def _run(self, fn: Callable, turns: Turns, args: dict[str, Any]) -> None:
        builder = interpreter.interpreter_builder
        here = threading.local()

        def program(index: tuple[int, ...]) -> None:
            here.index, here.found = index, None
            try:
                turns.wait(index)
                fn(**args)
                turns.end(index)
            except Stopped:
                pass
            except Exception as error:
                turns.fail(error)

        def pause() -> None:
            turns.give()
            turns.wait(here.index)

        def sometimes(operation: Callable) -> Callable:
            def run(*args: Any) -> Any:
                result = operation(*args)
                if self.draw.random() < 0.1:
                    pause()
                return result

            return run

        def atomic(operation: Callable) -> Callable:
            def run(kind: Any, at: Any, value: Any, *rest: Any) -> Any:
                result = operation(kind, at, value, *rest)
                if value.data.any():
                    turns.told()
                else:
                    found = (at.data.item(), result.data.item())
                    if here.found == found:
                        turns.park(here.index)
                    here.found = found
                pause()
                return result

            return run

        with pytest.MonkeyPatch.context() as patch:
            for name in ("create_masked_load", "create_masked_store"):
                patch.setattr(builder, name, sometimes(getattr(builder, name)))
            patch.setattr(builder, "create_atomic_rmw", atomic(builder.create_atomic_rmw))
            threads = [
                threading.Thread(target=program, args=(index,)) for index in sorted(turns.ready)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        if turns.error is not None:
            raise turns.error


def _as_float32(t: interpreter.TensorHandle) -> interpreter.TensorHandle:
    if t.dtype.scalar != tl.bfloat16:
        return t
    bits = t.data.astype(np.uint32) << 16
    return interpreter.TensorHandle(bits.view(np.float32), tl.float32)


def _rounding(cast: Callable) -> Callable:
    def rounded(self: Any, source: Any, to: Any) -> Any:
        if (source.dtype.scalar, to.scalar) != (tl.float32, tl.bfloat16):
            return cast(self, source, to)
        bits = torch.from_numpy(np.ascontiguousarray(source.data)).bfloat16().view(torch.int16)
        return interpreter.TensorHandle(bits.numpy().view(np.uint16), tl.bfloat16)

    return rounded


def _multiplying(dot: Callable) -> Callable:
    return lambda self, a, b, *rest: dot(self, _as_float32(a), _as_float32(b), *rest)


def _indexing(patch_tensor: Callable) -> Callable:
    """numpy from 2.4 on does not take an array of one element for a number."""

    def patched(tensor: type, scope: Any) -> None:
        patch_tensor(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: self.handle.data.item())

    return patched


@contextmanager
def together(seed: int) -> Iterator[None]:
    """Programs of a launch run at once inside, in an order drawn with ``seed``."""
    builder = interpreter.InterpreterBuilder
    with pytest.MonkeyPatch.context() as patch, torch.device("cpu"):
        patch.setattr(interpreter, "GridExecutor", Together)
        patch.setattr(interpreter, "_patch_lang_tensor", _indexing(interpreter._patch_lang_tensor))
        patch.setattr(builder, "cast_impl", _rounding(builder.cast_impl))
        patch.setattr(builder, "create_dot", _multiplying(builder.create_dot))
        patch.setattr(Together, "draw", random.Random(seed))
        yield
