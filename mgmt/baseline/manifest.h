// SPDX-License-Identifier: BSD-3-Clause
// A manifest: the complete description of one cut. Immutable, numbered; the newest number counts.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "mgmt/baseline/baseline.h"

namespace lagan::baseline {

inline constexpr uint32_t kFormatVersion = 1;

// Names a segment for ever. Whoever cleans up sees from it whose it is.
struct SegmentId {
    uint64_t epoch = 0;
    uint64_t session = 0;   // random, per BaselineWriter
    uint64_t sequence = 0;  // within the session
    friend bool operator==(const SegmentId&, const SegmentId&) = default;
    friend bool operator<(const SegmentId& a, const SegmentId& b) {
        return std::tie(a.epoch, a.session, a.sequence) < std::tie(b.epoch, b.session, b.sequence);
    }
};

struct SegmentRef {
    SegmentId id;
    uint64_t first_page = 0;  // of any kind
    uint64_t last_page = 0;
    uint32_t entries = 0;
    uint32_t data_pages = 0;
    uint32_t tail_crc = 0;  // of everything behind the data
    // Entries that no later segment replaces, as of the manifest.
    uint32_t live_entries = 0;
    uint32_t live_data_pages = 0;
    friend bool operator==(const SegmentRef&, const SegmentRef&) = default;
};

struct Manifest {
    uint64_t number = 0;   // 1 is the first
    uint64_t session = 0;  // of the BaselineWriter that made it
    RegionIdentity region;
    uint64_t cut_number = 0;   // 0: nothing was ever checkpointed
    uint64_t cut_time_us = 0;  // microseconds since 1970 (UTC), of the cut itself
    // In order: what a segment says of a page replaces what earlier ones say.
    std::vector<SegmentRef> segments;
    friend bool operator==(const Manifest&, const Manifest&) = default;
};

std::string manifest_folder(const std::string& region);  // "NAME/manifests/"
std::string segment_folder(const std::string& region);   // "NAME/segments/"
std::string manifest_key(const std::string& region, uint64_t number);
std::string segment_key(const std::string& region, const SegmentId& id);
uint64_t segment_bytes(const SegmentRef& segment);

// The text of a manifest, and back. decode throws StoreError naming `key`: damaged if the checksum or a field
// is wrong, invalid for a newer version.
std::string encode(const Manifest& manifest);
Manifest decode_manifest(std::string_view text, const std::string& key);

// Numbers behind the last '/' of keys; false for keys that have another form.
bool parse_manifest_key(std::string_view key, uint64_t* number);
bool parse_segment_key(std::string_view key, SegmentId* id);

}  // namespace lagan::baseline
