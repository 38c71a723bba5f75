"""The flag `--json` of the benchmarks that write their rows to a file.

It is defined here once, as a process that imports two of these benchmarks would define it twice.
This module is not a command.
"""

from absl import flags

JSON = flags.DEFINE_string("json", "", "file to write; none: only the table")
