// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/memory/region_walk.h"

#include <rte_prefetch.h>
#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include "datapath/memory/arena_directory.h"
#include "datapath/memory/dirty_memory.h"

namespace lagan::memory {

namespace fs = std::filesystem;

namespace {

constexpr uint64_t kWordsPerSlice = 1024;  // of 64 pages
constexpr uint64_t kPrefetchAhead = 16;

struct Damaged {
    uint32_t id;
    std::string what;
};

[[noreturn]] void damaged(uint32_t id, const std::string& what) {
    throw Damaged{id, what};
}

// Part of the walk of one region; false: damaged, and left out.
template <typename Work>
bool done(const Arena& arena, FoundRegions& found, Work&& work) {
    try {
        work();
        return true;
    } catch (const Damaged& region) {
        if (!arena.read_only())
            throw std::runtime_error(
                "arena: " + arena.directory().string() + ": region " + std::to_string(region.id) + ": " +
                region.what + "; restore it from its baseline elsewhere, then remove " +
                region_file(region.id, "*") + " there or start lagand once with --empty-arena");
        found.left_out.push_back({region.id, region.what});
        return false;
    }
}

RegionRecord read_record(const Arena& arena, uint32_t id) {
    const fs::path path = arena.directory() / region_file(id, "record");
    RegionRecord record;
    try {
        const MappedFile file = MappedFile::open(path, sizeof record, MappedFile::Access::read_only);
        std::memcpy(&record, file.bytes().data(), sizeof record);
    } catch (const std::exception& error) {
        damaged(id, error.what());
    }
    if (record.magic != kRecordMagic || record.version != kArenaVersion || record.crc != layout_crc(record))
        damaged(id, "its record is damaged (magic, version or checksum do not fit)");
    const uint64_t pages = record.size_bytes / kPageBytes;
    if (record.region_id != id || pages == 0 || pages > kMaxRegionPages ||
        record.size_bytes % kPageBytes != 0 || record.reserve_pages > pages || record.data_rkey == 0 ||
        record.dirty_rkey == 0 || record.name[kMaxRegionName] != '\0')
        damaged(id, "its record contradicts itself");
    return record;
}

// Walks part of a region: words of 64 pages, so that each word of the present bitmap is one thread's.
class Walker {
  public:
    Walker(Arena& arena, std::vector<uint64_t>& published, FoundRegion& region,
           std::atomic<uint64_t>* present)
        : published_(published),
          meta_(arena.frame_meta()),
          region_(region),
          table_(region.page_table()),
          present_(present),
          may_be_pending_((region.record.flags & kRecordRebuilding) != 0),
          page_count_(region.record.size_bytes / kPageBytes) {}

    void walk(uint64_t first_word, uint64_t end_word) {
        uint64_t pages = 0, damaged = 0, pending = 0;
        for (uint64_t word = first_word; word < end_word; ++word) {
            uint64_t bits = 0;
            const uint64_t end = std::min(page_count_, word * 64 + 64);
            for (uint64_t page = word * 64; page < end; ++page) {
                prefetch(page + kPrefetchAhead);
                const Pte entry = table_[page].load(std::memory_order_relaxed);
                if (entry == kAbsent) continue;
                if (entry == kPtePending && may_be_pending_) {
                    ++pending;
                    continue;
                }
                bits |= 1ULL << (page % 64);
                ++pages;
                const bool good = claim(entry, page);
                if (!good) table_[page].store(kPtePoisoned, std::memory_order_relaxed);
                if (!good || (entry & kPtePoisoned) != 0) ++damaged;
            }
            if (present_ != nullptr && present_[word].load(std::memory_order_relaxed) != bits)
                present_[word].store(bits, std::memory_order_relaxed);
        }
        std::atomic_ref(region_.present_pages).fetch_add(pages, std::memory_order_relaxed);
        std::atomic_ref(region_.pending_pages).fetch_add(pending, std::memory_order_relaxed);
        std::atomic_ref(region_.damaged_pages).fetch_add(damaged, std::memory_order_relaxed);
    }

  private:
    void prefetch(uint64_t page) const {
        if (page >= page_count_) return;
        const FrameIndex frame = pte_frame(table_[page].load(std::memory_order_relaxed));
        if (frame < meta_.size()) rte_prefetch0(&meta_[frame]);
    }

