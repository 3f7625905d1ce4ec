// SPDX-License-Identifier: BSD-3-Clause
// Opening, writing segments, cleaning up. commit.cc and compaction.cc have the rest.
#include "mgmt/baseline/baseline_writer.h"

#include <algorithm>

#include "mgmt/baseline/claim.h"
#include "mgmt/baseline/segment.h"

namespace lagan::baseline {

BaselineWriter::BaselineWriter(ObjectStore& store, RegionIdentity region, WriterOptions options)
    : store_(store), region_(std::move(region)), options_(options), session_(new_session()) {
    if (region_.name.empty() || region_.size_bytes == 0 || region_.size_bytes % kPageBytes != 0 ||
        region_.size_bytes / kPageBytes > memory::kMaxRegionPages)
        throw StoreError(ErrorKind::invalid, "baseline: the region's name or size is impossible");
    Claim claimed = claim(store_, region_, session_, options_.start_over);
    newest_ = std::move(claimed.newest);
    previous_ = std::move(claimed.previous);
    manifests_ = std::move(claimed.manifests);
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
