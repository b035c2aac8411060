"""Run one step of the demonstration and note its seconds and peak memory: measure.py FILE NAME -- COMMAND..."""

import os
import pathlib
import subprocess
import sys
import time


def measure(record, name, command):
    """Run `command`, append a line to the TSV file `record`, return the exit status.

    The peak memory (MB) is that of the largest of the command's processes, as the kernel counts it.
    """
    begin = time.monotonic()
    child = subprocess.Popen(command)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    # Linux counts in KiB, macOS in bytes
    megabytes = usage.ru_maxrss / (1024**2 if sys.platform == 'darwin' else 1024)
    record = pathlib.Path(record)
    if not record.exists():
        record.write_text('step\tseconds\tmegabytes\n', encoding='utf-8')
    with record.open('a', encoding='utf-8') as handle:
        handle.write(f'{name}\t{time.monotonic() - begin:.1f}\t{megabytes:.0f}\n')
    return child.returncode


def main(arguments):
    record, name, separator, *command = arguments
    if separator != '--' or not command:
        sys.exit('usage: measure.py FILE NAME -- COMMAND...')
    # a signal that ended the command gives a negative number, which a shell would read as 255
    return abs(measure(record, name, command))


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
