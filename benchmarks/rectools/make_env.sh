#!/bin/sh
# RecTools in an environment of its own, .venv-rectools at the top of the repository.
set -eu
cd "$(dirname "$0")/../.."
"${PYTHON:-python3}" -m venv .venv-rectools
.venv-rectools/bin/python -m pip install --quiet --requirement benchmarks/rectools/requirements.txt
