"""Predictions over HTTP, from one model: the command ``q2-aam-serve``. Knows no QIIME 2."""
