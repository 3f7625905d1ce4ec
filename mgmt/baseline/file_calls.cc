// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/baseline/file_calls.h"

#include <fcntl.h>
#include <unistd.h>

namespace lagan::baseline {

ssize_t FileCalls::pwritev(int fd, const iovec* pieces, int count, off_t offset) {
    return ::pwritev(fd, pieces, count, offset);
}

ssize_t FileCalls::pread(int fd, void* to, size_t bytes, off_t offset) {
    return ::pread(fd, to, bytes, offset);
}

int FileCalls::fallocate(int fd, off_t bytes) {
    return ::fallocate(fd, 0, 0, bytes);
}

int FileCalls::fsync(int fd) {
    return ::fsync(fd);
}

int FileCalls::link(int folder, const char* from, const char* to) {
    return ::linkat(folder, from, folder, to, 0);
}

FileCalls& FileCalls::real() {
    static FileCalls calls;
    return calls;
}

}  // namespace lagan::baseline
