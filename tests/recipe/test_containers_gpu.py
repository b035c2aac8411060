"""The image for GPUs holds what it copies and installs, and the guide names the images that there are."""

import pathlib
import re

import pytest

yaml = pytest.importorskip('yaml')

ROOT = pathlib.Path(__file__).parents[2]
TEXT = (ROOT / 'recipe' / 'Containerfile.gpu').read_text('utf-8')
# which environment is used
(ENVIRONMENT,) = re.findall(r'^ARG ENVIRONMENT=(\S+)$', TEXT, re.MULTILINE)


def test_what_is_copied_is_there_and_holds_all_that_set_up_reads():
    copied = set()
    for line in re.findall(r'^COPY (?:--chown=\S+ )?(.+) \S+$', TEXT, re.MULTILINE):
        copied |= set(line.split())
    assert [name for name in copied if not (ROOT / name).exists()] == []
    # what the other image copies, which is tried with every change, and the environments
    other = (ROOT / 'recipe' / 'Containerfile').read_text('utf-8')
    needed = {name for line in re.findall(r'^COPY (.+) \S+$', other, re.MULTILINE) for name in line.split()}
    assert copied == needed | {'environment-files'}


def test_the_environment_is_qiime_2_alone_without_the_lines_of_pip():
    text = (ROOT / 'environment-files' / ENVIRONMENT).read_text('utf-8')
    (pattern,) = re.findall(r"sed '/(.+)/,\$d'", TEXT)
    kept = yaml.safe_load(text[: re.search(f'^.*{pattern}', text, re.MULTILINE).start()])
    names = [re.split('[=>]', one)[0] for one in kept['dependencies']]
    assert {'qiime2', 'q2cli', 'pip', 'setuptools', 'q2-types'} <= set(names)
    assert all(isinstance(one, str) for one in kept['dependencies'])
    # what was cut off is the plugin alone, which the image has of this folder
    cut = yaml.safe_load(text)['dependencies'][-1]
    assert list(cut) == ['pip'] and [one.split('@')[0] for one in cut['pip']] == ['q2-aam']


def test_it_has_the_newest_environment_and_the_torch_of_set_up():
    releases = {path.name: re.findall(r'\d+', path.stem)[-2:] for path in (ROOT / 'environment-files').glob('*.yml')}
    assert releases[ENVIRONMENT] == max(releases.values(), key=lambda release: [int(part) for part in release])
    assert f"torch_pin='{re.findall(r'torch==[0-9.]+', TEXT)[0]}'" in (ROOT / 'recipe' / 'common.sh').read_text('utf-8')


def test_the_guide_names_every_image():
    page = (ROOT / 'docs' / 'how-to' / 'containers.md').read_text('utf-8')
    assert [path.name for path in (ROOT / 'recipe').glob('Containerfile*') if path.name not in page] == []
