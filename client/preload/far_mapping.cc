// SPDX-License-Identifier: BSD-3-Clause
#include "client/preload/far_mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "client/pager/attach_message.h"
#include "client/pager/open_userfaultfd.h"

namespace lagan::client::preload {

namespace {

void say(const char* text) {
    [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, text, strlen(text));
}

int open_userfaultfd_or_die() {
    const int fd = pager::open_userfaultfd();
    if (fd >= 0) return fd;
    die(pager::kNotPermitted);
}

void register_faults(int fd, void* base, size_t bytes) {
    uffdio_api api{};
    api.api = UFFD_API;
    api.features = pager::kUserfaultFeatures;
    if (ioctl(fd, UFFDIO_API, &api) != 0) {
        die("this kernel cannot write-protect shared memory by userfaultfd: Linux 5.19 or later is needed");
    }
    uffdio_register registration{};
    registration.range.start = reinterpret_cast<uintptr_t>(base);
    registration.range.len = bytes;
    registration.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP;
    if (ioctl(fd, UFFDIO_REGISTER, &registration) != 0) die("userfaultfd: cannot register the far mapping");
}

int connect_to(const char* path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (strlen(path) >= sizeof address.sun_path) die("LAGAN_PAGER_SOCKET is too long");
    strcpy(address.sun_path, path);
    const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        die("cannot reach the pager that started this program");
    }
    return fd;
}

bool hand_over(int connection, int userfault, int memory, uint64_t base, uint64_t bytes) {
    pager::AttachRequest request{pager::kAttachMagic, pager::kAttachVersion, base, bytes};
    iovec data{&request, sizeof request};
    const int descriptors[2] = {userfault, memory};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof descriptors)] = {};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof descriptors);
    memcpy(CMSG_DATA(header), descriptors, sizeof descriptors);
    if (sendmsg(connection, &message, MSG_NOSIGNAL) < 0) return false;

    pager::AttachReply reply{};
    ssize_t got;
    do {
        got = recv(connection, &reply, sizeof reply, 0);
    } while (got < 0 && errno == EINTR);
    return got == static_cast<ssize_t>(sizeof reply) && reply.magic == pager::kAttachMagic &&
           reply.accepted == 1;
}

}  // namespace

void die(const char* message) {
    say("lagan: ");
    say(message);
    say("\n");
    _exit(pager::kExitLaganFailed);
}

void FarMapping::make(const char* socket_path, uint64_t bytes) {
    const int connection = connect_to(socket_path);
    const int memory = static_cast<int>(syscall(SYS_memfd_create, "lagan", MFD_CLOEXEC));
    if (memory < 0 || ftruncate(memory, static_cast<off_t>(bytes)) != 0)
        die("cannot make a memfd of the region's size");
    void* base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, memory, 0);
    if (base == MAP_FAILED) die("cannot map the region: is there a limit on address space (ulimit -v)?");
    // A forked child has no far memory at all rather than somebody else's; a core dump must not page it all
    // in.
    if (madvise(base, bytes, MADV_DONTFORK) != 0) die("madvise(MADV_DONTFORK) failed");
    madvise(base, bytes, MADV_NOHUGEPAGE);
    madvise(base, bytes, MADV_DONTDUMP);
    const int userfault = open_userfaultfd_or_die();
    register_faults(userfault, base, bytes);
    if (!hand_over(connection, userfault, memory, reinterpret_cast<uintptr_t>(base), bytes)) {
        die("the pager refused this program's mapping");
    }
    close(connection);
    close(memory);
    // Kept open, out of the way: should the pager die, a fault then waits (until this process is killed as
    // well) instead of being given a page of zeros when the last descriptor closes.
    if (fcntl(userfault, F_DUPFD_CLOEXEC, 700) >= 0) close(userfault);
    base_ = reinterpret_cast<uintptr_t>(base);
    bytes_ = bytes;
}

void* FarMapping::take(void* at, size_t size, size_t alignment) {
    size_t used = __atomic_load_n(&used_, __ATOMIC_RELAXED);
    for (;;) {
        const uintptr_t start = (base_ + used + alignment - 1) & ~(uintptr_t{alignment} - 1);
        const size_t offset = start - base_;
        if (at && start != reinterpret_cast<uintptr_t>(at)) return nullptr;
        if (offset > bytes_ || size > bytes_ - offset) return nullptr;
        if (__atomic_compare_exchange_n(&used_, &used, offset + size, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED)) {
            return reinterpret_cast<void*>(start);
        }
    }
}

// On a shared mapping MADV_DONTNEED would keep the content.
bool FarMapping::release(void* address, size_t size) {
    return syscall(SYS_madvise, address, size, MADV_REMOVE) == 0;
}

}  // namespace lagan::client::preload
