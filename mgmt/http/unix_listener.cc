// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/http/unix_listener.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace lagan::http {

namespace {

constexpr mode_t kMode = 0660;  // its owner and group
constexpr int kBacklog = 64;

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what) {
    throw std::runtime_error("unix socket " + path.string() + ": " + what);
}

[[noreturn]] void fail_errno(const std::filesystem::path& path, const std::string& action) {
    fail(path, action + ": " + std::strerror(errno));
}

sockaddr_un make_address(const std::filesystem::path& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.native().size() >= sizeof address.sun_path) fail(path, "the path is longer than 107 characters");
    std::memcpy(address.sun_path, path.c_str(), path.native().size());
    return address;
}

const sockaddr* as_sockaddr(const sockaddr_un& address) {
    return reinterpret_cast<const sockaddr*>(&address);
}

int make_socket(const std::filesystem::path& path) {
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) fail_errno(path, "cannot make a socket");
    return fd;
}

// Whether a process listens there: connecting succeeds, or its queue is full.
bool somebody_answers(const std::filesystem::path& path, const sockaddr_un& address) {
    const int fd = make_socket(path);
    const bool answered = connect(fd, as_sockaddr(address), sizeof address) == 0 || errno == EAGAIN;
    close(fd);
    return answered;
}

}  // namespace

void make_way_for_socket(const std::filesystem::path& path) {
    const sockaddr_un address = make_address(path);
    std::error_code error;
    std::filesystem::create_directories(path.parent_path(), error);
    if (error) fail(path, "cannot make its directory: " + error.message());

    struct stat status {};
    if (lstat(path.c_str(), &status) != 0) return;
    if (!S_ISSOCK(status.st_mode))
        fail(path, "is in the way and is no socket; remove it or name another path");
    if (somebody_answers(path, address)) {
        fail(path, "another process answers there (a second lagand?); stop it or name another path");
    }
    if (unlink(path.c_str()) != 0) fail_errno(path, "cannot remove the socket that a dead process left");
}

UnixListener::UnixListener(std::filesystem::path path)
    : path_(std::move(path)), fd_(-1), device_(0), inode_(0) {
    make_way_for_socket(path_);
    const sockaddr_un address = make_address(path_);
    fd_ = make_socket(path_);
    fchmod(fd_, kMode);  // what bind() makes is never wider than this; the umask can make it narrower
    struct stat status {};
    if (bind(fd_, as_sockaddr(address), sizeof address) != 0 || chmod(path_.c_str(), kMode) != 0 ||
        listen(fd_, kBacklog) != 0 || stat(path_.c_str(), &status) != 0) {
        const int failed = errno;
        close(std::exchange(fd_, -1));
        errno = failed;
        fail_errno(path_, "cannot listen");
    }
    device_ = status.st_dev;
    inode_ = status.st_ino;
}

UnixListener::~UnixListener() {
    if (fd_ >= 0) close(fd_);
    struct stat status {};
    if (stat(path_.c_str(), &status) == 0 && status.st_dev == device_ && status.st_ino == inode_)
        unlink(path_.c_str());
}

int UnixListener::release() {
    return std::exchange(fd_, -1);
}

}  // namespace lagan::http
