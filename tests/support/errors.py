# SPDX-License-Identifier: BSD-3-Clause
"""How a case ends early."""


class Skip(Exception):
    """The case cannot run here (say why); it counts as neither passed nor failed."""


class Failure(Exception):
    """The case found something wrong."""
