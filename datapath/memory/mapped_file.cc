// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/memory/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <limits>
#include <string>
#include <system_error>

#include "datapath/memory/file_room.h"
#include "datapath/memory/page.h"
#include "datapath/memory/parallel.h"

#ifndef MADV_POPULATE_WRITE  // Linux 5.14; older libc headers lack it
#define MADV_POPULATE_WRITE 23
#endif

namespace lagan::memory {

namespace {

constexpr size_t kPopulateGrain = 64U << 20;

[[noreturn]] void fail(int error, const char* call, const std::filesystem::path& path, uint64_t bytes,
                       bool huge) {
    std::string what = std::string(call) + " " + path.string() + " (" + std::to_string(bytes) + " bytes)";
    if (error == ENOMEM || error == ENOSPC || error == EFAULT) {
        error = ENOSPC;  // populate says EFAULT where a store would have got SIGBUS
        what += huge ? ", not enough free huge pages: raise vm.nr_hugepages or ask for less"
                     : ", the file system or the memory is full: ask for less or enlarge it";
    }
    throw std::system_error(error, std::generic_category(), what);
}

// Allocates every page of the mapping, on several threads, since a core zeroes only a few GiB a second.
// Returns an errno value.
int commit(int fd, std::span<std::byte> memory) {
    std::atomic<int> error{0};
    try {
        parallel_slices(memory.size(), kPopulateGrain, [&](size_t begin, size_t end) {
            while (madvise(memory.data() + begin, end - begin, MADV_POPULATE_WRITE) != 0) {
                if (errno == EINTR || errno == EAGAIN) continue;
                error.store(errno, std::memory_order_relaxed);
                return;
            }
        });
    } catch (const std::system_error& no_thread) {
        return no_thread.code().value();
    }
    if (error.load() != EINVAL) return error.load();
    return posix_fallocate(fd, 0, static_cast<off_t>(memory.size()));  // a kernel before 5.14
}

}  // namespace

FileDescriptor::~FileDescriptor() {
    if (fd_ >= 0) close(fd_);
}

MappedFile::MappedFile(const std::filesystem::path& path, uint64_t bytes) {
    const uint64_t huge = huge_page_bytes(path.parent_path());
    const uint64_t unit = huge != 0 ? huge : kPageBytes;
    if (bytes == 0 || bytes > static_cast<uint64_t>(std::numeric_limits<off_t>::max()) - unit)
        fail(EFBIG, "create", path, bytes, huge != 0);
    const uint64_t size = (bytes + unit - 1) / unit * unit;

    // Asked beforehand: tmpfs gives out memory until the kernel has to kill somebody.
    if (size > obtainable_bytes(path.parent_path())) fail(ENOSPC, "create", path, size, huge != 0);

    const FileDescriptor file(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (file.get() < 0) fail(errno, "create", path, size, huge != 0);
    const auto undo = [&](int error, const char* call) {
        if (!bytes_.empty()) munmap(bytes_.data(), bytes_.size());
        unlink(path.c_str());
        fail(error, call, path, size, huge != 0);
    };
    if (ftruncate(file.get(), static_cast<off_t>(size)) != 0) undo(errno, "ftruncate");
    // On hugetlbfs this reserves the pages, and fails here when there are too few.
    void* address = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    if (address == MAP_FAILED) undo(errno, "mmap");
    bytes_ = {static_cast<std::byte*>(address), size};
    // Both are only advice. Tenants' pages have no place in a core file.
    madvise(address, size, MADV_DONTDUMP);
    if (huge == 0) madvise(address, size, MADV_HUGEPAGE);
    if (const int error = commit(file.get(), bytes_); error != 0) undo(error, "allocate");
}

MappedFile::~MappedFile() {
    if (!bytes_.empty()) munmap(bytes_.data(), bytes_.size());
}

}  // namespace lagan::memory
