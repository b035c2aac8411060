"""The command serves until it is told to stop, answers what it has taken, and says what it lacks."""

import concurrent.futures
import http.client
import importlib.util
import json
import re
import signal
import socket
import subprocess
import sys

import pytest

from q2_aam.serve import main as command

from .conftest import FROZEN


def test_a_missing_package_is_named_and_how_to_install_it(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None if name == 'uvicorn' else name)
    assert command.main([str(FROZEN / 'regressor')]) == 1
    assert capsys.readouterr().err == (
        "Serving needs the package uvicorn; install it with: pip install 'q2-aam[serve]'.\n"
    )


def test_an_option_that_is_no_number_is_refused(capsys):
    with pytest.raises(SystemExit):
        command.main([str(FROZEN / 'regressor'), '--port', '70000'])
    assert "must be a whole number from 0 to 65,535, but it is '70000'" in capsys.readouterr().err


def test_a_model_that_is_not_there_ends_the_command(monkeypatch, tmp_path, capsys):
    pytest.importorskip('fastapi', reason='the server needs the packages of the extra serve')
    pytest.importorskip('uvicorn', reason='the server needs the packages of the extra serve')
    assert command.main([str(tmp_path / 'gone.qza')]) == 1
    assert capsys.readouterr().err.startswith('There is no model at ')


def test_an_address_that_cannot_be_had_is_one_sentence_and_ends_the_command(capsys):
    pytest.importorskip('fastapi', reason='the server needs the packages of the extra serve')
    pytest.importorskip('uvicorn', reason='the server needs the packages of the extra serve')
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        assert command.main([str(FROZEN / 'regressor'), '--port', str(port)]) == 1
    assert capsys.readouterr().err == (
        f'The server cannot listen at 127.0.0.1, port {port} (address already in use): another program may have that '
        'port, or this machine may not have that address; give another with --port or --host.\n'
    )


@pytest.fixture
def server():
    """The process of a server, and its port."""
    for name in ('fastapi', 'uvicorn'):
        pytest.importorskip(name, reason='the server needs the packages of the extra serve')
    arguments = [str(FROZEN / 'regressor'), '--port', '0', '--threads', '1']
    process = subprocess.Popen(
        [sys.executable, '-m', 'q2_aam.serve.main', *arguments], stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if found := re.search(r'running on http://127\.0\.0\.1:(\d+)', line):
            break
    yield process, int(found[1])
    process.kill()
    process.wait()
    process.stderr.close()


def ask(port, table):
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
    connection.request('POST', '/predict', json.dumps({'table': table}), {'Content-Type': 'application/json'})
    response = connection.getresponse()
    return response.status, json.loads(response.read())


@pytest.mark.slow
def test_thirty_two_clients_get_their_answers_and_a_stop_waits_for_those_taken(server, table):
    process, port = server
    names = list(table)
    with concurrent.futures.ThreadPoolExecutor(32) as clients:
        asked = [clients.submit(ask, port, {name: table[name]}) for name in (names * 32)[:64]]
        answers = [one.result() for one in asked]
    assert [status for status, _ in answers] == [200] * 64
    assert [answer['samples'][0]['id'] for _, answer in answers] == (names * 32)[:64]
    # a request whose head has come, and whose body comes when the server was told to stop
    body = json.dumps({'table': {names[0]: table[names[0]]}}).encode()
    head = f'POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n'
    with socket.create_connection(('127.0.0.1', port)) as connection:
        connection.sendall(head.encode() + body[:5])
        while ask(port, {})[0] != 422 or http_inside(port) != 1:
            pass
        process.send_signal(signal.SIGTERM)
        connection.sendall(body[5:])
        answer = b''.join(iter(lambda: connection.recv(65536), b''))
    assert answer.startswith(b'HTTP/1.1 200 OK') and b'"prediction"' in answer
    assert process.wait(30) == 0
    with pytest.raises(OSError):
        ask(port, {})


def http_inside(port):
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
    connection.request('GET', '/health')
    return json.loads(connection.getresponse().read())['inside']
