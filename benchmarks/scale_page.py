"""Put into docs/scale.md what its commands print now.

    python benchmarks/scale_page.py

To be run after unit costs or prices have changed; a test compares page and command. The table
"Where one index ends" is not changed. Last line of stdout: JSON, the commands.
"""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "scale.md"
EXAMPLE = re.compile(r"^```\n\$ resift (plan .+)\n[^`]+^```$", re.M)


def main() -> None:
    """Run each command of the page whose output follows."""
    commands: list[str] = []

    def printed(example: re.Match[str]) -> str:
        commands.append(example[1])
        command = [sys.executable, "-m", "resift", *shlex.split(example[1])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = [line.rstrip() for line in (done.stdout + done.stderr).splitlines()]
        return "\n".join(["```", f"$ resift {example[1]}", *lines, "```"])

    PAGE.write_text(EXAMPLE.sub(printed, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(json.dumps(commands))


if __name__ == "__main__":
    main()
