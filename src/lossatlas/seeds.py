"""Every random number of a workflow comes from one master seed and the name of what it is for."""

import hashlib

import numpy as np


def derive(master: int, *role: str | int | float) -> int:
    """Return the 63-bit seed of a role, e.g. ``derive(0, "init", replica)``.

    The role is hashed into the spawn key of a ``numpy.random.SeedSequence``, so roles are independent streams, and
    adding a role changes no other. Equal (master, role) gives an equal seed on every machine.

    Args:
        master: the master seed of the configuration.
        *role: what the seed is for, from general to particular.

    Returns:
        An integer in [0, 2**63), accepted by numpy and torch generators.
    """
    digest = hashlib.sha256("\x1f".join(repr(part) for part in role).encode()).digest()
    key = tuple(int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4))
    state = np.random.SeedSequence(master, spawn_key=key).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))
