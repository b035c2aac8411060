"""Latencies of a server of one model, on this machine, with more and more clients at a time.

    python tests/benchmarks/serving.py --model regressor.qza [--table TABLE.biom --sequences FASTA] [--clients 1 8 32]
        [--requests 96] [--samples 1] [--threads 0]

It starts q2-aam-serve at a free port of the loopback. Each client (a thread with one connection of http.client) sends
one request after the other, of `--samples` samples of the table with their sequences. Without a table, ECAM. Aim: no
error with 32 clients.
"""

import argparse
import http.client
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile

from q2_aam.data.sequences import read_fasta
from q2_aam.data.table import read_table

ECAM = pathlib.Path(__file__).resolve().parents[1] / 'data' / 'ecam'
STARTED = re.compile(r'running on http://127\.0\.0\.1:(\d+)')
# What a server may take to load torch and its model.
MAX_START = 120
HEADER = ('clients', 'requests', 'errors', 'median s', '95 % s', 'longest s', 'requests/s')


def unpacked(name, ending, folder):
    """Return the path of the only file of this ending in an artifact's data."""
    with zipfile.ZipFile(name) as file:
        (member,) = [one for one in file.namelist() if '/data/' in one and one.endswith(ending)]
        return pathlib.Path(file.extract(member, folder))


def bodies_of(table, fasta, samples, most):
    """Return up to `most` bodies of requests, of so many samples each, the richest last."""
    opened, sequences, rows = read_table(table), read_fasta(fasta), {}
    every = (row for block in opened.blocks() for row in block)
    for name, row in zip(opened.sample_ids, every):
        rows[name] = {opened.feature_ids[place]: float(count) for place, count in zip(row.indices, row.data)}
    names = sorted((name for name in rows if rows[name]), key=lambda name: len(rows[name]))
    # from all over the table, poor and rich ones
    names = names[:: max(1, len(names) // (samples * most))]
    bodies = []
    for at in range(0, len(names) - samples + 1, samples):
        part = {name: rows[name] for name in names[at : at + samples]}
        held = {feature for row in part.values() for feature in row}
        bodies.append(json.dumps({'table': part, 'sequences': {name: sequences[name] for name in held}}))
    return bodies[:most]


class Server:
    """A server of its own process, for as long as the block runs."""

    def __init__(self, model, threads):
        command = [sys.executable, '-m', 'q2_aam.serve.main', str(model), '--port', '0', '--threads', str(threads)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        lines = []
        for line in self.process.stderr:
            lines.append(line)
            if found := STARTED.search(line):
                self.port = int(found[1])
                # nobody reads the rest, but a full pipe would stop the server
                threading.Thread(target=self.process.stderr.read, daemon=True).start()
                return self
        raise SystemExit(''.join(lines))

    def __exit__(self, *error):
        self.process.terminate()
        self.status = self.process.wait(MAX_START)


def ask(connection, body):
    """Send a request; return its status and what was answered."""
    connection.request('POST', '/predict', body, {'Content-Type': 'application/json'})
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def load(port, bodies, clients, requests):
    """Send requests by so many clients at a time; return the seconds of each, the errors, and the seconds of all."""
    took, errors, rest = [], [], iter(range(requests))
    lock, begin = threading.Lock(), threading.Barrier(clients + 1)

    def client():
        connection = http.client.HTTPConnection('127.0.0.1', port, timeout=MAX_START)
        begin.wait()
        while True:
            with lock:
                number = next(rest, None)
            if number is None:
                return
            start = time.perf_counter()
            status, answer = ask(connection, bodies[number % len(bodies)])
            seconds = time.perf_counter() - start
            with lock:
                took.append(seconds)
                if status != 200:
                    errors.append(answer)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    begin.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    return took, errors, time.perf_counter() - start


def main(arguments=None):
    """Print a row for each number of clients."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--model', required=True, help='artifact (.qza) or folder of a regressor or classifier')
    parser.add_argument('--table', help='BIOM 2.1')
    parser.add_argument('--sequences', help='FASTA')
    parser.add_argument('--clients', type=int, nargs='+', default=[1, 8, 32])
    parser.add_argument('--requests', type=int, default=96, help='by all clients together')
    parser.add_argument('--samples', type=int, default=1, help='of each request')
    parser.add_argument('--threads', type=int, default=0, help='of the server')
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        table = given.table or unpacked(ECAM / 'table.qza', '.biom', folder)
        fasta = given.sequences or unpacked(ECAM / 'rep-seqs.qza', '.fasta', folder)
        bodies = bodies_of(table, fasta, given.samples, given.requests)
    failed = 0
    with Server(given.model, given.threads) as server:
        # the first one loads what is loaded late
        load(server.port, bodies, 1, 1)
        print(*HEADER, sep='\t')
        for clients in given.clients:
            took, errors, seconds = load(server.port, bodies, clients, given.requests)
            ninety_fifth = statistics.quantiles(took, n=20)[-1]
            numbers = statistics.median(took), ninety_fifth, max(took), len(took) / seconds
            print(clients, len(took), len(errors), *(f'{number:.3f}' for number in numbers), sep='\t', flush=True)
            for answer in errors[:3]:
                print(answer, file=sys.stderr)
            failed += len(errors)
    print(f'The server ended with status {server.status}.')
    return 1 if failed or server.status else 0


if __name__ == '__main__':
    sys.exit(main())
