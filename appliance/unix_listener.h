// SPDX-License-Identifier: BSD-3-Clause
// A listening unix socket and its file.
#pragma once

#include <sys/types.h>

#include <filesystem>

namespace lagan::appliance {

class UnixListener {
  public:
    // Makes the directory and the socket, mode 0660, and listens. A socket file that nobody answers on is replaced; one that
    // somebody answers on, or a file that is no socket, is an error. Throws std::runtime_error naming the path.
    explicit UnixListener(std::filesystem::path path);

    // Closes the socket if release() was not called, and removes the file if it is still the one made here.
    ~UnixListener();
    UnixListener(const UnixListener&) = delete;
    UnixListener& operator=(const UnixListener&) = delete;

    // The descriptor, which the caller closes from then on.
    int release();

  private:
    std::filesystem::path path_;
    int fd_;
    dev_t device_;
    ino_t inode_;
};

}  // namespace lagan::appliance
