// SPDX-License-Identifier: BSD-3-Clause
// A userfaultfd that also sees the faults of system calls (read() into the heap), which is why
// UFFD_USER_MODE_ONLY, free to everybody, is no way out. Used in the program before main(), so without the
// C++ library; and by `lagan run`, to say at once that it is not permitted.
#pragma once

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace lagan::client::pager {

constexpr const char* kNotPermitted =
    "userfaultfd is not permitted here: run as root, or grant CAP_SYS_PTRACE, or set "
    "vm.unprivileged_userfaultfd=1, or (Linux 6.1 and later) give this user access to /dev/userfaultfd";

// What the pager needs of it: faults of a shared mapping, write protection of one (Linux 5.19), given-up
// pages.
constexpr uint64_t kUserfaultFeatures = UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_PAGEFAULT_FLAG_WP |
                                        UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_EVENT_REMOVE;

// -1: not permitted.
inline int open_userfaultfd() {
    const long fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0) return static_cast<int>(fd);
    const int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    if (device < 0) return -1;
    const int from_device = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
    close(device);
    return from_device;
}

}  // namespace lagan::client::pager
