# SPDX-License-Identifier: BSD-3-Clause
"""A one-node Ceph on loopback: monitor, OSD and S3 gateway, all of its state under one directory."""
import pathlib
import shutil
import socket
import uuid

from errors import Failure

kPrograms = ("ceph-mon", "ceph-osd", "monmaptool", "osdmaptool", "radosgw", "radosgw-admin")
kPorts = 90  # in a row: monitor, OSD's messengers, gateway
kAccessKey, kSecretKey = "LAGANTESTKEY", "lagan-test-secret"

kConfiguration = """
[global]
fsid = {fsid}
mon_host = [v2:127.0.0.1:{port}/0]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_msgr1 = false
ms_bind_port_min = {osd_low}
ms_bind_port_max = {osd_high}
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
auth_allow_insecure_global_id_reclaim = false
keyring = {dir}/keyring
run_dir = {dir}/run
admin_socket = {dir}/run/$name.$pid.asok
pid_file = {dir}/run/$name.pid
log_file = {dir}/log/$name.log
crash_dir = {dir}/crash
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pgp_num = 1
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_allow_pool_delete = true
mon_warn_on_pool_no_redundancy = false
paxos_propose_interval = 0.02
paxos_min_wait = 0.01
[mon]
mon_data = {dir}/mon
mon_cluster_log_file = {dir}/log/cluster.log
mon_data_avail_crit = 1
mon_data_avail_warn = 2
[osd]
osd_data = {dir}/osd
osd_objectstore = bluestore
osd_crush_update_on_start = false
osd_op_num_shards = 2
osd_op_num_threads_per_shard = 1
bluestore_block_size = 10737418240
bluestore_fsck_on_mkfs = false
bdev_aio_poll_ms = 5
[client]
admin_socket =
objecter_timeout = 1
objecter_tick_interval = 0.25
client_mount_timeout = 60
rados_osd_op_timeout = 60
rados_mon_op_timeout = 60
[client.rgw.a]
rgw_data = {dir}/rgw
ms_mon_client_mode = crc
rgw_frontends = beast endpoint=127.0.0.1:{gateway}
rgw_thread_pool_size = 16
rgw_enable_lc_threads = false
rgw_enable_gc_threads = false
rgw_run_sync_thread = false
"""


def free_ports(t, count=kPorts):
    """The first of so many ports in a row that nobody has, below the range that the kernel gives out."""
    for _ in range(200):
        first = t.rng.randrange(10000, 32000 - count)
        sockets = []
        try:
            for port in range(first, first + count):
                sockets.append(socket.socket())
                sockets[-1].bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
        finally:
            for each in sockets:
                each.close()
    raise Failure(f"no {count} free ports in a row")


class Ceph:
    """Started by the constructor; what it starts ends with the case (or the suite's shared part) that `t` is of."""

    def __init__(self, t, directory):
        missing = [name for name in kPrograms if shutil.which(name) is None]
        if missing:
            raise Failure(f"{', '.join(missing)} not installed: run ./tools/setup --group test")
        self.t, self.dir = t, pathlib.Path(directory)
        for name in ("run", "log", "crash", "mon", "osd", "rgw"):
            (self.dir / name).mkdir(parents=True)
        port = free_ports(t)
        self.endpoint = f"http://127.0.0.1:{port + 80}"
        self.conf = self.dir / "ceph.conf"
        fsid = str(uuid.UUID(int=t.rng.getrandbits(128), version=4))
        self.conf.write_text(kConfiguration.format(dir=self.dir, fsid=fsid, port=port, osd_low=port + 10,
                                                   osd_high=port + 60, gateway=port + 80))
        monmap, osdmap = self.dir / "monmap", self.dir / "osdmap"
        t.run(["monmaptool", "--create", "--clobber", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{port}]", monmap])
        t.run(["osdmaptool", "-c", self.conf, "--createsimple", "1", osdmap, "--clobber"])
        t.run(["ceph-mon", "-c", self.conf, "-i", "a", "--mkfs", "--monmap", monmap, "--osdmap", osdmap])
        self.monitor = t.start(["ceph-mon", "-c", self.conf, "-i", "a", "-f"])
        t.run(["ceph-osd", "-c", self.conf, "-i", "0", "--mkfs", "--osd-uuid", str(uuid.uuid4()), "--no-mon-config"], timeout=60)
        self.start_osd()

    def start_osd(self):
        self.osd = self.t.start(["ceph-osd", "-c", self.conf, "-i", "0", "-f"])

    def start_gateway(self):
        self.gateway = self.t.start(["radosgw", "-c", self.conf, "-n", "client.rgw.a", "-f"])

    def make_user(self):
        self.t.run(["radosgw-admin", "-c", self.conf, "user", "create", "--uid=lagan", "--display-name=lagan",
                    f"--access-key={kAccessKey}", f"--secret-key={kSecretKey}"], timeout=120)

    def wait_for_gateway(self):
        def answers():
            host, port = self.endpoint.removeprefix("http://").split(":")
            try:
                socket.create_connection((host, int(port)), 1).close()
                return True
            except OSError:
                return False
        self.t.wait_until(answers, "the S3 gateway listens", 60)
