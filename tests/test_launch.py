"""A command in several processes: it ends as they do."""

import os
import subprocess
import sys
from pathlib import Path

from hydrarec._version import __version__

PROGRAM = """
import os, sys
from hydrarec.errors import HydrarecError
from hydrarec.launch import launch
os.environ["PYTHONPATH"] = sys.argv[1]
try:
    launch(2, sys.argv[2:])
except HydrarecError as error:
    print(error)
    sys.exit(1)
"""
# Stands for hydrarec: the second process is killed while the first one waits for it.
KILLED = """
import os, signal, time
if os.environ["RANK"] == "1":
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(60)
"""


def launched(path, *arguments):
    command = [sys.executable, "-c", PROGRAM, str(path), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


def test_exit_codes_are_those_of_the_processes(tmp_path):
    here = os.environ.get("PYTHONPATH", str(Path(__file__).parents[1] / "src"))
    done = launched(here, "--version")
    assert (done.returncode, done.stdout.split()) == (0, [__version__] * 2)
    done = launched(here, "train")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    (tmp_path / "hydrarec").mkdir()
    (tmp_path / "hydrarec" / "__init__.py").touch()
    (tmp_path / "hydrarec" / "__main__.py").write_text(KILLED)
    done = launched(tmp_path)
    assert done.returncode == 1
    assert "process 1 of 2 was killed (SIGKILL); run the same command again" in done.stdout
