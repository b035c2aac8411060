"""The command ``q2-aam-worker``: the processes of a machine that trains with another one, which runs the action."""

import argparse
import pathlib
import sys
import tempfile

from q2_aam.config.fields import limits_of
from q2_aam.config.runtime import RENDEZVOUS, ClusterRuntime, TrainingRuntime
from q2_aam.errors import UserError
from q2_aam.runtime.launch import Processes, count_devices, launch_beside

from .job import WORKER


def main(arguments: list[str] | None = None) -> int:
    """Train with the other machines until they are done; return the exit status."""
    parser = argparse.ArgumentParser(prog='q2-aam-worker', description=__doc__)
    parser.add_argument('--rendezvous', required=True, help='as in the action: the name and port of its machine')
    parser.add_argument('--nodes', required=True, help='as in the action: the number of machines, or a range of it')
    parser.add_argument('--devices', default='auto', help='as in the action: the number of devices of each machine')
    parser.add_argument('--device', default='auto', choices=('auto', 'cpu', 'cuda'), help='as in the action')
    parser.add_argument('--max-restarts', type=int, default=TrainingRuntime().max_restarts, help='as in the action')
    given = parser.parse_args(arguments)
    if not RENDEZVOUS.fullmatch(given.rendezvous):
        parser.error('--rendezvous must be the name of a machine and a port, such as node-1:29400')
    try:
        # as the action takes it
        nodes = ClusterRuntime(nodes=given.nodes if ':' in given.nodes else int(given.nodes), rendezvous='any:1').nodes
    except ValueError:
        parser.error('--nodes must be a number of machines above 1 or a range of it, such as 2 or 2:4')
    least, most = limits_of(nodes)
    devices = int(given.devices) if given.devices.isdecimal() else 'auto'
    try:
        number = count_devices(devices, given.device)
        on_gpus = given.device != 'cpu'
        processes = Processes(number, given.max_restarts, most, given.rendezvous, on_gpus, least)
        with tempfile.TemporaryDirectory() as logs:
            launch_beside(WORKER, processes, pathlib.Path(logs))
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
