// SPDX-License-Identifier: BSD-3-Clause
// The program's far mapping as the pager handles it: what happens there (events) and what can be done to it.
// Pages are counted from the start of the mapping. UserfaultSpace is the real one; tests have a model of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace lagan::client::pager {

constexpr uint32_t kPageBytes = 4096;

enum class SpaceEventKind : uint8_t {
    missing,     // a thread waits for an absent page
    protection,  // a thread waits to write to a protected page
    removed,     // the program gives pages up (MADV_REMOVE); it goes on once the event has been read
};

struct SpaceEvent {
    SpaceEventKind kind;
    bool write;  // missing: the access is a write
    uint32_t page;
    uint32_t count;  // removed: pages; else 1
};

enum class SpaceStatus : uint8_t {
    ok,
    busy,     // a removal is under way: read the events, look at the page's state again, then retry
    present,  // the page is already there
    gone,     // the page is no longer mapped, or the program has ended
};

struct FillResult {
    SpaceStatus status;
    uint32_t done;  // pages filled before that status was met
};

class AddressSpace {
  public:
    AddressSpace() = default;
    virtual ~AddressSpace() = default;
    AddressSpace(const AddressSpace&) = delete;
    AddressSpace& operator=(const AddressSpace&) = delete;

    virtual uint32_t page_count() const = 0;
    // Readable when there are events; -1 if there is no such descriptor.
    virtual int event_descriptor() const = 0;
    virtual size_t read_events(std::span<SpaceEvent> out) = 0;

    // The program may have cut its mapping in pieces (mprotect, mlock) and unmapped some of them. None of the
    // calls minds the pieces.
    //
    // Make absent pages present, and wake the threads that wait for them. Those that wait for the page behind
    // the ones done are not woken: if it is `gone` or `present`, the caller does it.
    virtual FillResult fill(uint32_t page, uint32_t count, const void* from, bool writable) = 0;
    virtual FillResult fill_zero(uint32_t page, uint32_t count) = 0;  // writable
    // A protected page is not written to before `unprotect`, which also wakes the threads that want to. `ok`
    // and `gone`: all that are still mapped are protected, or not. `busy`: any of them may be.
    virtual SpaceStatus protect(uint32_t page, uint32_t count) = 0;
    virtual SpaceStatus unprotect(uint32_t page, uint32_t count) = 0;
    virtual void wake(uint32_t page, uint32_t count) = 0;
    // Copies present pages out. The caller has protected them.
    virtual void copy_out(uint32_t page, uint32_t count, void* to) = 0;
    // Makes present pages absent. The caller has protected them and nobody else frees their memory.
    virtual void drop(uint32_t page, uint32_t count) = 0;
};

}  // namespace lagan::client::pager
