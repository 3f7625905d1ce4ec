// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/memory/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <limits>
#include <stdexcept>
#include <string>
#include <system_error>

#include <tbb/parallel_for.h>

#include "datapath/memory/file_room.h"
#include "datapath/memory/page.h"

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
int commit(int fd, std::span<std::byte> memory, const MappedFile::Progress& progress) {
    std::atomic<int> error{0};
    std::atomic<uint64_t> done{0};
    const size_t grains = (memory.size() + kPopulateGrain - 1) / kPopulateGrain;
    tbb::parallel_for(size_t{0}, grains, [&](size_t grain) {
        const size_t begin = grain * kPopulateGrain;
        const size_t bytes = std::min(kPopulateGrain, memory.size() - begin);
        while (madvise(memory.data() + begin, bytes, MADV_POPULATE_WRITE) != 0) {
            if (errno == EINTR || errno == EAGAIN) continue;
            error.store(errno, std::memory_order_relaxed);
            return;
        }
        if (progress) progress(done += bytes, memory.size());
    });
    if (error.load() != EINVAL) return error.load();
    return posix_fallocate(fd, 0, static_cast<off_t>(memory.size()));  // a kernel before 5.14
}

}  // namespace

FileDescriptor::~FileDescriptor() {
    if (fd_ >= 0) close(fd_);
}

MappedFile::MappedFile(const std::filesystem::path& path, uint64_t bytes, const Progress& progress) {
    const uint64_t huge = huge_page_bytes(path.parent_path());
    const uint64_t unit = huge != 0 ? huge : kPageBytes;
    if (bytes == 0 || bytes > static_cast<uint64_t>(std::numeric_limits<off_t>::max()) - unit)
        fail(EFBIG, "create", path, bytes, huge != 0);
    const uint64_t size = (bytes + unit - 1) / unit * unit;

    // Asked beforehand: tmpfs gives out memory until the kernel has to kill somebody.
    if (size > obtainable_bytes(path.parent_path())) fail(ENOSPC, "create", path, size, huge != 0);

    const FileDescriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
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
    if (const int error = commit(file.get(), bytes_, progress); error != 0) undo(error, "allocate");
}

MappedFile MappedFile::open(const std::filesystem::path& path, uint64_t bytes, Access access,
                            const Progress& progress) {
    const bool writable = access == Access::read_write;
    const FileDescriptor file(::open(path.c_str(), (writable ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_CLOEXEC));
    struct stat info {};
    if (file.get() < 0 || fstat(file.get(), &info) != 0)
        throw std::system_error(errno, std::generic_category(), "open " + path.string());
    if (bytes == 0 || info.st_size < 0 || static_cast<uint64_t>(info.st_size) < bytes)
        throw std::runtime_error(path.string() + " has " + std::to_string(info.st_size) + " bytes, not " +
                                 std::to_string(bytes));
    const auto size = static_cast<size_t>(info.st_size);
    void* address = mmap(nullptr, size, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, file.get(), 0);
    if (address == MAP_FAILED)
        throw std::system_error(errno, std::generic_category(), "mmap " + path.string());
    MappedFile mapped;
    mapped.bytes_ = {static_cast<std::byte*>(address), size};
    madvise(address, size, MADV_DONTDUMP);
    if (writable) {
        if (const int error = commit(file.get(), mapped.bytes_, progress); error != 0)
            throw std::system_error(error, std::generic_category(), "allocate " + path.string());
    }
    return mapped;
}

MappedFile::~MappedFile() {
    if (!bytes_.empty()) munmap(bytes_.data(), bytes_.size());
}

}  // namespace lagan::memory
