"""The command ``q2-aam-serve``: predictions over HTTP from one model, until it is told to stop."""

import argparse
import dataclasses
import signal
import socket
import sys

from q2_aam.errors import UserError, missing_package

from .limits import HELP, Limits

# Of all there are, so that none is without an answer; those beyond get a 503 of the server itself.
MAX_CONNECTIONS = 512
# Bytes of a request line and its headers.
MAX_HEADERS = 16_384
KEEP_ALIVE = 5


def main(arguments: list[str] | None = None) -> int:
    """Serve a model until SIGTERM or SIGINT; return the exit status."""
    parser = argparse.ArgumentParser(
        prog='q2-aam-serve', description='Predictions over HTTP from one model, until it is told to stop.'
    )
    parser.add_argument('model', help='artifact (.qza) of a regressor or classifier, or a folder with its files')
    parser.add_argument(
        '--host', default='127.0.0.1', help='address to listen at; 0.0.0.0 is all of them (default: %(default)s)'
    )
    parser.add_argument(
        '--port', type=_number(0, 65535), default=8000, help='0: any that is free (default: %(default)s)'
    )
    parser.add_argument('--threads', type=_number(0, 10_000), default=0, help='CPU threads; 0: all (default)')
    parser.add_argument('--device', choices=('auto', 'cpu', 'cuda'), default='auto', help='(default: %(default)s)')
    for field in dataclasses.fields(Limits):
        name = f'--{field.name.replace("_", "-")}'
        parser.add_argument(
            name, type=_number(1, 10**6), default=field.default, help=f'{HELP[field.name]} (default: %(default)s)'
        )
    given = vars(parser.parse_args(arguments))
    limits = Limits(**{field.name: given[field.name] for field in dataclasses.fields(Limits)})
    try:
        serve(
            given['model'],
            given['host'],
            given['port'],
            limits,
            {'threads': given['threads'], 'device': given['device']},
        )
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def serve(path, host: str, port: int, limits: Limits, runtime: dict) -> None:
    """Serve the model at a path; UserError if it cannot be read, a package is missing or the address cannot be had."""
    if missing := missing_package(('fastapi', 'uvicorn')):
        raise UserError(f"Serving needs the package {missing}; install it with: pip install 'q2-aam[serve]'.")
    import uvicorn

    from .app import make_app
    from .models import open_model

    _check_address(host, port)
    served = open_model(path)
    config = uvicorn.Config(
        make_app(served, limits, runtime),
        host=host,
        port=port,
        http='h11',
        ws='none',
        lifespan='on',
        server_header=False,
        proxy_headers=False,
        access_log=False,
        log_level='info',
        limit_concurrency=MAX_CONNECTIONS,
        h11_max_incomplete_event_size=MAX_HEADERS,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=limits.max_seconds,
    )
    # when all is answered uvicorn sends itself again what it was sent: the exit status is to be 0
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    uvicorn.Server(config).run()


def _check_address(host, port):
    # uvicorn says so in five lines
    try:
        with socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((host, port))
    except OSError as error:
        raise UserError(
            f'The server cannot listen at {host}, port {port} ({(error.strerror or str(error)).lower()}): another '
            'program may have that port, or this machine may not have that address; give another with --port or --host.'
        ) from error


def _number(low, high):
    def read(text):
        value = int(text) if text.isdecimal() else -1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f'must be a whole number from {low} to {high:,}, but it is {text!r}')
        return value

    return read


if __name__ == '__main__':
    sys.exit(main())
