// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/memory/region_table.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <new>

#include "datapath/memory/arena_directory.h"
#include "datapath/memory/arena_layout.h"

namespace lagan::memory {

namespace fs = std::filesystem;
using Kind = RegionError::Kind;

static_assert(sizeof(Pte) == 8 && sizeof(std::atomic<Pte>) == 8 && std::atomic<Pte>::is_always_lock_free);

// A region and the memory behind its pointers.
struct RegionTable::Entry {
    MappedFile page_table;
    MappedFile dirty_memory;
    std::unique_ptr<DirtyList> active;
    Region region{};
};

namespace {

constexpr const char* kPages = "pages";
constexpr const char* kDirty = "dirty";
constexpr const char* kRecord = "record";

uint64_t usable_frames(const FramePool& pool, uint64_t slack_frames) {
    const uint64_t slack = slack_frames + pool.slack_frames();
    if (slack_frames >= pool.capacity() || slack >= pool.capacity())
        throw std::runtime_error("region table: " + std::to_string(pool.capacity()) + " frames, but " +
                                 std::to_string(slack) +
                                 " are kept back for work in flight: configure more memory");
    return pool.capacity() - slack;
}

void check_name(std::string_view name) {
    const auto allowed = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
               c == '_' || c == '-';
    };
    if (name.empty() || name.size() > kMaxRegionName || name[0] == '.' || name[0] == '-' ||
        !std::all_of(name.begin(), name.end(), allowed))
        throw RegionError(
            Kind::invalid,
            "region name: 1 to 63 of letters, digits, '.', '_' and '-', not starting with '.' or '-'");
}

uint64_t pages_of(uint64_t bytes) {
    return bytes / kPageBytes + (bytes % kPageBytes != 0 ? 1 : 0);
}

uint64_t reserve_pages_of(uint64_t page_count, uint64_t reserve_bytes, bool overcommit) {
    const uint64_t asked = pages_of(reserve_bytes);
    if (asked > page_count) throw RegionError(Kind::invalid, "the region's reserve is larger than its size");
    if (overcommit) return asked;
    if (asked != 0 && asked < page_count)
        throw RegionError(Kind::invalid, "a reserve below the region's size needs overcommit");
    return page_count;
}

void write_record(const Region& region, const fs::path& path) {
    RegionRecord record{};
    record.magic = kRecordMagic;
    record.version = kArenaVersion;
    record.region_id = region.id;
    record.size_bytes = region.size_bytes;
    record.reserve_pages = region.reserve_pages;
    record.epoch = region.epoch;
    record.data_rkey = region.data_rkey;
    record.dirty_rkey = region.dirty_rkey;
    std::memcpy(record.name, region.name.data(), region.name.size());
    record.crc = layout_crc(record);
    const fs::path path_new = path.string() + kNewSuffix;
    // Through a mapping, because hugetlbfs has no write(2).
    std::memcpy(MappedFile(path_new, sizeof(record)).bytes().data(), &record, sizeof(record));
    fs::rename(path_new, path);
}

}  // namespace

RegionTable::RegionTable(Arena& arena, FramePool& pool, RkeyTable& rkeys, rte_rcu_qsbr* rcu,
                         uint64_t slack_frames)
    : arena_(arena), pool_(pool), rkeys_(rkeys), rcu_(rcu), budget_(usable_frames(pool, slack_frames)) {}

RegionTable::~RegionTable() = default;

Region& RegionTable::create(std::string_view name, uint64_t size_bytes, uint64_t reserve_bytes,
                            bool overcommit) {
    check_name(name);
    if (size_bytes == 0 || size_bytes > kMaxRegionPages * kPageBytes)
        throw RegionError(Kind::invalid, "region size: 1 byte to 16 TiB");
    const uint64_t page_count = pages_of(size_bytes);
    const uint64_t reserve_pages = reserve_pages_of(page_count, reserve_bytes, overcommit);
    if (find(name) != nullptr)
        throw RegionError(Kind::exists, "there is a region named " + std::string(name));
    if (!budget_.reserve(reserve_pages))
        throw RegionError(Kind::no_room, "no room: the region's reserve is " +
                                             format_bytes(reserve_pages * kPageBytes) + ", unreserved are " +
                                             format_bytes(budget_.unclaimed() * kPageBytes));
    try {
        // Grown first, so that nothing can fail once the region exists.
        entries_.reserve(entries_.size() + 1);
        entries_.push_back(make_entry(name, page_count, reserve_pages));
    } catch (const std::exception& error) {
        budget_.unreserve(reserve_pages);
        throw RegionError(Kind::no_room, "region " + std::string(name) + ": " + error.what());
    }
    return entries_.back()->region;
}

