# SPDX-License-Identifier: BSD-3-Clause
"""Interfaces that DPDK programs of a test use."""
import itertools

_numbers = itertools.cycle(range(1, 32))


def interface_index():
    """For `ip link add`. DPDK's af_packet makes the 16 bits of its fanout group of a process's number and an interface's index,
    and the kernel refuses a group that another interface of the namespace has. Processes of one test have numbers close to each
    other, so these indices differ in the upper bits."""
    return str(next(_numbers) << 11)
