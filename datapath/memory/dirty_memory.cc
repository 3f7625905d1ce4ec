// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/memory/dirty_memory.h"

#include <bit>
#include <stdexcept>
#include <string>

namespace lagan::memory {

static_assert(std::endian::native == std::endian::little, "peers read this memory as little-endian");
static_assert(std::atomic<uint64_t>::is_always_lock_free && sizeof(std::atomic<uint64_t>) == 8);
static_assert(sizeof(DirtyMemoryHeader) == 128 && sizeof(DirtyMemoryHeader) <= kPageBytes);

namespace {

uint64_t list_bytes(uint64_t pages) {
    return DirtyList::summary_bytes(pages) + DirtyList::bitmap_bytes(pages);
}
uint64_t summary_offset(size_t list, uint64_t pages) {
    return kPageBytes + list * list_bytes(pages);
}
uint64_t bitmap_offset(size_t list, uint64_t pages) {
    return summary_offset(list, pages) + DirtyList::summary_bytes(pages);
}
uint64_t present_offset(uint64_t pages) {
    return summary_offset(2, pages);
}

std::span<std::byte> checked(std::span<std::byte> memory, const DirtyMemory::Identity& region) {
    if (region.page_count == 0 || region.page_count > kMaxRegionPages ||
        memory.size() < DirtyMemory::bytes_needed(region.page_count) ||
        reinterpret_cast<uintptr_t>(memory.data()) % alignof(DirtyMemoryHeader) != 0)
        throw std::runtime_error("dirty lists of region " + std::to_string(region.region_id) + ": " +
                                 std::to_string(memory.size()) + " bytes do not fit " +
                                 std::to_string(region.page_count) + " pages");
    return memory.first(DirtyMemory::bytes_needed(region.page_count));
}

}  // namespace

uint64_t DirtyMemory::bytes_needed(uint64_t page_count) {
    return present_offset(page_count) + DirtyList::bitmap_bytes(page_count);
}

bool DirtyMemory::is_formatted(std::span<const std::byte> memory) {
    return reinterpret_cast<const DirtyMemoryHeader*>(memory.data())->magic != 0;
}

DirtyMemory::DirtyMemory(std::span<std::byte> memory, const Identity& region)
    : memory_(checked(memory, region)),
      lists_{DirtyList(memory_.data() + summary_offset(0, region.page_count),
                       memory_.data() + bitmap_offset(0, region.page_count), region.page_count),
             DirtyList(memory_.data() + summary_offset(1, region.page_count),
                       memory_.data() + bitmap_offset(1, region.page_count), region.page_count)},
      present_(reinterpret_cast<std::atomic<uint64_t>*>(memory_.data() + present_offset(region.page_count))) {
    if (header().magic == 0) {
        format(region);
    } else {
        check(region);
    }
}

void DirtyMemory::format(const Identity& region) const {
    DirtyMemoryHeader& h = header();
    h.version = kDirtyMemoryVersion;
    h.page_bytes = kPageBytes;
    h.region_id = region.region_id;
    h.page_count = region.page_count;
    h.epoch.store(region.epoch, std::memory_order_relaxed);
    for (size_t list = 0; list < 2; ++list)
        h.lists[list] = {summary_offset(list, region.page_count), bitmap_offset(list, region.page_count)};
    h.present_offset = present_offset(region.page_count);
    h.region_uid = region.region_uid;
    // Last: memory with its magic is whole, also after a kill in the middle of this.
    std::atomic_ref<uint64_t>(h.magic).store(kDirtyMemoryMagic, std::memory_order_release);
}

void DirtyMemory::check(const Identity& region) const {
    const DirtyMemoryHeader& h = header();
    bool good = h.magic == kDirtyMemoryMagic && h.version == kDirtyMemoryVersion &&
                h.page_bytes == kPageBytes && h.region_id == region.region_id &&
                h.page_count == region.page_count && h.region_uid == region.region_uid &&
                h.epoch.load() == region.epoch && h.active_list.load() <= 1 &&
                h.present_offset == present_offset(region.page_count);
    for (size_t list = 0; list < 2; ++list)
        good = good && h.lists[list].summary_offset == summary_offset(list, region.page_count) &&
               h.lists[list].bitmap_offset == bitmap_offset(list, region.page_count);
    if (!good)
        throw std::runtime_error(
            "dirty lists of region " + std::to_string(region.region_id) +
            ": the memory holds something else (magic, version, region, size or epoch differ)");
}

void DirtyMemory::continue_from(uint64_t cut) {
    header().cut_number.store(cut, std::memory_order_relaxed);
    set_durable(cut);
}

void DirtyMemory::note_fence(uint64_t epoch) {
    std::atomic<uint64_t>& newest = header().fence_epoch;
    uint64_t before = newest.load(std::memory_order_relaxed);
    while (before < epoch && !newest.compare_exchange_weak(before, epoch)) {
    }
}

uint64_t DirtyMemory::begin_cut() {
    DirtyMemoryHeader& h = header();
    const uint64_t cut = h.cut_number.load(std::memory_order_relaxed) + 1;
    h.cut_number.store(cut, std::memory_order_relaxed);
    h.active_list.store(1 - h.active_list.load(std::memory_order_relaxed), std::memory_order_release);
    return cut;
}

}  // namespace lagan::memory
