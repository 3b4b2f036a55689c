"""`shaker demo` again and again, beside other work: each run has to end EQUAL.

`python -m tests.soak.demos --times 30 --busy`; exit code 1 unless all of them do.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from typing import Final

from tests.soak.busy import Busy
from tests.support.worker import ROOT

LONGEST: Final = 900.0  # seconds that one run may take
VERDICTS: Final = ("EQUAL", "DIFFERENT")


def demonstrate(arguments: list[str]) -> tuple[str, str]:
    """Run the demonstration once; return EQUAL, DIFFERENT or "failed", and all that it wrote."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SHAKER_")}
    command = ["setpriv", "--pdeathsig", "TERM", sys.executable, "-m", "shaker", "demo", *arguments]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=LONGEST)
        except BaseException as error:
            process.terminate()  # it takes its servers and its worker along
            output, _ = process.communicate(timeout=60)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
    said = next((line for line in output.splitlines() if line.startswith(VERDICTS)), "")
    if not said or (said.startswith("EQUAL") and process.returncode):
        return "failed", output
    return said.partition(":")[0], output


def main() -> int:
    """Run as often as asked and count; return 1 if a run did not end EQUAL."""
    parser = argparse.ArgumentParser(prog="tests.soak.demos", description=__doc__)
    parser.add_argument("--times", type=int, default=30)
    parser.add_argument("--busy", action="store_true", help="keep all processors busy meanwhile")
    parser.add_argument("--keys", help="of the demonstration; its own default otherwise")
    given = parser.parse_args()
    arguments = ["--keys", given.keys] if given.keys else []
    counts = dict.fromkeys((*VERDICTS, "failed"), 0)
    with Busy() if given.busy else nullcontext():
        for number in range(given.times):
            began = time.monotonic()
            verdict, output = demonstrate(arguments)
            counts[verdict] += 1
            sys.stdout.write(f"{number + 1:3}  {verdict}  {time.monotonic() - began:.0f} s\n")
            if verdict != "EQUAL":
                sys.stdout.write(output)
            sys.stdout.flush()
    sys.stdout.write(", ".join(f"{count} {verdict}" for verdict, count in counts.items()) + "\n")
    return int(counts["EQUAL"] != given.times)


if __name__ == "__main__":
    sys.exit(main())
