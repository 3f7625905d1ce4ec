// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/baseline/file_writer.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <vector>

#include "datapath/memory/page.h"

namespace lagan::baseline {

namespace {

constexpr size_t kBatchBytes = 4U << 20;  // per system call

bool on_pages(std::span<const Bytes> content) {
    return std::all_of(content.begin(), content.end(), [](Bytes piece) {
        return reinterpret_cast<uintptr_t>(piece.data()) % memory::kPageBytes == 0 &&
               piece.size() % memory::kPageBytes == 0;
    });
}

// The content as one row of bytes, handed out in batches of vectors.
class Cursor {
  public:
    explicit Cursor(std::span<const Bytes> content) : content_(content) {}

    // Up to kBatchBytes from here on; empty at the end.
    std::span<const iovec> batch() {
        batch_.clear();
        size_t bytes = 0;
        size_t skip = skip_;
        for (size_t i = piece_; i < content_.size() && batch_.size() < IOV_MAX && bytes < kBatchBytes; ++i) {
            const Bytes rest = content_[i].subspan(skip);
            skip = 0;
            const size_t length = std::min(rest.size(), kBatchBytes - bytes);
            if (length == 0) continue;
            batch_.push_back({const_cast<std::byte*>(rest.data()), length});  // pwritev only reads it
            bytes += length;
        }
        return batch_;
    }
    void advance(size_t bytes) {
        written_ += bytes;
        for (skip_ += bytes; piece_ < content_.size() && skip_ >= content_[piece_].size(); ++piece_)
            skip_ -= content_[piece_].size();
    }
    size_t written() const { return written_; }

  private:
    const std::span<const Bytes> content_;
    size_t piece_ = 0;
    size_t skip_ = 0;  // bytes of the piece that are written
    size_t written_ = 0;
    std::vector<iovec> batch_;
};

bool set_direct(int fd, bool on) {
    const int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && fcntl(fd, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT) == 0;
}

int write_pieces(FileCalls& calls, int fd, std::span<const Bytes> content) {
    bool direct = on_pages(content) && set_direct(fd, true);
    Cursor cursor(content);
    for (std::span<const iovec> batch = cursor.batch(); !batch.empty();) {
        const ssize_t written = calls.pwritev(fd, batch.data(), static_cast<int>(batch.size()),
                                              static_cast<off_t>(cursor.written()));
        if (written < 0 && errno == EINTR) continue;
        if (written < 0 && errno == EINVAL &&
            direct) {  // the file system's blocks are larger, or it has none
            direct = false;
            if (set_direct(fd, false)) continue;
        }
        if (written < 0) return errno;
        if (written == 0) return EIO;
        cursor.advance(static_cast<size_t>(written));
        batch = cursor.batch();
    }
    return 0;
}

}  // namespace

int write_file(FileCalls& calls, int fd, std::span<const Bytes> content) {
    // Says at once when there is no room, and gives the file few extents. Not all file systems can.
    const auto bytes = static_cast<off_t>(total_bytes(content));
    int error = 0;
    do
        error = bytes == 0 || calls.fallocate(fd, bytes) == 0 ? 0 : errno;
    while (error == EINTR);
    if (error != 0 && error != EOPNOTSUPP && error != ENOSYS && error != EINVAL) return error;
    if (error = write_pieces(calls, fd, content); error != 0) return error;
    // Never a second fsync after a failed one: the kernel may have dropped what it could not write.
    return calls.fsync(fd) == 0 ? 0 : errno;
}

}  // namespace lagan::baseline
