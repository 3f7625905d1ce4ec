// SPDX-License-Identifier: BSD-3-Clause
// A listening unix socket and its file.
#pragma once

#include <sys/types.h>

#include <filesystem>

namespace lagan::http {

// Makes the directory in which a socket is to be made, and removes the socket if a dead process left it
// there. Throws std::runtime_error, naming the path, if somebody answers on it or it is a file of another
// kind.
void make_way_for_socket(const std::filesystem::path& path);

class UnixListener {
  public:
    // Makes way, then the socket, mode 0660, and listens. Throws std::runtime_error naming the path.
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

}  // namespace lagan::http
