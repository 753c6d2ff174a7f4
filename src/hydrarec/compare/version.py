"""Which code made a number."""

import subprocess
from pathlib import Path

import hydrarec
from hydrarec._version import __version__


def code_version() -> str:
    """The git commit that the package is at, with ``-dirty`` where its files differ; its version where git has none."""
    package = Path(hydrarec.__file__).parent
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return __version__
    commit = _git(package, "rev-parse", "HEAD")
    if commit is None:
        return __version__
    return commit + ("-dirty" if _git(package, "status", "--porcelain", "--", ".") else "")


def _git(place: Path, *arguments: str) -> str | None:
    """What git prints, or None where it fails or is not there."""
    try:
        done = subprocess.run(["git", *arguments], cwd=place, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
