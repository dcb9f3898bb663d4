"""Which results files belong to the code beside them: `python -m benchmarks.status`."""

from .host.environment import sources_hash
from .measuring import results


def main() -> None:
    """Notes have no hash: they are of code that is long gone."""
    measured = {path: results.sources_of(path) for path in sorted(results.RESULTS.rglob("*.csv"))}
    current = {sources_hash()}
    for path, sources in measured.items():
        if sources:
            word = "current" if sources == current else "stale"
            print(f"{word:8}{path.relative_to(results.ROOT)}")
    if not any(measured.values()):
        print(f"no results in {results.RESULTS.relative_to(results.ROOT)}")


if __name__ == "__main__":
    main()
