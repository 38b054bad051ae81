"""The commands of `labkit`, thin: each parses its options, calls one function elsewhere, and prints.

Imports every room. Start with `main`.
"""
