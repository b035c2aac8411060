"""What tests of the pages share: predictions of a small study, pages made of them, and a browser."""

import functools
import http.server
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import threading
import types

import numpy as np
import pandas as pd
import pytest

from q2_aam.visualizers import page

BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')
# What runs before a page's own scripts: faults are collected.
LISTEN = """<script>
window.faults = [];
for (const kind of ['error', 'warn']) console[kind] = (...said) => window.faults.push(said.map(String).join(' '));
window.addEventListener('error', (event) => window.faults.push(event.message));
window.addEventListener('unhandledrejection', (event) => window.faults.push(String(event.reason)));
</script>"""
# What runs on the page: what it returns is sent back.
ASK = """<script>
const rest = (wait) => new Promise((done) => setTimeout(done, wait));
(async () => {
  while (!document.documentElement.dataset.drawn && !window.faults.length) await rest(20);
  const answer = await (async () => { %s })().catch((fault) => window.faults.push(String(fault)));
  await fetch('answer', { method: 'POST', body: JSON.stringify({ answer, faults: window.faults }) });
})();
</script>"""
SECONDS = 60


class Pages(http.server.SimpleHTTPRequestHandler):
    """Serves a page, and takes what is found on it."""

    def do_POST(self):
        self.server.answers.put(self.rfile.read(int(self.headers['Content-Length'])))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def opened(command, server):
    """Return what the browser that `command` starts sends back."""
    # its group: the browser starts processes of its own
    browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        return json.loads(server.answers.get(timeout=SECONDS))
    finally:
        os.killpg(browser.pid, signal.SIGKILL)
        browser.wait()


@pytest.fixture(scope='session')
def bundled():
    return page._vega()


@pytest.fixture(autouse=True)
def bundled_once(bundled, monkeypatch):
    """Bundle the JavaScript, which takes seconds, once for all pages."""
    monkeypatch.setattr(page, '_vega', lambda: bundled)


@pytest.fixture
def browser(tmp_path_factory):
    """Open a page and run JavaScript on it: (folder, body of an async function, width) -> what that returns."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip('no Chromium is installed: the page is not opened')

    def run(folder, script, width=1200):
        text = (folder / 'index.html').read_text('ascii')
        assert text.count('<head>') == 1
        page = folder / 'asked.html'
        page.write_text(text.replace('<head>', '<head>' + LISTEN).replace('</html>', ASK % script + '</html>'))
        handler = functools.partial(Pages, directory=str(folder))
        with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
            server.answers = queue.Queue()
            threading.Thread(target=server.serve_forever, daemon=True).start()
            # root, as in a container, has no sandbox
            options = [
                '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', f'--window-size={width},900',
                '--remote-debugging-port=0', f'--user-data-dir={tmp_path_factory.mktemp("browser")}',
            ]  # fmt: skip
            try:
                said = opened([found, *options, f'http://127.0.0.1:{server.server_port}/asked.html'], server)
            finally:
                server.shutdown()
        return types.SimpleNamespace(**said)

    return run


@pytest.fixture(scope='session')
def numbers():
    """Predictions of a number for 60 samples of 20 subjects: those of site skin err more."""
    random = np.random.default_rng(8)
    ids = pd.Index([f'S{number:02d}' for number in range(60)], name='id')
    true = pd.Series(np.round(random.uniform(0, 24, 60), 1), ids, name='age')
    site = pd.Series(np.where(np.arange(60) % 2, 'skin', 'gut'), ids, name='site')
    error = random.normal(size=60) * np.where(site == 'skin', 6, 1)
    predicted = (true + error).rename('age')
    details = pd.DataFrame(
        {
            'part': 'test', 'prediction': predicted, 'true': true, 'fold': np.arange(60) // 3 % 4 + 1,
            'random_forest': true + 8, 'median': 12.0, 'lower_bound': predicted - 9, 'upper_bound': predicted + 9,
            'reads_used': random.integers(500, 50_000, 60), 'asvs_used': 30, 'share_of_reads_near': 1.0,
            'flag': np.where(np.arange(60) == 7, 'few_near', 'ok'),
        },
        ids,
    )  # fmt: skip
    metadata = pd.DataFrame({'site': site, 'weight': random.normal(size=60), 'study': 'one'}, ids)
    subject = pd.Series([f'P{number // 3}' for number in range(60)], ids, name='subject')
    return types.SimpleNamespace(
        predictions=predicted, details=details, truth=true, metadata=metadata, groups=subject,
    )  # fmt: skip


@pytest.fixture(scope='session')
def classes():
    """Predictions of three classes for 60 samples of 20 subjects, with probabilities."""
    random = np.random.default_rng(9)
    ids = pd.Index([f'S{number:02d}' for number in range(60)], name='id')
    names = ['gut', 'oral', 'skin']
    numbers = np.arange(60) // 3 % 3
    shares = random.dirichlet([1, 1, 1], 60) + np.eye(3)[numbers] * 0.8
    shares = pd.DataFrame(shares / shares.sum(axis=1, keepdims=True), ids, names)
    predicted = shares.idxmax(axis=1).rename('site')
    truth = pd.Series(np.array(names, dtype=object)[numbers], ids, name='site')
    details = pd.DataFrame(
        {
            'part': 'test', 'prediction': predicted, 'true': truth, 'fold': np.arange(60) // 3 % 4 + 1,
            **shares.add_prefix('probability_'), 'reads_used': random.integers(500, 50_000, 60), 'flag': 'ok',
        },
        ids,
    )  # fmt: skip
    metadata = pd.DataFrame({'run': np.where(np.arange(60) % 2, 'a', 'b'), 'weight': random.normal(size=60)}, ids)
    subject = pd.Series([f'P{number // 3}' for number in range(60)], ids, name='subject')
    return types.SimpleNamespace(
        predictions=predicted, probabilities=shares, details=details, truth=truth, metadata=metadata, groups=subject
    )


@pytest.fixture
def specs():
    """Read the specifications in a page: folder -> {name of the figure: its JSON}."""

    def read(folder):
        text = (folder / 'index.html').read_text('ascii')
        found = re.findall(r'<script type="application/json" class="aam-spec">(.*?)</script>', text, re.DOTALL)
        return {one['name']: one for one in map(json.loads, found)}

    return read
