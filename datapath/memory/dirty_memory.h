// SPDX-License-Identifier: BSD-3-Clause
// What a region offers to whoever has to rebuild it elsewhere, in flat RDMA-readable memory
// (docs/protocol.md, "Dirty list memory"): a header, two dirty page lists, and the present bitmap. One list
// is active: stores and frees mark it. The other is empty, or drains: it holds the pages of the cut that a
// checkpoint is writing. A page that was changed and acknowledged is in one of them until its content is
// durable in the baseline.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>

#include "datapath/memory/dirty_list.h"
#include "datapath/memory/page.h"

namespace lagan::memory {

inline constexpr uint64_t kDirtyMemoryMagic = 0x4c4147414e444c31;  // "LAGANDL1" when written big-endian
inline constexpr uint32_t kDirtyMemoryVersion = 2;

// First page of the memory; all fields little-endian, offsets in bytes from its first byte.
struct DirtyMemoryHeader {
    uint64_t magic;
    uint32_t version;
    uint32_t page_bytes;
    uint64_t region_id;
    uint64_t page_count;
    std::atomic<uint64_t> epoch;
    std::atomic<uint64_t> cut_number;   // of the newest cut; 0: none was made
    std::atomic<uint64_t> durable_cut;  // the newest cut that is whole in the baseline
    std::atomic<uint64_t> active_list;  // 0 or 1
    struct {
        uint64_t summary_offset;
        uint64_t bitmap_offset;
    } lists[2];
    uint64_t present_offset;
    uint64_t region_uid;
    std::atomic<uint64_t> heartbeat;    // counted up some times a second while the control thread lives
    std::atomic<uint64_t> fence_epoch;  // of the newest home that has had this one stop; 0: none
};

class DirtyMemory {
  public:
    static uint64_t bytes_needed(uint64_t page_count);
    // Whether the constructor would open, and not format, this memory of a page at least.
    static bool is_formatted(std::span<const std::byte> memory);

    struct Identity {
        uint64_t region_id;
        uint64_t region_uid;
        uint64_t page_count;
        uint64_t epoch;
    };
    // Formats zeroed, page-aligned memory of bytes_needed() bytes, or opens what is there (magic set). Throws
    // std::runtime_error if that does not fit this region.
    DirtyMemory(std::span<std::byte> memory, const Identity& region);

    DirtyList& active() { return lists_[header().active_list.load(std::memory_order_acquire)]; }
    DirtyList& drain() { return lists_[1 - header().active_list.load(std::memory_order_acquire)]; }
    std::atomic<uint64_t>* present() const { return present_; }

    // Control thread. The lists change places; the number of the cut that begins.
    uint64_t begin_cut();
    // A region that is made from a baseline goes on counting where that stopped.
    void continue_from(uint64_t cut);
    void set_durable(uint64_t cut) { header().durable_cut.store(cut, std::memory_order_release); }
    uint64_t cut_number() const { return header().cut_number.load(std::memory_order_relaxed); }
    uint64_t durable_cut() const { return header().durable_cut.load(std::memory_order_relaxed); }

    // Control thread.
    void beat() { header().heartbeat.fetch_add(1, std::memory_order_relaxed); }
    uint64_t heartbeat() const { return header().heartbeat.load(std::memory_order_relaxed); }

    // Any thread; it only goes up. In the arena at once: it outlives the process.
    void note_fence(uint64_t epoch);
    uint64_t fence_epoch() const { return header().fence_epoch.load(std::memory_order_relaxed); }

    std::span<std::byte> memory() const { return memory_; }  // for the flat memory region

  private:
    DirtyMemoryHeader& header() const { return *reinterpret_cast<DirtyMemoryHeader*>(memory_.data()); }
    void format(const Identity& region) const;
    void check(const Identity& region) const;

    std::span<std::byte> memory_;
    std::array<DirtyList, 2> lists_;
    std::atomic<uint64_t>* present_;  // atomic
};

}  // namespace lagan::memory
