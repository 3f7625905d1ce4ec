// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/baseline/live_map.h"

#include <oneapi/tbb/parallel_pipeline.h>

#include <array>

#include "mgmt/baseline/segment.h"

namespace lagan::baseline {

namespace {

namespace tbb = oneapi::tbb;

constexpr size_t kIndexesInFlight = 16;  // bounds the memory: an index is at most 16 MiB

struct Index {
    size_t segment = 0;
    std::vector<IndexEntry> entries;
    std::string problem;  // why there are no entries
};

Index read(ObjectStore& store, const Manifest& manifest, size_t segment) {
    Index index{segment, {}, {}};
    try {
        index.entries = read_index(store, manifest.region, manifest.segments[segment]);
    } catch (const StoreError& error) {
        if (error.kind() != ErrorKind::missing && error.kind() != ErrorKind::damaged) throw;
        index.problem = error.what();
    }
    return index;
}

void place(LoadedMap& map, size_t segment, uint64_t page, bool data) {
    const LiveMap::Place before = map.live.set(page, {static_cast<uint32_t>(segment + 1), data});
    if (before.ordinal != 0) {
        SegmentRef& replaced = map.segments[before.ordinal - 1];
        --replaced.live_entries;
        replaced.live_data_pages -= before.data;
    }
    ++map.segments[segment].live_entries;
    map.segments[segment].live_data_pages += data;
}

void apply(LoadedMap& map, const Index& index) {
    if (index.problem.empty()) {
        for (const IndexEntry& entry : index.entries)
            place(map, index.segment, entry.page, entry.kind == PageKind::data);
        return;
    }
    map.lost.push_back({index.segment, index.problem});
    const SegmentRef& ref = map.segments[index.segment];
    for (uint64_t page = ref.first_page; page <= ref.last_page; ++page)
        place(map, index.segment, page, true);
}

}  // namespace

LoadedMap load_live_map(ObjectStore& store, const Manifest& manifest) {
    LoadedMap map{LiveMap(manifest.region.size_bytes / kPageBytes), manifest.segments, {}};
    for (SegmentRef& ref : map.segments)
        ref.live_entries = ref.live_data_pages = 0;
    // Tokens point into this ring, since oneTBB forgets what it holds when a filter throws. A place is free
    // again when its turn comes: tokens end in order, and there are no more of them than places.
    std::array<Index, kIndexesInFlight> ring;
    size_t next = 0;
    const auto choose = [&](tbb::flow_control& flow) -> size_t {
        if (next < map.segments.size()) return next++;
        flow.stop();
        return 0;
    };
    const auto read_one = [&](size_t segment) {
        Index& index = ring[segment % kIndexesInFlight];
        index = read(store, manifest, segment);
        return &index;
    };
    const auto apply_one = [&](const Index* index) { apply(map, *index); };
    tbb::parallel_pipeline(kIndexesInFlight,
                           tbb::make_filter<void, size_t>(tbb::filter_mode::serial_in_order, choose) &
                               tbb::make_filter<size_t, Index*>(tbb::filter_mode::parallel, read_one) &
                               tbb::make_filter<Index*, void>(tbb::filter_mode::serial_in_order, apply_one));
    if (map.lost.empty() && map.segments != manifest.segments)
        throw StoreError(ErrorKind::damaged, store.where() + "/" +
                                                 manifest_key(manifest.region.name, manifest.number) +
                                                 ": its counts contradict the segments' indexes");
    return map;
}

}  // namespace lagan::baseline
