"""The command line as a test starts it through torchrun; ends with an error where a process group's
threads are left, which now and then abort a process that is about to end."""

import sys
from pathlib import Path

from AttentionUNetSegmentLib.app.main import main

status = main(sys.argv[1:])
names = [file.read_text().strip() for file in Path("/proc/self/task").glob("*/comm")]  # Linux's
left = [name for name in names if "gloo" in name]
sys.exit(f"Threads of the process group are left: {', '.join(left)}" if left else status)
