#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The guest's kernel and initramfs, made of Debian packages and kept in the build folder.

image.py            make what is missing (fetches Debian's kernel package: needs a mirror the first time)

The kernel is the one that linux-image-amd64 depends on, downloaded and unpacked, never installed. The initramfs has the modules
of kModules, dash and busybox, iproute2, rdma-core, the programs of kPrograms with all their libraries, and init.sh. Both are made
again when what they are made of has changed. A test's own programs come in an archive of their own behind it (overlay()).
"""
import fcntl
import hashlib
import lzma
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import zlib

kRoot = pathlib.Path(__file__).resolve().parents[2]
kFolder = pathlib.Path(os.environ.get("LAGAN_BUILD_ROOT", kRoot / "build")) / "guest"
kInit = pathlib.Path(__file__).with_name("init.sh")
# What is asked for; what they depend on comes with them.
kModules = ("virtio_pci", "virtio_net", "virtio_console", "8021q", "crc32_generic", "rdma_rxe", "rdma_ucm", "sch_netem", "cls_u32")
kPrograms = ("dash", "ip", "tc", "rdma", "timeout", "base64", "flock", "dmesg", "taskset", "ping",
             "rping", "ucmatose", "ibv_devinfo", "ibv_devices", "ibv_rc_pingpong",
             "ib_read_bw", "ib_read_lat", "ib_write_bw", "ib_write_lat", "ib_send_bw", "ib_send_lat", "ib_atomic_bw")
# Found by dlopen, so that ldd does not tell of them: the verbs provider, and what ends threads.
kPlugins = ("/usr/lib/x86_64-linux-gnu/libgcc_s.so.1", "/usr/lib/x86_64-linux-gnu/libibverbs/librxe-rdmav*.so")
kFiles = ("/etc/libibverbs.d/rxe.driver", "/bin/busybox")


class ImageError(Exception):
    pass


def output(*argv, **more):
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, **more)
    if done.returncode != 0:
        raise ImageError(f"{' '.join(map(str, argv))}: {(done.stderr or done.stdout).strip()[-400:]}")
    return done.stdout


# --- the kernel

def kernel_package():
    """The name of the package with Debian's kernel, as "linux-image-6.1.0-56-amd64"."""
    found = re.search(r"Depends: (linux-image-\d\S*)", output("apt-cache", "depends", "linux-image-amd64"))
    if not found:
        raise ImageError("apt-cache knows no linux-image-amd64; run: apt-get update")
    return found.group(1)


def download(package, folder):
    argv = ["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", package]
    try:
        output(*argv, cwd=folder)
    except ImageError:  # old lists name a version that the mirror has replaced
        output("apt-get", "update", "-q", "-o", "DPkg::Lock::Timeout=300")
        output(*argv, cwd=folder)
    return next(folder.glob("*.deb"))


def elf_kernel(bzimage):
    """The ELF image in a bzImage: a guest without KVM would take many seconds to unpack it (Linux boot protocol, 2.08)."""
    data = bzimage.read_bytes()
    setup_sectors = data[0x1f1] or 4
    offset, length = (int.from_bytes(data[at:at + 4], "little") for at in (0x248, 0x24c))
    payload = data[(setup_sectors + 1) * 512 + offset:][:length]
    if payload.startswith(b"\xfd7zXZ"):
        kernel = lzma.LZMADecompressor().decompress(payload)
    elif payload.startswith(b"\x1f\x8b"):
        kernel = zlib.decompressobj(31).decompress(payload)
    else:
        raise ImageError(f"{bzimage}: the kernel is neither xz nor gzip, and begins with {payload[:6].hex()}")
    if not kernel.startswith(b"\x7fELF"):
        raise ImageError(f"{bzimage}: what was unpacked is no ELF file")
    return kernel


def module_order(tree, version):
    """Files of the modules, each behind those that it depends on."""
    output("depmod", "-b", tree, version)
    base = tree / "lib/modules" / version
    needs = {}
    for line in (base / "modules.dep").read_text().splitlines():
        file, _, rest = line.partition(":")
        needs[pathlib.Path(file).name.split(".ko")[0].replace("-", "_")] = [base / name for name in (file, *rest.split())]
    order = []
    for module in kModules:
        if module not in needs:
            raise ImageError(f"the kernel {version} has no module {module}")
        # modules.dep names the nearest first.
        order += [file for file in reversed(needs[module]) if file not in order]
    return order


def make_kernel(package, folder):
    """vmlinux and modules/ (with the file `order`) in folder."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        tree = pathlib.Path(scratch)
        output("dpkg-deb", "-x", download(package, tree), tree)
        version = package.removeprefix("linux-image-")
        (folder / "vmlinux").write_bytes(elf_kernel(tree / "boot" / f"vmlinuz-{version}"))
        modules = folder / "modules"
        modules.mkdir()
        order = module_order(tree, version)
        for file in order:
            if file.suffix == ".ko":
                output("strip", "--strip-debug", "-o", modules / file.name, file)
            else:
                shutil.copy(file, modules)
        (modules / "order").write_text("".join(f"{file.name}\n" for file in order))


# --- the initramfs

def libraries(*programs):
    """The shared libraries that the programs are loaded with."""
    found = set()
    for program in programs:
        done = subprocess.run(["ldd", str(program)], capture_output=True, text=True)  # a static program is no error
        found.update(re.findall(r"(/\S+\.so\S*)", done.stdout))
        if "not found" in done.stdout:
            raise ImageError(f"{program}: {done.stdout}")
    return sorted(found)


def place(root, source, name=None):
    """Copies a file to where it is here; /lib and /bin are links into /usr in the guest, as in Debian."""
    target = root / (name or str(source)).lstrip("/")
    parts = target.relative_to(root).parts
    if parts[0] in ("bin", "sbin", "lib", "lib64"):
        target = root.joinpath("usr", *parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        shutil.copy(source, target)


def found_program(name):
    path = shutil.which(name, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    if path is None:
        raise ImageError(f"{name} is not installed; run tools/setup")
    return pathlib.Path(path).resolve()


def base_files():
    """Path in the guest → file here."""
    plugins = [path for pattern in kPlugins for path in sorted(pathlib.Path("/").glob(pattern.lstrip("/")))]
    programs = {name: found_program(name) for name in kPrograms}
    files = {f"/usr/bin/{name}": path for name, path in programs.items()}
    files |= {path: path for path in libraries(*programs.values(), *plugins)}
    return files | {str(path): path for path in plugins} | {name: name for name in kFiles}


def archive(root, target, level):
    """A compressed cpio archive of root; a kernel takes several of them behind each other."""
    names = "\0".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    packed = subprocess.run(["cpio", "--quiet", "-0", "-o", "-H", "newc", "-R", "0:0"], input=names.encode(), cwd=root,
                            stdout=subprocess.PIPE, check=True).stdout
    packer = zlib.compressobj(level, wbits=31)
    target.write_bytes(packer.compress(packed) + packer.flush())


def make_initramfs(folder):
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        root = pathlib.Path(scratch)
        for name in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "proc", "sys", "dev", "run", "tmp", "etc", "root"):
            (root / name).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            (root / name).symlink_to(f"usr/{name}")
        for name, source in base_files().items():
            place(root, source, name)
        (root / "usr/bin/sh").symlink_to("dash")
        for applet in output("/bin/busybox", "--list").split():
            link = root / "usr/bin" / applet
            if not link.exists():
                link.symlink_to("busybox")
        shutil.copytree(folder / "modules", root / "modules")
        shutil.copy(kInit, root / "init")
        (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
        archive(root, folder / "base.img", 1)


def overlay(programs, target):
    """An archive of programs, as paths here or as (path here, path there), with the libraries that the base has not."""
    known = {os.path.realpath(name) for name in base_files()}
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        root = pathlib.Path(scratch)
        for program in programs:
            source, name = program if isinstance(program, tuple) else (program, f"/usr/bin/{pathlib.Path(program).name}")
            place(root, source, name)
            for library in libraries(source):
                if os.path.realpath(library) not in known:
                    place(root, library)
        archive(root, target, 1)


# --- kept in the build folder

def stamp(package):
    """What the image is made of."""
    digest = hashlib.sha256(package.encode())
    for path in (pathlib.Path(__file__), kInit):
        digest.update(path.read_bytes())
    for name, path in base_files().items():
        about = os.stat(path)
        digest.update(f"{name} {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def ready():
    """The folder with vmlinux and base.img; makes it when there is none of what is installed now."""
    kFolder.mkdir(parents=True, exist_ok=True)
    with open(kFolder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        package = kernel_package()
        folder = kFolder / f"{package.removeprefix('linux-image-')}-{stamp(package)}"
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=kFolder) as scratch:
                made = pathlib.Path(scratch) / "image"
                made.mkdir()
                make_kernel(package, made)
                make_initramfs(made)
                for old in kFolder.glob("[0-9]*"):
                    shutil.rmtree(old)
                made.rename(folder)
        return folder


if __name__ == "__main__":
    try:
        print(ready())
    except (ImageError, OSError) as error:
        sys.exit(f"image: error: the guest's kernel and initramfs could not be made: {error}")
