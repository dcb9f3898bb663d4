"""The environment: which device, libraries and code a measurement belongs to."""

import hashlib
import platform
import subprocess
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
SOURCE_FOLDERS = ("csrc", "triton_kernels", "rnn_kernels")
SOURCE_SUFFIXES = {".py", ".h", ".cpp", ".cu", ".cuh"}


@dataclass(frozen=True)
class Environment:
    """Versions are empty where the part is absent."""

    device: str
    driver: str
    torch: str
    cudnn: str
    cuda: str
    triton: str
    commit: str
    sources: str
    utc: str


def environment(device: str = "cpu") -> Environment:
    on_gpu, checkout = device == "cuda", (ROOT / "csrc").is_dir()  # else it is installed
    return Environment(
        device=torch.cuda.get_device_name() if on_gpu else cpu_name(),
        driver=driver() if on_gpu else "",
        torch=torch.__version__,
        cudnn=str(torch.backends.cudnn.version() or ""),
        cuda=torch.version.cuda or "",
        triton=version_of("triton"),
        commit=commit() if checkout else "",
        sources=sources_hash() if checkout else "",
        utc=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def cpu_name() -> str:
    """Model, vector unit and threads: the three that a CPU time depends on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = (line.partition(":") for line in cpuinfo.read_text().splitlines())
        names = [value.strip() for key, _, value in lines if key.strip() == "model name"]
        model = names[0] if names else model
    vectors = torch.backends.cpu.get_cpu_capability()
    return f"{model}, {vectors}, {torch.get_num_threads()} threads"


def version_of(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def driver() -> str:
    """All GPUs of a machine run on one. Never empty: by it rows of a GPU are known."""
    query = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    return first_line_of(*query) or "unknown"


def commit(root: Path = ROOT) -> str:
    """Empty outside a git checkout, before the first commit, and in a folder that git distrusts."""
    return first_line_of("git", "-C", str(root), "rev-parse", "--short=12", "HEAD")


def first_line_of(*command: str) -> str:
    """Of what the command prints; empty if it fails or there is no such program."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.partition("\n")[0].strip() if done.returncode == 0 else ""


def sources_hash(root: Path = ROOT) -> str:
    """Twelve hex digits over the names and contents of every file that decides a time."""
    digest = hashlib.sha256()
    files = (path for folder in SOURCE_FOLDERS for path in (root / folder).rglob("*"))
    for path in sorted(path for path in files if path.suffix in SOURCE_SUFFIXES):
        digest.update(f"{path.relative_to(root).as_posix()}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
