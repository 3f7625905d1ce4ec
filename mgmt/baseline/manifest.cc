// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/baseline/manifest.h"

#include <charconv>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "datapath/roce/crc32.h"
#include "mgmt/baseline/object_store.h"
#include "mgmt/baseline/segment.h"

namespace lagan::baseline {

namespace {

using nlohmann::json;

constexpr const char* kFormatName = "lagan-baseline";
constexpr size_t kHexDigits = 16;
constexpr std::string_view kManifestSuffix = ".json";
constexpr std::string_view kSegmentSuffix = ".seg";

// 64-bit values that are no counts are hex text: JSON readers keep numbers as doubles.
std::string hex(uint64_t value) {
    char text[kHexDigits + 1];
    std::snprintf(text, sizeof text, "%016lx", value);
    return text;
}

bool parse_hex(std::string_view text, uint64_t* value) {
    if (text.size() != kHexDigits || text.find_first_not_of("0123456789abcdef") != text.npos) return false;
    return std::from_chars(text.data(), text.data() + text.size(), *value, 16).ec == std::errc{};
}

std::string file_name(const SegmentId& id) {
    return hex(id.epoch) + "-" + hex(id.session) + "-" + hex(id.sequence) + std::string(kSegmentSuffix);
}

std::string_view last_component(std::string_view key) {
    return key.substr(key.rfind('/') + 1);
}

// The second line: the checksum of the first without its line end.
std::string trailer(std::string_view body) {
    char text[32];
    std::snprintf(text, sizeof text, "{\"crc32\":\"%08x\"}\n",
                  roce::crc32_raw(0xffffffff, body.data(), body.size()));
    return text;
}

uint64_t count(const json& value) {
    if (!value.is_number_unsigned()) throw std::runtime_error("a number is not one");
    return value.get<uint64_t>();
}

uint32_t small_count(const json& value) {
    const uint64_t wide = count(value);
    if (wide > UINT32_MAX) throw std::runtime_error("a number is too large");
    return static_cast<uint32_t>(wide);
}

uint64_t hex_value(const json& value) {
    uint64_t result = 0;
    if (!value.is_string() || !parse_hex(value.get_ref<const std::string&>(), &result))
        throw std::runtime_error("a hexadecimal number is not one");
    return result;
}

SegmentRef segment_from(const json& row, uint64_t page_count) {
    if (!row.is_array() || row.size() != 8 || !row[0].is_string())
        throw std::runtime_error("a segment's row has another form");
    SegmentRef ref;
    if (!parse_segment_key(row[0].get_ref<const std::string&>(), &ref.id))
        throw std::runtime_error("a segment's name has another form");
    ref.first_page = count(row[1]);
    ref.last_page = count(row[2]);
    ref.entries = small_count(row[3]);
    ref.data_pages = small_count(row[4]);
    ref.tail_crc = small_count(row[5]);
    ref.live_entries = small_count(row[6]);
    ref.live_data_pages = small_count(row[7]);
    if (ref.entries == 0 || ref.entries > kMaxSegmentEntries || ref.data_pages > kMaxSegmentPages ||
        ref.data_pages > ref.entries || ref.live_entries > ref.entries ||
        ref.live_data_pages > ref.data_pages || ref.first_page > ref.last_page || ref.last_page >= page_count)
        throw std::runtime_error("a segment's numbers contradict each other");
    return ref;
}

Manifest from_json(const json& body) {
    Manifest manifest;
    manifest.number = count(body.at("number"));
    manifest.session = hex_value(body.at("session"));
    const json& region = body.at("region");
    manifest.region = {region.at("name").get<std::string>(), hex_value(region.at("uid")),
                       count(region.at("size_bytes")), count(region.at("epoch")),
                       hex_value(region.at("writer"))};
    if (manifest.region.size_bytes % kPageBytes != 0 ||
        manifest.region.size_bytes / kPageBytes > memory::kMaxRegionPages)
        throw std::runtime_error("the region's size is impossible");
    manifest.cut_number = count(body.at("cut_number"));
    manifest.cut_time_us = count(body.at("cut_time_us"));
    for (const json& row : body.at("segments"))
        manifest.segments.push_back(segment_from(row, manifest.region.size_bytes / kPageBytes));
    return manifest;
}

}  // namespace

std::string manifest_folder(const std::string& region) {
    return region + "/manifests/";
}

std::string segment_folder(const std::string& region) {
    return region + "/segments/";
}

std::string manifest_key(const std::string& region, uint64_t number) {
    return manifest_folder(region) + hex(number) + std::string(kManifestSuffix);
}

std::string segment_key(const std::string& region, const SegmentId& id) {
    return segment_folder(region) + file_name(id);
}

uint64_t segment_bytes(const SegmentRef& segment) {
    return uint64_t{segment.data_pages} * kPageBytes + tail_bytes(segment.entries);
}

bool parse_manifest_key(std::string_view key, uint64_t* number) {
    const std::string_view name = last_component(key);
    return name.size() == kHexDigits + kManifestSuffix.size() && name.ends_with(kManifestSuffix) &&
           parse_hex(name.substr(0, kHexDigits), number);
}

bool parse_segment_key(std::string_view key, SegmentId* id) {
    const std::string_view name = last_component(key);
    return name.size() == 3 * kHexDigits + 2 + kSegmentSuffix.size() && name.ends_with(kSegmentSuffix) &&
           name[kHexDigits] == '-' && name[2 * kHexDigits + 1] == '-' &&
           parse_hex(name.substr(0, kHexDigits), &id->epoch) &&
           parse_hex(name.substr(kHexDigits + 1, kHexDigits), &id->session) &&
           parse_hex(name.substr(2 * kHexDigits + 2, kHexDigits), &id->sequence);
}

std::string encode(const Manifest& manifest) {
    json rows = json::array();
    for (const SegmentRef& ref : manifest.segments)
        rows.push_back({file_name(ref.id), ref.first_page, ref.last_page, ref.entries, ref.data_pages,
                        ref.tail_crc, ref.live_entries, ref.live_data_pages});
    const RegionIdentity& region = manifest.region;
    const json body{{"format", kFormatName},
                    {"version", kFormatVersion},
                    {"number", manifest.number},
                    {"session", hex(manifest.session)},
                    {"region",
                     {{"name", region.name},
                      {"uid", hex(region.uid)},
                      {"size_bytes", region.size_bytes},
                      {"epoch", region.epoch},
                      {"writer", hex(region.writer)}}},
                    {"cut_number", manifest.cut_number},
                    {"cut_time_us", manifest.cut_time_us},
                    {"segments", std::move(rows)}};
    const std::string text = body.dump();
    return text + "\n" + trailer(text);
}

Manifest decode_manifest(std::string_view text, const std::string& key) {
    const auto fail = [&](ErrorKind kind, const std::string& why) {
        throw StoreError(kind, "manifest " + key + ": " + why);
    };
    const size_t end = text.find('\n');
    if (end == text.npos || text.substr(end + 1) != trailer(text.substr(0, end)))
        fail(ErrorKind::damaged, "damaged or cut off: the checksum is wrong");
    try {
        const json body = json::parse(text.substr(0, end));
        if (body.at("format") != kFormatName) throw std::runtime_error("this is no baseline of Lagan");
        if (const uint64_t version = count(body.at("version")); version != kFormatVersion)
            fail(ErrorKind::invalid, "written in format " + std::to_string(version) +
                                         ", and this program knows " + std::to_string(kFormatVersion) +
                                         ": use the Lagan that wrote it, or newer");
        Manifest manifest = from_json(body);
        uint64_t number = 0;
        if (!parse_manifest_key(key, &number) || number != manifest.number)
            throw std::runtime_error("it is number " + std::to_string(manifest.number) +
                                     ", and lies in another one's place");
        return manifest;
    } catch (const StoreError&) {
        throw;
    } catch (const std::exception& error) {
        fail(ErrorKind::damaged, error.what());
    }
    return {};
}

}  // namespace lagan::baseline
