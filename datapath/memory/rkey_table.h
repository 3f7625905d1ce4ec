// SPDX-License-Identifier: BSD-3-Clause
// R_Key → memory region, read by lcores without a lock, changed by the control thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace lagan::memory {

struct Region;

enum Access : uint8_t {
    kAccessRead = 1,
    kAccessWrite = 2,
};

// Paged: bytes are reached through a region's page table. Flat: contiguous memory that changes in place;
// responses copy it.
struct MemoryRegion {
    enum class Kind : uint8_t { paged, flat };
    Kind kind;
    uint8_t access;  // Access bits that exist at all; a QP's role narrows them further
    uint32_t rkey;
    uint32_t region_id;  // the region it belongs to: a QP reaches only its own
    uint64_t length;     // bytes, addressed from 0
    Region* region;      // paged, else null
    std::byte* base;     // flat, else null
};

class RkeyTable {
  public:
    // Rounded up to a power of two, 1 to 2^20 slots of 64 bytes; throws std::invalid_argument outside.
    explicit RkeyTable(uint32_t capacity);

    // Control thread. add() picks an R_Key whose index bits name a free slot and whose other bits are random,
    // or takes the given non-zero one (warm restart). Throws std::runtime_error when the slot is taken or
    // none is free. The entry is visible to lcores on return.
    uint32_t add(MemoryRegion entry, uint32_t rkey = 0);
    // Invisible on return; the entry's storage is reused only after the caller has waited for a grace period
    // and called recycle(). Keys that are not in the table are ignored.
    void remove(uint32_t rkey);
    void recycle(uint32_t rkey);

    // Any lcore; null for an unknown key. The pointer is good until the lcore's next quiescent state.
    const MemoryRegion* find(uint32_t rkey) const {
        const Slot& slot = slots_[rkey & mask_];
        if (slot.visible_rkey.load(std::memory_order_acquire) != rkey || rkey == 0) return nullptr;
        return &slot.entry;
    }

    // Any lcore, to go over all entries: the one of a slot below slots(), or null. The pointer is as good as
    // that of find().
    uint32_t slots() const { return mask_ + 1; }
    const MemoryRegion* at(uint32_t slot) const {
        const Slot& there = slots_[slot];
        return there.visible_rkey.load(std::memory_order_acquire) == 0 ? nullptr : &there.entry;
    }

  private:
    enum class State : uint8_t { free, used, removed };
    struct alignas(64) Slot {
        std::atomic<uint32_t> visible_rkey{0};  // control writes, lcores read; 0: nothing to be found
        State state = State::free;              // control
        MemoryRegion entry{};                   // rcu: written only while invisible and free
    };

    Slot& free_slot();
    uint32_t random_rkey(const Slot& slot) const;

    uint32_t mask_;
    uint32_t next_ = 0;  // where the search for a free slot goes on, so that slots are reused late
    std::unique_ptr<Slot[]> slots_;
};

// Overflow-safe: [va, va + length) lies within the entry (CVE-2016-8636 was this check done wrong).
constexpr bool in_range(const MemoryRegion& entry, uint64_t va, uint64_t length) {
    return va <= entry.length && length <= entry.length - va;
}

}  // namespace lagan::memory
