// SPDX-License-Identifier: BSD-3-Clause
// The system calls through which the directory engine writes and reads: tests put faults here.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

namespace lagan::baseline {

// As in sections 2 of the manual: -1 and errno. Thread-safe.
class FileCalls {
  public:
    virtual ~FileCalls() = default;
    virtual ssize_t pwritev(int fd, const iovec* pieces, int count, off_t offset);
    virtual ssize_t pread(int fd, void* to, size_t bytes, off_t offset);
    virtual int fallocate(int fd, off_t bytes);
    virtual int fsync(int fd);
    virtual int link(int folder, const char* from, const char* to);

    static FileCalls& real();
};

}  // namespace lagan::baseline
