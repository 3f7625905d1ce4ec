#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# First process in the tests' namespaces: private /run, /dev/shm, loopback and hugetlbfs, then the command.
# All of it goes when this process does; ./tools/test starts it.
set -euo pipefail

# Capped: a test that fills its file system shall fail, not the machine.
mount -t tmpfs -o mode=755,size=25% tmpfs /run
mkdir -p /run/lagan-test /run/lock /run/netns
mount -t tmpfs -o mode=1777,size=25% tmpfs /dev/shm
ip link set lo up
export LAGAN_TEST_DIR=/run/lagan-test TMPDIR=/run/lagan-test XDG_RUNTIME_DIR=/run/lagan-test

# Huge pages count only if they can really be had: 128 MiB are asked for and given back.
if mkdir /run/hugepages && mount -t hugetlbfs -o pagesize=2M hugetlbfs /run/hugepages 2>/dev/null &&
    fallocate -l 128M /run/hugepages/probe 2>/dev/null; then
    export LAGAN_TEST_HUGETLBFS=/run/hugepages
fi
rm -f /run/hugepages/probe 2>/dev/null || true

# Not exec: process 1 has to outlive its orphans' reaping, and bash does reap them.
"$@"
