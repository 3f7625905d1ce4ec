// SPDX-License-Identifier: BSD-3-Clause
#include "client/pager/userfault_space.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>
#include <system_error>

namespace lagan::client::pager {

namespace {

SpaceStatus status_of(int error, const char* call) {
    switch (error) {
        case EAGAIN:
            return SpaceStatus::busy;
        case EEXIST:
            return SpaceStatus::present;
        case ESRCH:   // its address space is gone
        case ENOENT:  // not all of the range is in one piece of the mapping, or in any
            return SpaceStatus::gone;
        case ENOMEM:
        case ENOSPC:
            throw std::runtime_error(std::string(call) + ": this machine is out of memory");
        default:
            throw std::system_error(error, std::generic_category(), call);
    }
}

// `filled`: bytes, or an error. A part done is reported as EAGAIN; the next call says what stopped it.
SpaceStatus fill_status(bool all, int64_t filled, uint32_t count, const char* call, uint32_t& done) {
    done = all ? count : filled > 0 ? static_cast<uint32_t>(filled / kPageBytes) : 0;
    return done > 0 ? SpaceStatus::ok : status_of(errno, call);
}

// A range that crosses from one piece of the mapping into another is refused as a whole (ENOENT): then page
// by page, and only a single page that is refused so is not there.
template <typename Fill>
FillResult fill_pieces(uint32_t count, Fill fill) {
    bool singly = false;
    for (uint32_t at = 0; at < count;) {
        uint32_t done = 0;
        const uint32_t pages = singly ? 1 : count - at;
        const SpaceStatus status = fill(at, pages, done);
        at += done;
        if (status == SpaceStatus::gone && pages > 1) {
            singly = true;
        } else if (status != SpaceStatus::ok) {
            return {status, at};
        }
    }
    return {SpaceStatus::ok, count};
}

}  // namespace

UserfaultSpace::UserfaultSpace(Descriptor userfault, Descriptor memory, uint64_t base, uint64_t bytes)
    : userfault_(std::move(userfault)), memory_(std::move(memory)), base_(base), bytes_(bytes) {
    // The pager's loop must never wait in read().
    const int flags = fcntl(userfault_.get(), F_GETFL);
    if (flags < 0 || fcntl(userfault_.get(), F_SETFL, flags | O_NONBLOCK) < 0) {
        throw std::system_error(errno, std::generic_category(), "userfaultfd: O_NONBLOCK");
    }
}

size_t UserfaultSpace::read_events(std::span<SpaceEvent> out) {
    std::array<uffd_msg, 64> messages;
    const size_t most = std::min(out.size(), messages.size());
    const ssize_t bytes = read(userfault_.get(), messages.data(), most * sizeof(uffd_msg));
    if (bytes < 0) {
        if (errno == EAGAIN || errno == EINTR) return 0;
        throw std::system_error(errno, std::generic_category(), "userfaultfd: read");
    }
    size_t count = 0;
    for (const uffd_msg& message : std::span(messages).first(static_cast<size_t>(bytes) / sizeof(uffd_msg))) {
        // Other mappings of the program are not registered; anything outside ours is not for us.
        if (message.event == UFFD_EVENT_PAGEFAULT) {
            const uint64_t offset = message.arg.pagefault.address - base_;
            if (offset >= bytes_) continue;
            const uint64_t flags = message.arg.pagefault.flags;
            out[count++] = {
                (flags & UFFD_PAGEFAULT_FLAG_WP) != 0 ? SpaceEventKind::protection : SpaceEventKind::missing,
                (flags & UFFD_PAGEFAULT_FLAG_WRITE) != 0, static_cast<uint32_t>(offset / kPageBytes), 1};
        } else if (message.event == UFFD_EVENT_REMOVE) {
            const uint64_t start = message.arg.remove.start - base_;
            const uint64_t end = message.arg.remove.end - base_;
            if (start >= bytes_ || end > bytes_ || end <= start) continue;
            out[count++] = {SpaceEventKind::removed, false, static_cast<uint32_t>(start / kPageBytes),
                            static_cast<uint32_t>((end - start) / kPageBytes)};
        }
    }
    return count;
}

FillResult UserfaultSpace::fill(uint32_t page, uint32_t count, const void* from, bool writable) {
    return fill_pieces(count, [&](uint32_t at, uint32_t pages, uint32_t& done) {
        const auto* source = static_cast<const std::byte*>(from) + size_t{at} * kPageBytes;
        return try_fill(page + at, pages, source, writable, done);
    });
}

FillResult UserfaultSpace::fill_zero(uint32_t page, uint32_t count) {
    return fill_pieces(count, [&](uint32_t at, uint32_t pages, uint32_t& done) {
        return try_fill_zero(page + at, pages, done);
    });
}

SpaceStatus UserfaultSpace::try_fill(uint32_t page, uint32_t count, const void* from, bool writable,
                                     uint32_t& done) {
    uffdio_copy copy{};
    copy.dst = address(page);
    copy.src = reinterpret_cast<uint64_t>(from);
    copy.len = uint64_t{count} * kPageBytes;
    copy.mode = writable ? 0 : UFFDIO_COPY_MODE_WP;
    const bool all = ioctl(userfault_.get(), UFFDIO_COPY, &copy) == 0;
    return fill_status(all, copy.copy, count, "UFFDIO_COPY", done);
}

SpaceStatus UserfaultSpace::try_fill_zero(uint32_t page, uint32_t count, uint32_t& done) {
    uffdio_zeropage zero{};
    zero.range = {address(page), uint64_t{count} * kPageBytes};
    const bool all = ioctl(userfault_.get(), UFFDIO_ZEROPAGE, &zero) == 0;
    return fill_status(all, zero.zeropage, count, "UFFDIO_ZEROPAGE", done);
}

SpaceStatus UserfaultSpace::protect(uint32_t page, uint32_t count) {
    return set_protection(page, count, true);
}
SpaceStatus UserfaultSpace::unprotect(uint32_t page, uint32_t count) {
    return set_protection(page, count, false);
}

SpaceStatus UserfaultSpace::set_protection(uint32_t page, uint32_t count, bool on) {
    const SpaceStatus whole = try_protection(page, count, on);
    if (whole != SpaceStatus::gone || count == 1) return whole;
    bool any_gone = false;
    for (uint32_t at = page; at < page + count; ++at) {
        const SpaceStatus single = try_protection(at, 1, on);
        if (single == SpaceStatus::busy) return single;
        any_gone |= single == SpaceStatus::gone;
    }
    return any_gone ? SpaceStatus::gone : SpaceStatus::ok;
}

SpaceStatus UserfaultSpace::try_protection(uint32_t page, uint32_t count, bool on) {
    uffdio_writeprotect protection{};
    protection.range = {address(page), uint64_t{count} * kPageBytes};
    protection.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0;
    if (ioctl(userfault_.get(), UFFDIO_WRITEPROTECT, &protection) == 0) return SpaceStatus::ok;
    return status_of(errno, "UFFDIO_WRITEPROTECT");
}

void UserfaultSpace::wake(uint32_t page, uint32_t count) {
    uffdio_range range{address(page), uint64_t{count} * kPageBytes};
    if (ioctl(userfault_.get(), UFFDIO_WAKE, &range) != 0) status_of(errno, "UFFDIO_WAKE");
}

void UserfaultSpace::copy_out(uint32_t page, uint32_t count, void* to) {
    size_t done = 0;
    const size_t bytes = size_t{count} * kPageBytes;
    while (done < bytes) {
        const ssize_t got = pread(memory_.get(), static_cast<std::byte*>(to) + done, bytes - done,
                                  static_cast<off_t>(uint64_t{page} * kPageBytes + done));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) throw std::system_error(got < 0 ? errno : EIO, std::generic_category(), "memfd: pread");
        done += static_cast<size_t>(got);
    }
}

void UserfaultSpace::drop(uint32_t page, uint32_t count) {
    while (fallocate(memory_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                     static_cast<off_t>(uint64_t{page} * kPageBytes),
                     static_cast<off_t>(uint64_t{count} * kPageBytes)) != 0) {
        if (errno != EINTR) throw std::system_error(errno, std::generic_category(), "memfd: punch hole");
    }
}

uint64_t UserfaultSpace::resident_bytes() const {
    struct stat info {};
    return fstat(memory_.get(), &info) == 0 ? static_cast<uint64_t>(info.st_blocks) * 512 : 0;
}

}  // namespace lagan::client::pager