std::unique_ptr<RegionTable::Entry> RegionTable::make_entry(std::string_view name, uint64_t page_count,
                                                            uint64_t reserve_pages) {
    auto entry = std::make_unique<Entry>();
    Region& region = entry->region;
    region.id = arena_.take_region_id();
    region.size_bytes = page_count * kPageBytes;
    region.page_count = page_count;
    region.reserve_pages = reserve_pages;
    region.epoch = 1;
    region.name = name;
    try {
        entry->page_table =
            MappedFile(arena_.directory() / region_file(region.id, kPages), page_count * sizeof(Pte));
        region.page_table = reinterpret_cast<std::atomic<Pte>*>(entry->page_table.bytes().data());
        entry->dirty_memory = MappedFile(arena_.directory() / region_file(region.id, kDirty),
                                         DirtyList::bytes_needed(page_count));
        entry->active =
            std::make_unique<DirtyList>(entry->dirty_memory.bytes(), region.id, page_count, region.epoch);
        region.active = entry->active.get();
        region.data_rkey = rkeys_.add({.kind = MemoryRegion::Kind::paged,
                                       .access = kAccessRead | kAccessWrite,
                                       .rkey = 0,
                                       .region_id = region.id,
                                       .length = region.size_bytes,
                                       .region = &region,
                                       .base = nullptr});
        region.dirty_rkey = rkeys_.add({.kind = MemoryRegion::Kind::flat,
                                        .access = kAccessRead,
                                        .rkey = 0,
                                        .region_id = region.id,
                                        .length = DirtyList::bytes_needed(page_count),
                                        .region = nullptr,
                                        .base = entry->dirty_memory.bytes().data()});
        write_record(region, arena_.directory() / region_file(region.id, kRecord));
    } catch (...) {
        remove_files(region);
        remove_rkeys(region);
        throw;
    }
    return entry;
}

Region* RegionTable::find(std::string_view name) {
    for (const auto& entry : entries_)
        if (entry->region.name == name) return &entry->region;
    return nullptr;
}

Region* RegionTable::find(uint32_t id) {
    for (const auto& entry : entries_)
        if (entry->region.id == id) return &entry->region;
    return nullptr;
}

std::vector<Region*> RegionTable::list() {
    std::vector<Region*> regions;
    for (const auto& entry : entries_)
        regions.push_back(&entry->region);
    return regions;
}

void RegionTable::destroy(Region& region) {
    const auto entry =
        std::find_if(entries_.begin(), entries_.end(), [&](const auto& e) { return &e->region == &region; });
    if (entry == entries_.end()) throw RegionError(Kind::not_found, "no such region");
    // Files first: a kill from here on must not leave a record whose frames are another region's by then.
    remove_files(region);
    remove_rkeys(region);
    free_frames(region);
    budget_.unreserve(region.reserve_pages);
    entries_.erase(entry);
}

void RegionTable::remove_rkeys(Region& region) {
    rkeys_.remove(region.data_rkey);
    rkeys_.remove(region.dirty_rkey);
    rte_rcu_qsbr_synchronize(rcu_, RTE_QSBR_THRID_INVALID);
    rkeys_.recycle(region.data_rkey);
    rkeys_.recycle(region.dirty_rkey);
}

void RegionTable::free_frames(Region& region) {
    for (uint64_t page = 0; page < region.page_count && region.present.load(std::memory_order_relaxed) != 0;
         ++page) {
        const Pte entry = region.page_table[page].exchange(kAbsent, std::memory_order_acq_rel);
        if (entry == kAbsent) continue;
        pool_.drop_publication(pte_frame(entry));
        budget_.give(region);
    }
}

void RegionTable::remove_files(const Region& region) noexcept {
    const fs::path record = arena_.directory() / region_file(region.id, kRecord);
    std::error_code ignored;
    fs::remove(record, ignored);
    fs::remove(record.string() + kNewSuffix, ignored);
    fs::remove(arena_.directory() / region_file(region.id, kPages), ignored);
    fs::remove(arena_.directory() / region_file(region.id, kDirty), ignored);
}

}  // namespace lagan::memory
