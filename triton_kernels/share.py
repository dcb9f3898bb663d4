"""What the programs of a recurrence have in common: factors of products, and how programs meet.

Programs that share the rows of a group have each other's results from memory: each leaves what it
made of a step, tells so, and waits until all have told. That all of them run at the same time is
the launch's business.
"""

import triton
import triton.language as tl


@triton.jit
def as_factor(x, PRECISION: tl.constexpr):
    """What goes into a product: float32 rounded to nearest where TF32 is meant, else as it is."""
    if PRECISION == "tf32":
        rounded = (x.to(tl.uint32, bitcast=True) + 0x1000) & 0xFFFFE000
        return tl.where(x == x, rounded.to(tl.float32, bitcast=True), x)
    else:
        return x


@triton.jit
def tell(arrived, CDNA: tl.constexpr):
    """Says that what this program has stored so far is there.

    One thread speaks for all. On NVIDIA the barrier orders the others' stores before its release;
    on CDNA a wave's release waits for its own stores alone, so each waits before the barrier.
    """
    if CDNA:
        tl.inline_asm_elementwise(
            "s_waitcnt vmcnt(0)\n v_mov_b32 $0, $1", "=v,v", [tl.arange(0, 64)],
            dtype=tl.int32, is_pure=False, pack=1,
        )  # fmt: skip
    tl.debug_barrier()
    tl.atomic_add(arrived, 1, sem="release", scope="gpu")


@triton.jit
def wait(arrived, count):
    """Until so many have told."""
    while tl.atomic_add(arrived, 0, sem="acquire", scope="gpu") < count:
        pass
