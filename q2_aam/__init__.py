"""Attention All Microbes (AAM) for QIIME 2: transformers for feature tables, as artifacts with provenance."""

__version__ = '0.1.0'
