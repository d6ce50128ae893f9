"""Photographs that differ in size, streamed from disk: folders, lists and TFDS sets ([R] 3.4).

Worker processes import this package, so it imports nothing: neither Grain nor JAX.
"""
