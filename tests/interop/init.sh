#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# First process of the guest: mounts, modules, then the agent that runs what the host sends over the virtio channel.
# A request is one line, NUMBER SECONDS COMMAND(base64). The answer is one line, NUMBER STATUS OUTPUT(base64) ERRORS(base64).
# Requests run beside each other; dash runs this, since busybox's shell would prefer its own ip to iproute2's.
export PATH=/usr/sbin:/usr/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /run /tmp
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
exec </dev/null >/dev/console 2>&1

while read -r module; do
    insmod "/modules/$module" || echo "guest: insmod $module failed"
done </modules/order
ip link set lo up

channel=
while [ -z "$channel" ]; do
    for name in /sys/class/virtio-ports/*/name; do
        [ "$(cat "$name" 2>/dev/null)" = lagan.agent ] && channel=/dev/$(basename "$(dirname "$name")")
    done
    [ "$channel" ] || sleep 0.1
done
exec 3<>"$channel"

encoded() { base64 -w 0 "$1"; }

answer() { # NUMBER SECONDS COMMAND
    out=/tmp/$1.out err=/tmp/$1.err
    echo "$3" | base64 -d >"/tmp/$1.sh"
    timeout -k 5 "$2" sh "/tmp/$1.sh" >"$out" 2>"$err" </dev/null
    status=$?
    # One line at a time: two answers at once would mix.
    (
        flock 9
        echo "$1 $status -$(encoded "$out") -$(encoded "$err")" >&3
    ) 9>/tmp/channel.lock
    rm -f "$out" "$err" "/tmp/$1.sh"
}

echo "0 0 -$(uname -r | base64 -w 0) -" >&3
while :; do
    while read -r number seconds command <&3; do
        answer "$number" "$seconds" "$command" &
    done
    sleep 0.1 # the host has gone, or is not there yet
done
