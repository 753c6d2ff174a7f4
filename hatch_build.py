"""What hatchling runs when it makes a wheel, also for an editable installation: compiles the kernels.

Without a compiler the wheel is one of pure Python.
"""

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import sys_tags


class KernelHook(BuildHookInterface):  # type: ignore[type-arg]
    """Puts the compiled library beside the sources, and into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        compiling = runpy.run_path(str(Path(self.root, "src/hydrarec/ops/compile.py")))
        why = compiling["try_to_build"]()
        if why is not None:
            self.app.display_warning(why)
            return
        build_data["artifacts"].append(compiling["LIBRARY"].relative_to(self.root).as_posix())  # git ignores it
        build_data["pure_python"] = False
        # The library depends on the system and the processor, not on a version of Python.
        platforms = (tag.platform for tag in sys_tags())
        build_data["tag"] = f"py3-none-{next(p for p in platforms if not p.startswith(('manylinux', 'musllinux')))}"
