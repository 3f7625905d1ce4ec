// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/baseline/segment.h"

#include <cstring>
#include <new>

#include "datapath/roce/crc32.h"

namespace lagan::baseline {

namespace {

constexpr uint32_t kCrcStart = 0xffffffff;  // zeros before and behind change the result

uint32_t tail_crc(std::span<const std::byte> tail) {
    return roce::crc32_raw(kCrcStart, tail.data(), tail.size() - sizeof(uint32_t));
}

[[noreturn]] void invalid(const std::string& what) {
    throw StoreError(ErrorKind::invalid, "baseline segment: " + what);
}

void check_page(const StoredPage& page, uint64_t page_count) {
    if (page.page >= page_count) invalid("page " + std::to_string(page.page) + " is not in the region");
    if ((page.kind == PageKind::data) != (page.data != nullptr))
        invalid("page " + std::to_string(page.page) + " has data that do not go with its kind");
}

// What is wrong with the verified index; empty: nothing. Without a bug in a writer it never is.
std::string problem_of(std::span<const IndexEntry> entries, const SegmentRef& ref, uint64_t page_count) {
    uint32_t data_pages = 0;
    for (size_t i = 0; i < entries.size(); ++i) {
        const IndexEntry& entry = entries[i];
        if (i > 0 && entry.page <= entries[i - 1].page) return "the index is not in order";
        if (entry.page >= page_count) return "the index names pages that the region does not have";
        if (entry.kind > PageKind::damaged) return "the index has an unknown kind of page";
        data_pages += entry.kind == PageKind::data;
    }
    if (data_pages != ref.data_pages || entries.front().page != ref.first_page ||
        entries.back().page != ref.last_page)
        return "the index does not fit the manifest";
    return "";
}

}  // namespace

PageBuffer make_page_buffer(uint64_t bytes) {
    auto* memory = static_cast<std::byte*>(std::aligned_alloc(kPageBytes, bytes));
    if (memory == nullptr) throw std::bad_alloc();
    return PageBuffer(memory);
}

uint64_t tail_bytes(uint32_t entries) {
    const uint64_t bytes = uint64_t{entries} * sizeof(IndexEntry) + sizeof(SegmentFooter);
    return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
}

PageBuffer encode_tail(std::span<const StoredPage> pages, const RegionIdentity& region, SegmentRef* ref) {
    if (pages.empty() || pages.size() > kMaxSegmentEntries)
        invalid("one to " + std::to_string(kMaxSegmentEntries) + " pages, not " +
                std::to_string(pages.size()));
    const auto entries = static_cast<uint32_t>(pages.size());
    const uint64_t bytes = tail_bytes(entries);
    PageBuffer tail = make_page_buffer(bytes);
    std::memset(tail.get(), 0, bytes);
    uint32_t data_pages = 0;
    for (size_t i = 0; i < pages.size(); ++i) {
        check_page(pages[i], region.size_bytes / kPageBytes);
        if (i > 0 && pages[i].page <= pages[i - 1].page) invalid("pages are not in ascending order");
        const bool data = pages[i].kind == PageKind::data;
        const IndexEntry entry{pages[i].page, data ? pages[i].crc : 0, pages[i].kind, {}};
        std::memcpy(tail.get() + i * sizeof entry, &entry, sizeof entry);
        data_pages += data;
    }
    if (data_pages > kMaxSegmentPages)
        invalid("at most " + std::to_string(kMaxSegmentPages) + " pages with data, not " +
                std::to_string(data_pages));
    SegmentFooter footer{kSegmentMagic, kFormatVersion,  entries,          data_pages, kPageBytes, region.uid,
                         ref->id.epoch, ref->id.session, ref->id.sequence, 0,          0};
    std::byte* const at = tail.get() + bytes - sizeof footer;
    std::memcpy(at, &footer, sizeof footer);
    footer.tail_crc = tail_crc({tail.get(), bytes});
    std::memcpy(at, &footer, sizeof footer);
    *ref = SegmentRef{ref->id,    pages.front().page, pages.back().page, entries,
                      data_pages, footer.tail_crc,    entries,           data_pages};
    return tail;
}

std::vector<IndexEntry> read_index(ObjectStore& store, const RegionIdentity& region, const SegmentRef& ref) {
    const std::string key = segment_key(region.name, ref.id);
    const auto damaged = [&](const std::string& why) {
        throw StoreError(ErrorKind::damaged, store.where() + ": segment " + key + ": " + why);
    };
    const uint64_t bytes = tail_bytes(ref.entries);
    const PageBuffer tail = make_page_buffer(bytes);
    store.get(key, uint64_t{ref.data_pages} * kPageBytes, {tail.get(), bytes});
    SegmentFooter footer;
    std::memcpy(&footer, tail.get() + bytes - sizeof footer, sizeof footer);
    if (footer.tail_crc != ref.tail_crc || tail_crc({tail.get(), bytes}) != ref.tail_crc)
        damaged("its index is damaged: the CRC is wrong");
    if (footer.magic != kSegmentMagic || footer.version != kFormatVersion || footer.entries != ref.entries ||
        footer.data_pages != ref.data_pages || footer.page_bytes != kPageBytes ||
        footer.region_uid != region.uid || footer.epoch != ref.id.epoch || footer.session != ref.id.session ||
        footer.sequence != ref.id.sequence)
        damaged("its footer does not fit the manifest");
    std::vector<IndexEntry> entries(ref.entries);
    std::memcpy(entries.data(), tail.get(), entries.size() * sizeof(IndexEntry));
    if (const std::string why = problem_of(entries, ref, region.size_bytes / kPageBytes); !why.empty())
        damaged(why);
    return entries;
}

}  // namespace lagan::baseline
