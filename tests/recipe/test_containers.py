"""The image of the server holds what it copies, starts the command that is installed, and has all that it needs."""

import pathlib
import re

import pytest

from q2_aam.serve.limits import HELP, Limits

ROOT = pathlib.Path(__file__).parents[2]
TEXT = (ROOT / 'recipe' / 'Containerfile.serve').read_text('utf-8')
# what the server imports that pyproject.toml leaves to QIIME 2
BROUGHT = {'biom-format', 'h5py', 'pandas', 'scipy', 'threadpoolctl'}


def test_what_is_copied_is_there():
    copied = [name for line in re.findall(r'^COPY (.+) \S+$', TEXT, re.MULTILINE) for name in line.split()]
    assert 'pyproject.toml' in copied and 'q2_aam' in copied
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_the_command_is_the_one_that_is_installed_and_the_extra_exists():
    project = (ROOT / 'pyproject.toml').read_text('utf-8')
    (command,) = re.findall(r'^ENTRYPOINT \["([^"]+)"', TEXT, re.MULTILINE)
    assert f"\n{command} = 'q2_aam.serve.main:main'\n" in project
    assert "pip install --no-cache-dir '.[serve]' " in TEXT and '\nserve = [' in project


def test_packages_that_qiime2_would_bring_are_asked_for():
    (line,) = re.findall(r"'\.\[serve\]' ([^\\\n]+)", TEXT)
    assert set(line.split()) == BROUGHT
    page = (ROOT / 'docs' / 'serving.md').read_text('utf-8')
    assert f"'.[serve]' {line.strip()}\n" in page


@pytest.mark.parametrize('name', HELP)
def test_the_page_tells_each_limit_and_its_default(name):
    page = (ROOT / 'docs' / 'serving.md').read_text('utf-8')
    assert f'`--{name.replace("_", "-")}`' in page
    (row,) = [line for line in page.splitlines() if line.startswith('| ') and f'--{name.replace("_", "-")}`' in line]
    assert str(getattr(Limits(), name)) in row
