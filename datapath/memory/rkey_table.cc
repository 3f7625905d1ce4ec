// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/memory/rkey_table.h"

#include <sys/random.h>

#include <bit>
#include <cerrno>
#include <stdexcept>
#include <string>
#include <system_error>

namespace lagan::memory {

namespace {

constexpr uint32_t kMaxSlots = 1U << 20;

uint32_t random_bits() {
    uint32_t bits;
    ssize_t got;
    do {
        got = getrandom(&bits, sizeof(bits), 0);
    } while (got < 0 && errno == EINTR);
    if (got != static_cast<ssize_t>(sizeof(bits)))
        throw std::system_error(errno, std::generic_category(), "getrandom for an R_Key");
    return bits;
}

}  // namespace

RkeyTable::RkeyTable(uint32_t capacity) {
    if (capacity == 0 || capacity > kMaxSlots)
        throw std::invalid_argument("R_Key table: capacity " + std::to_string(capacity) +
                                    " is not 1 to 2^20");
    const uint32_t slots = std::bit_ceil(capacity);
    mask_ = slots - 1;
    slots_ = std::make_unique<Slot[]>(slots);
}

RkeyTable::Slot& RkeyTable::free_slot() {
    for (uint32_t i = 0; i <= mask_; ++i) {
        Slot& slot = slots_[next_++ & mask_];
        if (slot.state == State::free) return slot;
    }
    throw std::runtime_error("R_Key table: all " + std::to_string(mask_ + 1) + " entries are in use");
}

uint32_t RkeyTable::random_rkey(const Slot& slot) const {
    const auto index = static_cast<uint32_t>(&slot - slots_.get());
    for (;;) {
        const uint32_t rkey = (random_bits() & ~mask_) | index;
        // Not the slot's previous key either: who still holds that one must be refused.
        if (rkey != 0 && rkey != slot.entry.rkey) return rkey;
    }
}

uint32_t RkeyTable::add(MemoryRegion entry, uint32_t rkey) {
    Slot& slot = rkey == 0 ? free_slot() : slots_[rkey & mask_];
    if (slot.state != State::free)
        throw std::runtime_error("R_Key table: the slot of R_Key " + std::to_string(rkey) + " is taken");
    entry.rkey = rkey == 0 ? random_rkey(slot) : rkey;
    slot.entry = entry;
    slot.state = State::used;
    slot.visible_rkey.store(entry.rkey, std::memory_order_release);
    return entry.rkey;
}

void RkeyTable::remove(uint32_t rkey) {
    Slot& slot = slots_[rkey & mask_];
    if (slot.state != State::used || slot.entry.rkey != rkey) return;
    slot.visible_rkey.store(0, std::memory_order_release);
    slot.state = State::removed;
}

void RkeyTable::recycle(uint32_t rkey) {
    Slot& slot = slots_[rkey & mask_];
    if (slot.state == State::removed && slot.entry.rkey == rkey) slot.state = State::free;
}

}  // namespace lagan::memory
