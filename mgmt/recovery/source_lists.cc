// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/recovery/source_lists.h"

#include <fmt/format.h>

#include <array>

#include "datapath/memory/dirty_memory.h"

namespace lagan::recovery {

using memory::DirtyList;
using memory::DirtyMemoryHeader;
using memory::kPageBytes;
using Why = SourceError::Why;

namespace {

constexpr uint32_t kChunkBytes = PageSet::kChunkWords * 8;
constexpr uint32_t kReadChunks = 64;    // of a bitmap, by one READ
constexpr uint64_t kSlabChunks = 2048;  // of the present bitmap, looked at together
constexpr uint64_t kMostCuts = 1ULL << 62;
constexpr int kAttempts = 10;  // until no cut begins while the lists are read

template <typename... Arguments>
[[noreturn]] void refuse(fmt::format_string<Arguments...> text, Arguments&&... arguments) {
    throw SourceError(Why::invalid, "the source's dirty list memory: " +
                                        fmt::format(text, std::forward<Arguments>(arguments)...));
}

uint64_t chunk_count(uint64_t page_count) {
    return (page_count + PageSet::kChunkPages - 1) / PageSet::kChunkPages;
}

void check_identity(const DirtyMemoryHeader& header, const Wanted& wanted) {
    if (header.magic != memory::kDirtyMemoryMagic) refuse("the magic number is wrong");
    if (header.version != memory::kDirtyMemoryVersion)
        refuse("version {}, this appliance knows {}", header.version, memory::kDirtyMemoryVersion);
    if (header.page_bytes != kPageBytes) refuse("pages of {} bytes", header.page_bytes);
    if (header.region_uid != wanted.uid)
        refuse("it is another region's: {:016x}, wanted is {:016x}", header.region_uid, wanted.uid);
    if (header.page_count != wanted.size_bytes / kPageBytes)
        refuse("{} pages, wanted are {}", header.page_count, wanted.size_bytes / kPageBytes);
    if (header.epoch >= wanted.epoch)
        refuse("epoch {}, which is not below the new one, {}", header.epoch.load(), wanted.epoch);
    if (wanted.source_epoch != 0 && header.epoch != wanted.source_epoch)
        refuse("epoch {}, wanted is {}", header.epoch.load(), wanted.source_epoch);
    if (header.active_list > 1) refuse("list {} is active", header.active_list.load());
    if (header.durable_cut > header.cut_number)
        refuse("cut {} is durable, and the newest is {}", header.durable_cut.load(),
               header.cut_number.load());
    if (header.cut_number > kMostCuts)
        refuse("cut {}, which nobody can have come to", header.cut_number.load());
}

void check_place(uint64_t offset, uint64_t bytes, uint64_t room, const char* what) {
    if (offset % 8 != 0 || offset < kPageBytes || bytes > room || offset > room - bytes)
        refuse("the {} at {} does not lie within {} bytes", what, offset, room);
}

void check_places(const SourceHeader& header, uint64_t room) {
    const uint64_t bitmap = DirtyList::bitmap_bytes(header.page_count);
    for (const auto& list : header.lists) {
        check_place(list.summary_offset, DirtyList::summary_bytes(header.page_count), room, "summary");
        check_place(list.bitmap_offset, bitmap, room, "bitmap");
    }
    check_place(header.present_offset, bitmap, room, "present bitmap");
}

// Fills in the words of a set's chunks, of which neighbours are read together.
void read_chunks(SourceConnection& source, uint64_t bitmap_offset, PageSet& set) {
    std::vector<SourceConnection::Piece> pieces;
    const std::span<const uint64_t> chunks = set.chunks();
    auto* to = reinterpret_cast<std::byte*>(set.words().data());
    for (size_t i = 0; i < chunks.size();) {
        uint32_t run = 1;
        while (run < kReadChunks && i + run < chunks.size() && chunks[i + run] == chunks[i] + run)
            ++run;
        pieces.push_back({bitmap_offset + chunks[i] * kChunkBytes, to + i * kChunkBytes, run * kChunkBytes});
        i += run;
    }
    source.read(source.about().dirty_rkey, pieces);
}

PageSet read_list(SourceConnection& source, const SourceHeader& header, uint32_t list) {
    const uint64_t count = chunk_count(header.page_count);
    std::vector<uint64_t> summary((count + 63) / 64);
    source.read(source.about().dirty_rkey, header.lists[list].summary_offset,
                std::as_writable_bytes(std::span(summary)));
    std::vector<uint64_t> chunks;
    for (uint64_t chunk = 0; chunk < count; ++chunk)
        if ((summary[chunk / 64] >> (chunk % 64) & 1) != 0) chunks.push_back(chunk);
    PageSet set(std::move(chunks));
    read_chunks(source, header.lists[list].bitmap_offset, set);
    set.cut_at(header.page_count);
    return set;
}

}  // namespace

SourceHeader read_header(SourceConnection& source, const Wanted& wanted) {
    const SourceConnection::About& about = source.about();
    if (about.size_bytes != wanted.size_bytes)
        throw SourceError(Why::invalid, fmt::format("the source's region has {} bytes, wanted are {}",
                                                    about.size_bytes, wanted.size_bytes));
    alignas(DirtyMemoryHeader) std::array<std::byte, sizeof(DirtyMemoryHeader)> bytes;
    source.read(about.dirty_rkey, 0, bytes);
    const auto& raw = *reinterpret_cast<const DirtyMemoryHeader*>(bytes.data());
    check_identity(raw, wanted);
    SourceHeader header{.page_count = raw.page_count,
                        .epoch = raw.epoch,
                        .cut_number = raw.cut_number,
                        .durable_cut = raw.durable_cut,
                        .active_list = static_cast<uint32_t>(raw.active_list),
                        .lists = {},
                        .present_offset = raw.present_offset};
    for (int i = 0; i < 2; ++i)
        header.lists[i] = {raw.lists[i].summary_offset, raw.lists[i].bitmap_offset};
    check_places(header, about.dirty_bytes);
    return header;
}

// Drain list first: what leaves it for the other one meanwhile is found there. A cut that begins would let
// the lists change places: then once more.
SourceLists read_lists(SourceConnection& source, const Wanted& wanted) {
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
        SourceLists lists{.header = read_header(source, wanted), .drain = {}, .active = {}};
        lists.drain = read_list(source, lists.header, 1 - lists.header.active_list);
        lists.active = read_list(source, lists.header, lists.header.active_list);
        const SourceHeader after = read_header(source, wanted);
        if (after.cut_number == lists.header.cut_number && after.active_list == lists.header.active_list)
            return lists;
    }
    throw SourceError(Why::lost,
                      "the source begins checkpoint after checkpoint: its lists do not hold still");
}

PageSet read_present(SourceConnection& source, const SourceHeader& header) {
    std::vector<uint64_t> chunks;
    std::vector<uint64_t> words;
    const uint64_t count = chunk_count(header.page_count);
    for (uint64_t first = 0; first < count; first += kSlabChunks) {
        std::vector<uint64_t> slab_chunks(std::min(kSlabChunks, count - first));
        for (size_t i = 0; i < slab_chunks.size(); ++i)
            slab_chunks[i] = first + i;
        PageSet slab(std::move(slab_chunks));
        read_chunks(source, header.present_offset, slab);
        slab.cut_at(header.page_count);
        for (size_t i = 0; i < slab.chunks().size(); ++i) {
            const auto part = slab.words().subspan(i * PageSet::kChunkWords, PageSet::kChunkWords);
            if (std::all_of(part.begin(), part.end(), [](uint64_t word) { return word == 0; })) continue;
            chunks.push_back(slab.chunks()[i]);
            words.insert(words.end(), part.begin(), part.end());
        }
    }
    PageSet present(std::move(chunks));
    std::copy(words.begin(), words.end(), present.words().begin());
    return present;
}

}  // namespace lagan::recovery
