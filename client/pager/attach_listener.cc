// SPDX-License-Identifier: BSD-3-Clause
#include "client/pager/attach_listener.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <system_error>

#include "client/pager/attach_message.h"

namespace lagan::client::pager {

namespace {

constexpr size_t kDescriptors = 2;

[[noreturn]] void fail(const char* what) {
    throw std::system_error(errno, std::generic_category(), what);
}

struct Received {
    AttachRequest request{};
    std::array<Descriptor, kDescriptors> descriptors;
};

// False unless exactly one well-formed request with its two descriptors has come.
bool receive(int connection, Received& received) {
    iovec data{&received.request, sizeof received.request};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(kDescriptors * sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t bytes = recvmsg(connection, &message, MSG_CMSG_CLOEXEC);
    if (bytes < 0) return false;

    size_t count = 0;
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        const size_t here = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < here; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
            Descriptor owned(fd);
            if (count < kDescriptors) received.descriptors[count] = std::move(owned);
            ++count;
        }
    }
    return static_cast<size_t>(bytes) == sizeof received.request &&
           (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0 && count == kDescriptors;
}

bool acceptable(const Received& received, uint64_t bytes) {
    const AttachRequest& request = received.request;
    struct stat info {};
    return request.magic == kAttachMagic && request.version == kAttachVersion && request.bytes == bytes &&
           request.base % kPageBytes == 0 && request.base <= UINT64_MAX - bytes &&
           fstat(received.descriptors[1].get(), &info) == 0 && S_ISREG(info.st_mode) &&
           static_cast<uint64_t>(info.st_size) == bytes;
}

void reply(int connection, bool accepted) {
    const AttachReply message{kAttachMagic, accepted ? 1u : 0u};
    // If the program is gone there is nobody to tell.
    [[maybe_unused]] const ssize_t sent = send(connection, &message, sizeof message, MSG_NOSIGNAL);
}

}  // namespace

AttachListener::AttachListener() {
    const char* base = std::getenv("XDG_RUNTIME_DIR");
    directory_ = std::string(base && *base ? base : "/tmp") + "/lagan-XXXXXX";
    if (!mkdtemp(directory_.data())) {
        directory_ = "/tmp/lagan-XXXXXX";
        if (!mkdtemp(directory_.data())) fail("cannot make a directory under /tmp for the pager's socket");
    }
    path_ = directory_ + "/pager.sock";
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path_.size() >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        fail(path_.c_str());
    }
    std::memcpy(address.sun_path, path_.c_str(), path_.size() + 1);
    listener_ = Descriptor(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!listener_ ||
        bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        listen(listener_.get(), 8) != 0) {
        fail(path_.c_str());
    }
}

AttachListener::~AttachListener() {
    unlink(path_.c_str());
    rmdir(directory_.c_str());
}

AttachListener::Attachment AttachListener::accept(pid_t program, uint64_t bytes) {
    Attachment attachment;
    attachment.connection = Descriptor(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!attachment.connection) return attachment;
    const int connection = attachment.connection.get();

    ucred peer{};
    socklen_t length = sizeof peer;
    const timeval patience{1, 0};
    Received received;
    const bool good = getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 &&
                      peer.pid == program &&
                      setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0 &&
                      receive(connection, received) && acceptable(received, bytes);
    if (!good) {
        reply(connection, false);
        return attachment;
    }
    attachment.space = std::make_unique<UserfaultSpace>(
        std::move(received.descriptors[0]), std::move(received.descriptors[1]), received.request.base, bytes);
    return attachment;
}

void AttachListener::confirm(const Attachment& attachment) {
    reply(attachment.connection.get(), true);
}

}  // namespace lagan::client::pager
