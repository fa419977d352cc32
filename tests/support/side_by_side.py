"""Run commands at the same time: `python -m tests.support.side_by_side COMMAND COMMAND …`.

For rings of tests that leave each other enough of the machine. Tests that need it to themselves
take turns with those of the other ring (`turns.py`). Imports no pytest, which would take 0.2 s
before the commands could start.
"""

import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence

TURNS_VARIABLE = "TESTS_TURNS"  # a folder by which all tests of the commands take turns


def run(commands: Sequence[Sequence[str]], environments: Sequence[Mapping[str, str]]) -> list[int]:
    """Show what the first command says as it says it, then what each of the others has said.

    Returns:
        The exit status of each, once all have ended.
    """
    with contextlib.ExitStack() as stack:
        said = [stack.enter_context(tempfile.TemporaryFile()) for _ in commands[1:]]
        processes = [
            stack.enter_context(
                subprocess.Popen(command, env=environment, stdout=output, stderr=output)
            )
            for command, environment, output in zip(
                commands, environments, [None, *said], strict=True
            )
        ]
        statuses = [processes[0].wait()]
        for process, output in zip(processes[1:], said, strict=True):
            statuses.append(process.wait())
            output.seek(0)
            sys.stdout.buffer.write(output.read())
            sys.stdout.flush()
    return statuses


def main() -> int:
    """Run each argument as a command, all to their ends.

    Returns:
        The first exit status that is an error, if there is one.
    """
    given = sys.argv[1:]
    sys.stdout.write(f"side by side, each shown in its turn: {'; '.join(given)}\n")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory() as turns:
        environment = {**os.environ, TURNS_VARIABLE: turns}
        statuses = run([shlex.split(one) for one in given], [environment] * len(given))
    for command, status in zip(given, statuses, strict=True):
        if status:
            sys.stderr.write(f"failed with status {status}: {command}\n")
    return next((one for one in statuses if one), 0)


if __name__ == "__main__":
    sys.exit(main())
