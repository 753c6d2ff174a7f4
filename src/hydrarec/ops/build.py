"""``python -m hydrarec.ops.build``: compiles the kernels by hand; words behind it are flags for the compiler."""

import sys

from hydrarec.ops.compile import build

if __name__ == "__main__":
    try:
        print(build(extra=tuple(sys.argv[1:])))
    except (OSError, RuntimeError) as error:
        sys.exit(f"hydrarec: {error}")
