"""The license alone; pyproject.toml says what else the package is and needs."""

from setuptools import setup

# in pyproject.toml it would need packaging 24.2, and set-up leaves packaging at the version that QIIME 2 brings
setup(license='BSD-3-Clause')