    // The entry's frame is this page's, and no other page's.
    bool claim(Pte entry, uint64_t page) {
        const FrameIndex frame = pte_frame(entry);
        if ((entry & ~(kPtePoisoned | 0xffffffffULL)) != 0 || frame >= meta_.size())
            return entry == kPtePoisoned;
        if (meta_[frame].region_id != region_.record.region_id || meta_[frame].page != page) return false;
        const uint64_t bit = 1ULL << (frame % 64);
        return (std::atomic_ref(published_[frame / 64]).fetch_or(bit, std::memory_order_relaxed) & bit) == 0;
    }

    std::vector<uint64_t>& published_;
    std::span<FrameMeta> meta_;
    FoundRegion& region_;
    std::atomic<Pte>* table_;
    std::atomic<uint64_t>* present_;
    bool may_be_pending_;
    uint64_t page_count_;
};

FoundRegion open_region(Arena& arena, uint32_t id) {
    FoundRegion region{
        .record = read_record(arena, id), .page_table_file = {}, .page_table_copy = {}, .dirty_file = {}};
    const uint64_t pages = region.record.size_bytes / kPageBytes;
    const auto access = arena.read_only() ? MappedFile::Access::read_only : MappedFile::Access::read_write;
    try {
        const fs::path& directory = arena.directory();
        region.page_table_file =
            MappedFile::open(directory / region_file(id, "pages"), pages * sizeof(Pte), access);
        region.dirty_file =
            MappedFile::open(directory / region_file(id, "dirty"), DirtyMemory::bytes_needed(pages), access);
    } catch (const std::exception& error) {
        damaged(id, error.what());
    }
    if (arena.read_only()) {
        region.page_table_copy = std::make_unique<std::atomic<Pte>[]>(pages);
        const auto* entries = reinterpret_cast<const Pte*>(region.page_table_file.bytes().data());
        for (uint64_t page = 0; page < pages; ++page)
            region.page_table_copy[page].store(entries[page], std::memory_order_relaxed);
    }
    return region;
}

void walk_region(Arena& arena, FoundRegion& region, std::vector<uint64_t>& published) {
    const RegionRecord& record = region.record;
    const uint64_t pages = record.size_bytes / kPageBytes;
    std::atomic<uint64_t>* present = nullptr;
    try {
        // Memory without its magic would be formatted: the lists were there before the record.
        if (!DirtyMemory::is_formatted(region.dirty_file.bytes()))
            throw std::runtime_error("dirty lists: their header has no magic number");
        DirtyMemory dirty(region.dirty_file.bytes(), {record.region_id, record.uid, pages, record.epoch});
        if (!arena.read_only()) {
            present = dirty.present();
            dirty.active().add(dirty.drain());
            dirty.drain().clear();
        }
    } catch (const std::exception& error) {
        damaged(record.region_id, error.what());
    }
    Walker walker(arena, published, region, present);
    tbb::parallel_for(tbb::blocked_range<uint64_t>(0, (pages + 63) / 64, kWordsPerSlice),
                      [&](const auto& slice) { walker.walk(slice.begin(), slice.end()); });
}

void check_unique(const std::vector<FoundRegion>& others, const RegionRecord& record) {
    for (const FoundRegion& other : others)
        if (std::strcmp(other.record.name, record.name) == 0 || other.record.uid == record.uid)
            damaged(record.region_id,
                    "has the name or the identity of region " + std::to_string(other.record.region_id));
}

// Its restore was not finished: it is filled in part, and its baseline is whole, and still there.
void give_up(const Arena& arena, const RegionRecord& record, FoundRegions& found) {
    const uint32_t id = record.region_id;
    if (arena.read_only()) damaged(id, "its restore from its baseline had not ended; restore it again");
    fs::remove(arena.directory() / region_file(id, "record"));
    remove_unrecorded(arena.directory());
    found.half_restored.emplace_back(record.name);
}

}  // namespace

FoundRegions walk_regions(Arena& arena) {
    FoundRegions found;
    found.published.resize((arena.frame_meta().size() + 63) / 64);
    if (!arena.reopened()) return found;
    // All are looked at before the first one is changed.
    std::vector<FoundRegion> opened;
    for (const uint32_t id : recorded_regions(arena.directory()))
        done(arena, found, [&] {
            FoundRegion region = open_region(arena, id);
            if ((region.record.flags & kRecordRestoring) != 0) return give_up(arena, region.record, found);
            if ((region.record.flags & kRecordRebuilding) != 0 && arena.read_only())
                damaged(id, "its rebuilding here had not ended; rebuild it from where it came from");
            check_unique(opened, region.record);
            opened.push_back(std::move(region));
        });
    for (FoundRegion& region : opened)
        if (done(arena, found, [&] { walk_region(arena, region, found.published); }))
            found.regions.push_back(std::move(region));
    return found;
}

}  // namespace lagan::memory
