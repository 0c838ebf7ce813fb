"""Is this machine ready? The environment in plain words, with what to do about each problem."""

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

NEEDED = ("torch", "torchaudio", "numpy", "matplotlib", "jiwer", "soundfile", "jaxtyping")


def examine() -> tuple[list[str], list[str]]:
    """Look at versions, device, disk and data.

    Returns:
        Lines that describe the machine, and problems, each with its remedy.

    Example:
        >>> lines, problems = examine()
        >>> lines[0].startswith("Python")
        True
    """
    lines = [f"Python {platform.python_version()} on {platform.system()}, {_cores()} cores"]
    problems = []
    versions = {}
    for name in NEEDED:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            problems.append(f"{name} is missing: pip install {name} (see requirements.txt)")
    lines.append("packages: " + ", ".join(f"{name} {found}" for name, found in versions.items()))
    try:
        lines.append("device: " + _device())
    except (ImportError, OSError, RuntimeError) as error:  # builds that do not fit each other
        problems.append(f"torch and torchaudio must be the pair in requirements.txt ({error})")
    else:
        try:
            lines += _data()
        except (FileNotFoundError, ValueError) as error:
            problems.append(f"MiniSpeech is damaged, fetch the repository again ({error})")
    root = Path(os.environ.get("ASRLIB_DATA") or Path.home())
    free = shutil.disk_usage(next(p for p in (root, *root.parents) if p.exists())).free / 1e9
    lines.append(f"disk: {free:.0f} GB free at {root}")
    if free < 3:
        problems.append(f"{free:.1f} GB free at {root}: LibriSpeech dev-clean needs about 1 GB")
    return lines, problems


def report() -> bool:
    """Print the examination.

    Returns:
        True if nothing is wrong.
    """
    lines, problems = examine()
    print("\n".join(lines))
    for problem in problems:
        print(f"PROBLEM  {problem}")
    print("everything needed is here" if not problems else f"{len(problems)} to mend")
    return not problems


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _device() -> str:
    import torch
    import torchaudio  # noqa: F401  only to see that it imports

    if not torch.cuda.is_available():
        return "CPU only; enough for notebook 00 and the tiny preset, not for base"
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30
    return f"{torch.cuda.get_device_name()}, {memory:.0f} GB; fit for every preset"


def _data() -> list[str]:
    from asrlib.corpus import MiniSpeech, data_root, has_librispeech
    from asrlib.download import librispeech_digests

    lines = [f"data: {MiniSpeech('train')}"]
    found = [subset for subset in librispeech_digests() if has_librispeech(subset)]
    if found:
        return [*lines, f"data: LibriSpeech {', '.join(found)} in {data_root()}"]
    return [
        *lines,
        f"data: no LibriSpeech in {data_root()}; not needed to begin. To fetch dev-clean (about 340"
        " MB): python -m asrlib train --data dev-clean --download, or set ASRLIB_DATA to the folder"
        " that holds LibriSpeech/",
    ]
