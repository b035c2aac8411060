"""How q2_aam is installed: what it needs beside QIIME 2, and where QIIME 2 finds it."""

import pathlib

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
# read as text: importing the package here would run it before its requirements are there
LINES = (HERE / 'q2_aam' / '__init__.py').read_text('utf-8').splitlines()
VERSION = next(line.split("'")[1] for line in LINES if line.startswith('__version__ = '))

setup(
    name='q2-aam',
    version=VERSION,
    description='Attention All Microbes: transformers for microbiome feature tables, as a QIIME 2 plugin',
    license='BSD-3-Clause',
    python_requires='>=3.10,<3.13',
    packages=find_packages(include=['q2_aam', 'q2_aam.*']),
    package_data={'q2_aam': ['citations.bib'], 'q2_aam.visualizers': ['assets/*', 'assets/*/*']},
    # Nothing that QIIME 2 itself brings: up to 2024.10 one requirement that pkg_resources cannot resolve breaks every
    # plugin, and Debian names some of those distributions differently. recipe/meta.yaml lists them all.
    install_requires=['torch>=2.5,<3', 'safetensors>=0.4.3,<1'],
    # this group alone: newer frameworks read it too, and a plugin in both groups registers every type twice
    entry_points={'qiime2.plugins': ['q2-aam=q2_aam.plugin_setup:plugin']},
    zip_safe=False,
)
