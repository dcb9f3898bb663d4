"""What training both implementations shows: a table, and a plot of losses and speeds."""

from pathlib import Path

from language_model import Trainer

EARLY = 50


def table(trainers: dict[str, Trainer]) -> str:
    """Return the final numbers of both implementations."""
    baseline = trainers["torch.nn"].tokens_per_second
    lines = [f"{'implementation':<16}{'validation bpc':>16}{'tokens/s':>12}{'ratio':>8}"]
    for name, trainer in trainers.items():
        speed = trainer.tokens_per_second
        bpc = trainer.validation[-1][1]
        lines.append(f"{name:<16}{bpc:>16.3f}{speed:>12,.0f}{speed / baseline:>8.2f}")
    curves = (trainer.losses for trainer in trainers.values())
    apart = [abs(first - second) for first, second in zip(*curves, strict=True)]
    # Rounding errors grow with every step of training: only the early steps can show a fault.
    lines.append("largest difference of the training losses, in bits per character:")
    lines.append(f"  {max(apart[:EARLY]):.1e} in the first {len(apart[:EARLY])} steps")
    lines.append(f"  {max(apart):.1e} in all {len(apart)} steps")
    return "\n".join(lines)


def draw(trainers: dict[str, Trainer], title: str, path: Path) -> None:
    """Write a PNG of both loss curves and both speeds."""
    from matplotlib import pyplot as plt

    figure, (losses, speeds) = plt.subplots(
        1, 2, figsize=(12, 5), width_ratios=(2, 1), layout="constrained"
    )
    # One curve lies on the other: the wide pale one shows on both sides of the thin one.
    looks = [("tab:blue", {"linewidth": 4, "alpha": 0.4}, "o"), ("tab:red", {"linewidth": 1}, "x")]
    for (name, trainer), (color, line, mark) in zip(trainers.items(), looks, strict=True):
        steps = range(1, len(trainer.losses) + 1)
        losses.plot(steps, trainer.losses, color=color, label=f"{name}, training", **line)
        points = zip(*trainer.validation, strict=True)
        label = f"{name}, validation"
        losses.plot(*points, mark, color=color, label=label, markersize=9, fillstyle="none")
        bars = speeds.bar(name, trainer.tokens_per_second, color=color, alpha=0.7)
        speeds.bar_label(bars, fmt="{:,.0f}", padding=2)
    losses.set(title=title, xlabel="training step", ylabel="bits per character")
    losses.legend()
    losses.grid(alpha=0.3)
    ratio = trainers["rnn_kernels"].tokens_per_second / trainers["torch.nn"].tokens_per_second
    speeds.set(title=f"training speed: {ratio:.2f} × torch.nn", ylabel="tokens per second")
    speeds.yaxis.set_major_formatter("{x:,.0f}")
    figure.savefig(path, format="png", dpi=120)
    plt.close(figure)
