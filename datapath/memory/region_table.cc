// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/memory/region_table.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <new>
#include <utility>

#include "datapath/memory/arena_directory.h"
#include "datapath/memory/arena_layout.h"

namespace lagan::memory {

namespace fs = std::filesystem;
using Kind = RegionError::Kind;

static_assert(sizeof(Pte) == 8 && sizeof(std::atomic<Pte>) == 8 && std::atomic<Pte>::is_always_lock_free);

// A region and the memory behind its pointers.
struct RegionTable::Entry : Region {
    MappedFile page_table_file;
    std::unique_ptr<std::atomic<Pte>[]> page_table_copy;  // in place of the file, in an arena opened to look
    MappedFile dirty_file;
    std::unique_ptr<DirtyMemory> lists;
    std::unique_ptr<WantedPages> wanted_pages;
    std::unique_ptr<Cut> cut;  // while a checkpoint runs
    // What Region::phase points to, in turn: one of them is constant while lcores see it.
    std::array<Phase, 2> phases{};

    Entry() : Region{} {}
    void show_phase(Cut* with) {
        Phase& next = phase.load() == phases.data() ? phases[1] : phases[0];
        next = {.active = &lists->active(), .cut = with};
        phase.store(&next, std::memory_order_release);
    }
};

namespace {

constexpr const char* kPages = "pages";
constexpr const char* kDirty = "dirty";
constexpr const char* kRecord = "record";

uint64_t usable_frames(const Arena& arena, const FramePool& pool, uint64_t slack_frames) {
    if (arena.read_only()) return pool.capacity();
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

uint64_t random_uid() {
    uint64_t uid = 0;
    while (uid == 0)
        if (getrandom(&uid, sizeof uid, 0) != sizeof uid) uid = 0;
    return uid;
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

uint32_t record_flags(const Region& region) {
    return (region.temporary ? kRecordTemporary : 0) | (region.restoring ? kRecordRestoring : 0) |
           (region.rebuilding ? kRecordRebuilding : 0) | (region.managed ? kRecordManaged : 0);
}

}  // namespace

void RegionTable::write_record(const Region& region) const {
    RegionRecord record{};
    record.magic = kRecordMagic;
    record.version = kArenaVersion;
    record.region_id = region.id;
    record.size_bytes = region.size_bytes;
    record.reserve_pages = region.reserve_pages;
    record.epoch = region.epoch;
    record.data_rkey = region.data_rkey;
    record.dirty_rkey = region.dirty_rkey;
    record.uid = region.uid;
    record.flags = record_flags(region);
    std::memcpy(record.name, region.name.data(), region.name.size());
    record.crc = layout_crc(record);
    const fs::path path = arena_.directory() / region_file(region.id, kRecord);
    const fs::path path_new = path.string() + kNewSuffix;
    // Through a mapping, because hugetlbfs has no write(2).
    std::memcpy(MappedFile(path_new, sizeof(record)).bytes().data(), &record, sizeof(record));
    fs::rename(path_new, path);
}

RegionTable::RegionTable(Arena& arena, FramePool& pool, RkeyTable& rkeys, rte_rcu_qsbr* rcu,
                         uint64_t slack_frames, uint64_t cut_frames, RcuReaders readers)
    : arena_(arena),
      pool_(pool),
      rkeys_(rkeys),
      rcu_(rcu),
      readers_(readers),
      budget_(usable_frames(arena, pool, slack_frames + cut_frames) + cut_frames, cut_frames) {}

RegionTable::~RegionTable() = default;

Region& RegionTable::create(const Spec& spec) {
    check_name(spec.name);
    if (spec.size_bytes == 0 || spec.size_bytes > kMaxRegionPages * kPageBytes)
        throw RegionError(Kind::invalid, "region size: 1 byte to 16 TiB");
    const uint64_t page_count = pages_of(spec.size_bytes);
    const uint64_t reserve_pages = reserve_pages_of(page_count, spec.reserve_bytes, spec.overcommit);
    const std::string name(spec.name);
    if (find(name) != nullptr) throw RegionError(Kind::exists, "there is a region named " + name);
    for (const Region* other : list())
        if (other->uid == spec.uid)
            throw RegionError(Kind::exists, "region " + other->name + " has the identity of " + name);
    if (!budget_.reserve(reserve_pages))
        throw RegionError(Kind::no_room, "no room: the region's reserve is " +
                                             format_bytes(reserve_pages * kPageBytes) + ", unreserved are " +
                                             format_bytes(budget_.unclaimed() * kPageBytes));
    try {
        // Grown first, so that nothing can fail once the region exists.
        entries_.reserve(entries_.size() + 1);
        entries_.push_back(make_entry(spec, page_count, reserve_pages));
    } catch (const std::exception& error) {
        budget_.unreserve(reserve_pages);
        throw RegionError(Kind::no_room, "region " + name + ": " + error.what());
    }
    return *entries_.back();
}

std::unique_ptr<RegionTable::Entry> RegionTable::make_entry(const Spec& spec, uint64_t page_count,
                                                            uint64_t reserve_pages) {
    auto entry = std::make_unique<Entry>();
    Region& region = *entry;
    region.id = arena_.take_region_id();
    region.size_bytes = page_count * kPageBytes;
    region.page_count = page_count;
    region.reserve_pages = reserve_pages;
    region.uid = spec.uid != 0 ? spec.uid : random_uid();
    region.epoch = spec.epoch;
    region.temporary = spec.temporary;
    region.restoring = spec.restoring;
    region.rebuilding = spec.rebuilding;
    region.managed = spec.managed;
    if (region.managed) region.lease.end();
    region.name = spec.name;
    try {
        entry->page_table_file =
            MappedFile(arena_.directory() / region_file(region.id, kPages), page_count * sizeof(Pte));
        entry->dirty_file = MappedFile(arena_.directory() / region_file(region.id, kDirty),
                                       DirtyMemory::bytes_needed(page_count));
        if (region.rebuilding) make_pending(*entry);
        connect_memory(*entry);
        write_record(region);
    } catch (...) {
        remove_files(region);
        remove_rkeys(region);
        throw;
    }
    return entry;
}

void RegionTable::complete(Region& region, uint64_t cut) {
    if (region.pending.load(std::memory_order_acquire) != 0)
        throw std::logic_error("region " + region.name + ": " + std::to_string(region.pending) +
                               " pages are not here yet");
    region.dirty->continue_from(cut);
    const bool restoring = std::exchange(region.restoring, false);
    const bool rebuilding = std::exchange(region.rebuilding, false);
    try {
        write_record(region);
    } catch (...) {
        region.restoring = restoring;
        region.rebuilding = rebuilding;
        throw;
    }
    if (!rebuilding) return;
    // No page is pending, so nobody asks any more; who has seen one pending is waited for.
    wait_for_readers(readers_.control);
    region.wanted = nullptr;
    static_cast<Entry&>(region).wanted_pages.reset();
}

// Nobody sees the region yet.
void RegionTable::make_pending(Entry& entry) {
    auto* entries = reinterpret_cast<std::atomic<Pte>*>(entry.page_table_file.bytes().data());
    for (uint64_t page = 0; page < entry.page_count; ++page)
        entries[page].store(kPtePending, std::memory_order_relaxed);
    entry.pending = entry.page_count;
}

// From files and numbers to what lcores use. R_Keys that are not known yet are chosen.
void RegionTable::connect_memory(Entry& entry) {
    Region& region = entry;
    region.page_table = entry.page_table_copy
                            ? entry.page_table_copy.get()
                            : reinterpret_cast<std::atomic<Pte>*>(entry.page_table_file.bytes().data());
    entry.lists = std::make_unique<DirtyMemory>(
        entry.dirty_file.bytes(),
        DirtyMemory::Identity{region.id, region.uid, region.page_count, region.epoch});
    region.dirty = entry.lists.get();
    if (region.rebuilding) entry.wanted_pages = std::make_unique<WantedPages>(region.page_count);
    region.wanted = entry.wanted_pages.get();
    entry.show_phase(nullptr);
    const auto access = static_cast<uint8_t>(arena_.read_only() ? kAccessRead : kAccessRead | kAccessWrite);
    region.data_rkey = rkeys_.add({.kind = MemoryRegion::Kind::paged,
                                   .access = access,
                                   .rkey = 0,
                                   .region_id = region.id,
                                   .length = region.size_bytes,
                                   .region = &region,
                                   .base = nullptr},
                                  region.data_rkey);
    region.dirty_rkey = rkeys_.add({.kind = MemoryRegion::Kind::flat,
                                    .access = kAccessRead,
                                    .rkey = 0,
                                    .region_id = region.id,
                                    .length = entry.lists->memory().size(),
                                    .region = nullptr,
                                    .base = entry.lists->memory().data()},
                                   region.dirty_rkey);
}

void RegionTable::adopt(std::vector<FoundRegion> found) {
    for (FoundRegion& one : found) {
        auto entry = std::make_unique<Entry>();
        Region& region = *entry;
        region.id = one.record.region_id;
        region.size_bytes = one.record.size_bytes;
        region.page_count = one.record.size_bytes / kPageBytes;
        region.reserve_pages = one.record.reserve_pages;
        region.uid = one.record.uid;
        region.epoch = one.record.epoch;
        region.data_rkey = one.record.data_rkey;
        region.dirty_rkey = one.record.dirty_rkey;
        region.damaged = one.damaged_pages;
        region.temporary = (one.record.flags & kRecordTemporary) != 0;
        region.rebuilding = (one.record.flags & kRecordRebuilding) != 0;
        region.managed = (one.record.flags & kRecordManaged) != 0;
        if (region.managed) region.lease.end();
        region.pending = one.pending_pages;
        region.name = one.record.name;
        if (arena_.read_only()) {  // nothing will be stored: no frames are needed
            region.present = one.present_pages;
        } else if (!budget_.restore(region, one.present_pages)) {
            throw std::runtime_error(
                "arena: no room for region " + region.name +
                " any more: more lcores, queue pairs or ports keep more memory back now; "
                "configure as before");
        }
        entry->page_table_file = std::move(one.page_table_file);
        entry->page_table_copy = std::move(one.page_table_copy);
        entry->dirty_file = std::move(one.dirty_file);
        connect_memory(*entry);
        if (arena_.read_only() || region.dirty->fence_epoch() != 0) region.lease.was_fenced();
        entries_.push_back(std::move(entry));
    }
}

void RegionTable::make_managed(Region& region) {
    if (region.managed) return;
    region.managed = true;
    try {
        write_record(region);
    } catch (...) {
        region.managed = false;
        throw;
    }
}

void RegionTable::fence(Region& region, uint64_t epoch) {
    if (arena_.read_only()) return;  // nobody can store to it
    region.dirty->note_fence(epoch);
    region.lease.fence(rcu_);
    wait_for_readers(readers_.control);
}

void RegionTable::beat() {
    if (arena_.read_only()) return;
    for (const auto& entry : entries_)
        entry->lists->beat();
}

Region* RegionTable::find(std::string_view name) {
    for (const auto& entry : entries_)
        if (entry->name == name) return entry.get();
    return nullptr;
}

Region* RegionTable::find(uint32_t id) {
    for (const auto& entry : entries_)
        if (entry->id == id) return entry.get();
    return nullptr;
}

std::vector<Region*> RegionTable::list() {
    std::vector<Region*> regions;
    for (const auto& entry : entries_)
        regions.push_back(entry.get());
    return regions;
}

void RegionTable::destroy(Region& region) {
    if (find(region.id) != &region) throw RegionError(Kind::not_found, "no such region");
    // Files first: a kill from here on must not leave a record whose frames are another region's by then.
    remove_files(region);
    remove_rkeys(region);
    free_frames(region);
    budget_.unreserve(region.reserve_pages);
    std::erase_if(entries_, [&](const auto& entry) { return entry.get() == &region; });
}

Cut& RegionTable::begin_cut(Region& region, uint32_t frames_in_flight) {
    auto& entry = static_cast<Entry&>(region);
    if (region.restoring || region.rebuilding || region.pending != 0)
        throw std::logic_error("region " + region.name + " is not whole yet: there is nothing to cut");
    // What is active now will drain.
    entry.cut =
        std::make_unique<Cut>(pool_, budget_, entry.lists->active(), region.page_count, frames_in_flight);
    entry.lists->begin_cut();
    entry.show_phase(entry.cut.get());
    wait_for_readers(readers_.checkpoint);
    entry.cut->settle();
    return *entry.cut;
}

void RegionTable::end_cut(Region& region, CutEnd how) {
    auto& entry = static_cast<Entry&>(region);
    entry.show_phase(nullptr);
    wait_for_readers(readers_.checkpoint);
    entry.cut.reset();
    DirtyMemory& dirty = *entry.lists;
    if (how == CutEnd::durable) {
        dirty.set_durable(dirty.cut_number());
    } else {
        dirty.active().add(dirty.drain());
    }
    dirty.drain().clear();
}

// Inside, the waiter is a reader that was quiescent just now.
void RegionTable::wait_for_readers(unsigned reader) const {
    if (reader == RTE_QSBR_THRID_INVALID) return rte_rcu_qsbr_synchronize(rcu_, reader);
    rte_rcu_qsbr_thread_register(rcu_, reader);
    rte_rcu_qsbr_thread_online(rcu_, reader);
    rte_rcu_qsbr_synchronize(rcu_, reader);
    rte_rcu_qsbr_thread_offline(rcu_, reader);
    rte_rcu_qsbr_thread_unregister(rcu_, reader);
}

void RegionTable::remove_rkeys(Region& region) {
    rkeys_.remove(region.data_rkey);
    rkeys_.remove(region.dirty_rkey);
    wait_for_readers(readers_.control);
    rkeys_.recycle(region.data_rkey);
    rkeys_.recycle(region.dirty_rkey);
}

void RegionTable::free_frames(Region& region) {
    for (uint64_t page = 0; page < region.page_count && region.present.load(std::memory_order_relaxed) != 0;
         ++page) {
        const Pte entry = region.page_table[page].exchange(kAbsent, std::memory_order_acq_rel);
        if (is_empty(entry)) continue;
        if (pte_frame(entry) != kNoFrame) pool_.drop_publication(pte_frame(entry));
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
