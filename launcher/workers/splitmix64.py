"""splitmix64 (Steele et al. 2014, doi:10.1145/2660193.2660195): numbers as functions of an index.

Sample order and initial weights must not depend on which rank draws them, or in which order; so
neither comes from a generator with a state. Weights repeat this arithmetic on tensors.
"""

MASK_64 = (1 << 64) - 1

GAMMA = 0x9E3779B97F4A7C15
MIX_1 = 0xBF58476D1CE4E5B9
MIX_2 = 0x94D049BB133111EB
"""Increment and multipliers of the generator."""


def splitmix64(key: int, value: int) -> int:
    """Mix a key and a value to 64 bits."""
    x = (value + key * GAMMA) & MASK_64
    x = (x ^ x >> 30) * MIX_1 & MASK_64
    x = (x ^ x >> 27) * MIX_2 & MASK_64
    return x ^ x >> 31
