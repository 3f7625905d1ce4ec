// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/baseline/baseline_reader.h"

#include <algorithm>

#include "mgmt/baseline/manifest_store.h"
#include "mgmt/baseline/segment_pages.h"

namespace lagan::baseline {

namespace {

constexpr size_t kIndexesKept = 8;  // 16 MiB each at most

CutInfo describe(ObjectStore& store, const std::string& region, uint64_t number) {
    CutInfo info;
    info.manifest_number = number;
    try {
        const Manifest manifest = read_manifest(store, region, number);
        info.readable = true;
        info.region = manifest.region;
        info.cut_number = manifest.cut_number;
        info.cut_time_us = manifest.cut_time_us;
        for (const SegmentRef& ref : manifest.segments) {
            info.data_pages += ref.live_data_pages;
            info.stored_bytes += segment_bytes(ref);
        }
    } catch (const StoreError& error) {
        if (error.kind() == ErrorKind::unavailable || error.kind() == ErrorKind::refused) throw;
        info.problem = error.what();
    }
    return info;
}

// For the message about a damaged manifest.
std::string other_cuts(ObjectStore& store, const std::string& region, uint64_t damaged) {
    std::string text;
    for (const CutInfo& cut : list_cuts(store, region))
        if (cut.readable && cut.manifest_number != damaged)
            text += (text.empty() ? "" : ", ") + std::to_string(cut.manifest_number) + " (cut " +
                    std::to_string(cut.cut_number) + ")";
    return text.empty() ? "; no other manifest is readable"
                        : "; manifests that can be restored instead, if asked for: " + text;
}

Manifest open_manifest(ObjectStore& store, const std::string& region, std::optional<uint64_t> number) {
    if (!number) {
        const std::vector<uint64_t> numbers = manifest_numbers(store, region);
        if (numbers.empty())
            throw StoreError(ErrorKind::missing, store.where() + ": no baseline of a region " + region);
        number = numbers.front();
    }
    try {
        return read_manifest(store, region, *number);
    } catch (const StoreError& error) {
        if (error.kind() != ErrorKind::damaged && error.kind() != ErrorKind::missing) throw;
        throw StoreError(error.kind(), error.what() + other_cuts(store, region, *number));
    }
}

}  // namespace

std::vector<CutInfo> list_cuts(ObjectStore& store, const std::string& region) {
    std::vector<CutInfo> cuts;
    for (const uint64_t number : manifest_numbers(store, region))
        cuts.push_back(describe(store, region, number));
    return cuts;
}

std::vector<std::string> list_regions(ObjectStore& store) {
    std::vector<std::string> names = store.folders();
    std::erase_if(names, [&](const std::string& name) { return manifest_numbers(store, name).empty(); });
    return names;
}

void remove_baseline(ObjectStore& store, const std::string& region, uint64_t uid) {
    const std::vector<uint64_t> numbers = manifest_numbers(store, region);
    if (uid != 0 && !numbers.empty()) {
        const uint64_t there = read_manifest(store, region, numbers.front()).region.uid;
        if (there != uid)
            throw StoreError(ErrorKind::refused, store.where() + ": the baseline " + region +
                                                     " is of another region of that name");
    }
    // Until the last manifest is gone, what is left has a name and can be removed by another call.
    for (const std::string& key : store.list(segment_folder(region)))
        store.remove(key);
    for (auto number = numbers.rbegin(); number != numbers.rend(); ++number)
        store.remove(manifest_key(region, *number));
}

BaselineReader::BaselineReader(ObjectStore& store, const std::string& region,
                               std::optional<uint64_t> manifest_number)
    : store_(store), manifest_(open_manifest(store, region, manifest_number)) {
    LoadedMap map = load_live_map(store_, manifest_);
    live_ = std::move(map.live);
    manifest_.segments = std::move(map.segments);
    lost_.resize(manifest_.segments.size());
    for (const LoadedMap::Lost& each : map.lost)
        note_lost(each);
    if (!map.lost.empty()) check_not_superseded();
}

void BaselineReader::note_lost(const LoadedMap::Lost& lost) {
    SegmentRef& ref = manifest_.segments[lost.segment];
    LossList losses(segment_key(manifest_.region.name, ref.id));
    for (uint64_t page = ref.first_page; page <= ref.last_page; ++page)
        if (live_.at(page).ordinal == lost.segment + 1) losses.add({page, 1}, lost.reason);
    for (Loss& loss : losses.take())
        losses_.push_back(std::move(loss));
    ref.live_entries = ref.live_data_pages = 0;
    lost_[lost.segment] = true;
}

// A writer that has made two cuts since this manifest removes what only the manifest needs.
void BaselineReader::check_not_superseded() const {
    const std::vector<uint64_t> numbers = manifest_numbers(store_, manifest_.region.name);
    if (std::find(numbers.begin(), numbers.end(), manifest_.number) == numbers.end())
        throw StoreError(ErrorKind::missing,
                         store_.where() + ": cut " + std::to_string(manifest_.cut_number) + " of region " +
                             manifest_.region.name +
                             " was replaced by newer ones while it was read: restore again");
}

std::vector<Loss> BaselineReader::load(size_t segment,
                                       const std::function<void(const StoredPage&)>& deliver) const {
    const SegmentRef& ref = manifest_.segments.at(segment);
    if (lost_[segment] || ref.live_entries == 0) return {};
    const auto wanted = [&](uint64_t page) { return live_.at(page).ordinal == segment + 1; };
    const std::string key = segment_key(manifest_.region.name, ref.id);
    std::vector<IndexEntry> entries;
    try {
        entries = read_index(store_, manifest_.region, ref);
    } catch (const StoreError& error) {  // it was whole when this reader was made
        if (error.kind() != ErrorKind::missing && error.kind() != ErrorKind::damaged) throw;
        check_not_superseded();
        LossList losses(key);
        for (uint64_t page = ref.first_page; page <= ref.last_page; ++page)
            if (wanted(page)) losses.add({page, 1}, error.what());
        return losses.take();
    }
    for (const IndexEntry& entry : entries)
        if (entry.kind == PageKind::damaged && wanted(entry.page))
            deliver({entry.page, PageKind::damaged, 0, nullptr});
    std::vector<Loss> losses = read_pages(store_, key, entries, wanted, deliver);
    if (!losses.empty()) check_not_superseded();
    return losses;
}

BaselineReader::Index BaselineReader::index_of(size_t segment) const {
    {
        const std::scoped_lock lock(mutex_);
        const auto kept = std::find_if(indexes_.begin(), indexes_.end(),
                                       [&](const auto& each) { return each.first == segment; });
        if (kept != indexes_.end()) {
            indexes_.splice(indexes_.begin(), indexes_, kept);
            return kept->second;
        }
    }
    auto index = std::make_shared<const std::vector<IndexEntry>>(
        read_index(store_, manifest_.region, manifest_.segments[segment]));
    const std::scoped_lock lock(mutex_);
    indexes_.emplace_front(segment, index);
    if (indexes_.size() > kIndexesKept) indexes_.pop_back();
    return index;
}

std::vector<Loss> BaselineReader::load_page(uint64_t page,
                                            const std::function<void(const StoredPage&)>& deliver) const {
    const LiveMap::Place place = live_.at(page);
    if (place.ordinal == 0) return {};
    const size_t segment = place.ordinal - 1;
    const std::string key = segment_key(manifest_.region.name, manifest_.segments[segment].id);
    LossList losses(key);
    if (lost_[segment]) {
        losses.add({page, 1}, "the segment's index cannot be read");
        return losses.take();
    }
    Index index;
    try {
        index = index_of(segment);
    } catch (const StoreError& error) {
        if (error.kind() != ErrorKind::missing && error.kind() != ErrorKind::damaged) throw;
        losses.add({page, 1}, error.what());
        return losses.take();
    }
    for (const IndexEntry& entry : *index)
        if (entry.page == page && entry.kind == PageKind::damaged)
            deliver({page, PageKind::damaged, 0, nullptr});
    return read_pages(
        store_, key, *index, [page](uint64_t other) { return other == page; }, deliver);
}

}  // namespace lagan::baseline
