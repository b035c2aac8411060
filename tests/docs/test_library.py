"""What the QIIME 2 Library asks of a plugin is there, as its own check and its page of requirements have it."""

import pathlib
import re

import pytest

yaml = pytest.importorskip('yaml')

ROOT = pathlib.Path(__file__).parents[2]


def test_the_listing_has_the_keys_that_the_library_takes_and_names_this_repository():
    listing = yaml.safe_load((ROOT / 'recipe' / 'library-plugin.yml').read_text('utf-8'))
    assert set(listing) == {'owner', 'name', 'branch', 'docs'}
    project = (ROOT / 'pyproject.toml').read_text('utf-8')
    assert f"Homepage = 'https://github.com/{listing['owner']}/{listing['name']}'" in project
    path = listing['docs'].split(f'/blob/{listing["branch"]}/')[1]
    assert (ROOT / path).exists()


def test_the_short_description_has_at_most_300_characters():
    page = (ROOT / 'docs' / 'library.md').read_text('utf-8')
    about = ' '.join(line.removeprefix('> ') for line in re.findall(r'^> .*', page, re.MULTILINE))
    assert 100 < len(about) <= 300


def test_environments_are_named_as_the_library_expects_and_have_no_name_inside():
    files = list((ROOT / 'environment-files').iterdir())
    for path in files:
        assert re.fullmatch(r'q2-aam-qiime2(-[a-z]+)?-20\d\d\.\d+\.yml', path.name)
        assert 'name' not in yaml.safe_load(path.read_text('utf-8'))
    assert files
