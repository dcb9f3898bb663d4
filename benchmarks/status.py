"""Which results files belong to the code beside them: `python -m benchmarks.status`."""

from .host.environment import ROOT, sources_hash
from .measuring.results import RESULTS, sources_of


def main() -> None:
    """Notes have no hash: they are of code that is long gone."""
    measured = {path: sources_of(path) for path in sorted(RESULTS.rglob("*.csv"))}
    current = {sources_hash()}
    for path, sources in measured.items():
        if sources:
            print(f"{'current' if sources == current else 'stale':8}{path.relative_to(ROOT)}")
    if not any(measured.values()):
        print(f"no results in {RESULTS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
