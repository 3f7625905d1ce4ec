// SPDX-License-Identifier: BSD-3-Clause
// Opening, writing segments, cleaning up. commit.cc and compaction.cc have the rest.
#include "mgmt/baseline/baseline_writer.h"

#include <algorithm>
#include <random>

#include "mgmt/baseline/manifest_store.h"
#include "mgmt/baseline/segment.h"

namespace lagan::baseline {

namespace {

constexpr int kClaimAttempts = 16;  // each lost one means that another writer's was won

uint64_t random_64() {
    std::random_device random;
    return uint64_t{random()} << 32 | random();
}

std::string hex(uint64_t value) {
    char text[20];
    std::snprintf(text, sizeof text, "%016lx", value);
    return text;
}

// The newest manifest that can be read, and the newest older one of an earlier cut.
struct Found {
    std::optional<Manifest> newest;
    std::optional<Manifest> previous;
};

Found find(ObjectStore& store, const std::string& region, const std::vector<uint64_t>& numbers,
           bool start_over) {
    Found found;
    for (const uint64_t number : numbers) {
        try {
            Manifest manifest = read_manifest(store, region, number);
            if (!found.newest)
                found.newest = std::move(manifest);
            else if (manifest.cut_number < found.newest->cut_number)
                found.previous = std::move(manifest);
            if (found.previous) break;
        } catch (const StoreError& error) {
            const bool is_newest = number == numbers.front();
            if (error.kind() == ErrorKind::damaged && is_newest && !start_over)
                throw StoreError(
                    ErrorKind::damaged,
                    std::string(error.what()) + ": restore an older cut, or let the checkpoint start over");
            if (error.kind() == ErrorKind::damaged || (error.kind() == ErrorKind::missing && !is_newest))
                continue;
            throw;
        }
    }
    return found;
}

}  // namespace

BaselineWriter::BaselineWriter(ObjectStore& store, RegionIdentity region, WriterOptions options)
    : store_(store), region_(std::move(region)), options_(options), session_(random_64()) {
    if (region_.name.empty() || region_.size_bytes == 0 || region_.size_bytes % kPageBytes != 0 ||
        region_.size_bytes / kPageBytes > memory::kMaxRegionPages)
        throw StoreError(ErrorKind::invalid, "baseline: the region's name or size is impossible");
    claim();
    if (options_.start_over)
        state_.live = LiveMap(region_.size_bytes / kPageBytes);
    else
        load_state();
    for (const std::string& folder : {manifest_folder(region_.name), segment_folder(region_.name)})
        store_.remove_unfinished(folder, options_.unfinished_age);
    for (const std::string& key : store_.list(segment_folder(region_.name)))
        // Of a higher epoch: a writer that has claimed the baseline since.
        if (SegmentId id; parse_segment_key(key, &id) && id.epoch <= region_.epoch) stored_.insert(id);
    uint64_t removed = 0;
    clean_up(&removed);
}

BaselineWriter::~BaselineWriter() = default;

void BaselineWriter::check_claim(const Manifest& newest) const {
    const auto refuse = [&](const std::string& why) {
        throw StoreError(ErrorKind::refused, store_.where() + ": the baseline " + region_.name + " " + why);
    };
    const RegionIdentity& there = newest.region;
    if (there.uid != region_.uid || there.name != region_.name)
        refuse("is of another region (" + there.name + ", uid " + hex(there.uid) + ", ours has " +
               hex(region_.uid) +
               "): remove it if that region is gone for good, or name the region or the store otherwise");
    if (there.size_bytes != region_.size_bytes)
        refuse("is of a region of " + std::to_string(there.size_bytes) + " bytes, and ours has " +
               std::to_string(region_.size_bytes));
    if (there.epoch > region_.epoch)
        refuse("has epoch " + std::to_string(there.epoch) + ", ours is " + std::to_string(region_.epoch) +
               ": the region has moved to another appliance; this copy of it is stale");
    if (there.epoch == region_.epoch && there.writer != region_.writer)
        refuse("is written by another appliance (" + hex(there.writer) + ") in the same epoch " +
               std::to_string(there.epoch) + ": only one of two may have the region; delete the other one");
}

// A manifest of ours becomes the newest, so that whoever opened the baseline before can commit no more.
void BaselineWriter::claim() {
    for (int attempt = 0; attempt < kClaimAttempts; ++attempt) {
        const std::vector<uint64_t> numbers = manifest_numbers(store_, region_.name);
        Found found;
        try {
            found = find(store_, region_.name, numbers, options_.start_over);
        } catch (const StoreError& error) {
            if (error.kind() == ErrorKind::missing) continue;  // another writer has removed it: look again
            throw;
        }
        if (found.newest) check_claim(*found.newest);
        Manifest mine = found.newest.value_or(Manifest{});
        mine.number = (numbers.empty() ? 0 : numbers.front()) + 1;
        mine.session = session_;
        mine.region = region_;
        const std::string text = encode(mine);
        if (!store_.put_exclusive(manifest_key(region_.name, mine.number), std::as_bytes(std::span(text))))
            continue;
        newest_ = std::move(mine);
        previous_ = std::move(found.previous);
        manifests_ = {numbers.begin(), numbers.end()};
        manifests_.insert(newest_.number);
        return;
    }
    throw StoreError(ErrorKind::refused, store_.where() + ": the baseline " + region_.name +
                                             " is claimed by other writers again and again");
}

void BaselineWriter::load_state() {
    LoadedMap map = load_live_map(store_, newest_);
    if (!map.lost.empty())
        throw StoreError(
            ErrorKind::damaged,
            map.lost.front().reason + ": " + std::to_string(map.lost.size()) +
                " segments are lost; let the checkpoint start over, which stores all pages again");
    state_.live = std::move(map.live);
    state_.segments.clear();
    for (size_t i = 0; i < map.segments.size(); ++i)
        state_.segments.emplace(i + 1, map.segments[i]);
    state_.next_ordinal = static_cast<uint32_t>(map.segments.size() + 1);
    unreadable_.clear();
}

SegmentRef BaselineWriter::write(std::span<const StoredPage> pages) {
    SegmentRef ref;
    ref.id = {region_.epoch, session_, next_sequence_.fetch_add(1, std::memory_order_relaxed)};
    const PageBuffer tail = encode_tail(pages, region_, &ref);
    std::vector<Bytes> content;
    content.reserve(ref.data_pages + 1);
    for (const StoredPage& page : pages)
        if (page.data != nullptr) content.emplace_back(page.data, kPageBytes);
    content.emplace_back(tail.get(), tail_bytes(ref.entries));
    {
        const std::lock_guard lock(mutex_);  // first: what is half written is to be removed one day
        stored_.insert(ref.id);
    }
    store_.put(segment_key(region_.name, ref.id), content);
    written_bytes_.fetch_add(segment_bytes(ref), std::memory_order_relaxed);
    return ref;
}

std::vector<BaselineWriter::PendingPage> BaselineWriter::pending_of(std::span<const StoredPage> pages) {
    std::vector<PendingPage> pending;
    pending.reserve(pages.size());
    for (const StoredPage& page : pages)
        pending.push_back({page.page, page.kind == PageKind::data});
    return pending;
}

SegmentRef BaselineWriter::write_segment(std::span<const StoredPage> pages) {
    const SegmentRef ref = write(pages);
    std::vector<PendingPage> pending = pending_of(pages);
    const std::lock_guard lock(mutex_);
    pending_.emplace(ref.id, std::move(pending));
    return ref;
}

void BaselineWriter::give_up() noexcept {
    try {
        {
            const std::lock_guard lock(mutex_);
            pending_.clear();
        }
        uint64_t removed = 0;
        // What is not known to be durable replaces nothing yet.
        if (!unknown_ && !doubtful_) clean_up(&removed);
    } catch (...) {  // no memory; the next commit cleans up
    }
}

// Removes manifests and segments that neither of the two newest cuts needs. Returns what went wrong.
std::string BaselineWriter::clean_up(uint64_t* removed) {
    std::vector<std::string> keys;
    std::vector<SegmentId> segments;
    {
        const std::lock_guard lock(mutex_);
        std::set<SegmentId> needed;
        for (const Manifest* manifest : {&newest_, previous_ ? &*previous_ : nullptr})
            for (size_t i = 0; manifest != nullptr && i < manifest->segments.size(); ++i)
                needed.insert(manifest->segments[i].id);
        for (const SegmentId& id : stored_)
            if (!needed.contains(id) && !pending_.contains(id)) segments.push_back(id);
    }
    try {
        // Manifests first: as long as one is there, its segments are.
        for (const uint64_t number : std::set(manifests_)) {
            if (number == newest_.number || (previous_ && number == previous_->number)) continue;
            store_.remove(manifest_key(region_.name, number));
            manifests_.erase(number);
        }
        for (const SegmentId& id : segments) {
            store_.remove(segment_key(region_.name, id));
            ++*removed;
            const std::lock_guard lock(mutex_);
            stored_.erase(id);
        }
    } catch (const StoreError& error) {
        return error.what();
    }
    return "";
}

Manifest BaselineWriter::newest() const {
    const std::lock_guard lock(mutex_);
    return newest_;
}

WriterStats BaselineWriter::stats() const {
    const std::lock_guard lock(mutex_);
    WriterStats stats;
    for (const SegmentRef& ref : newest_.segments) {
        stats.live_bytes += uint64_t{ref.live_data_pages} * kPageBytes;
        stats.stored_bytes += segment_bytes(ref);
    }
    stats.segments = newest_.segments.size();
    stats.written_bytes = written_bytes_.load(std::memory_order_relaxed);
    stats.compacted_bytes = compacted_bytes_;
    stats.commits = commits_;
    return stats;
}

}  // namespace lagan::baseline
