// SPDX-License-Identifier: BSD-3-Clause
// What the baseline tests share: a scratch directory, a region's pages as a plain map, checkpoints and
// restores of it.
#pragma once

#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "datapath/roce/crc32.h"
#include "mgmt/baseline/baseline_reader.h"
#include "mgmt/baseline/baseline_writer.h"
#include "mgmt/baseline/directory_store.h"
#include "mgmt/baseline/manifest_store.h"
#include "mgmt/baseline/segment.h"

namespace lagan::test {

namespace fs = std::filesystem;
using namespace lagan::baseline;

// A directory of our own, gone at the end: on tmpfs, or on a disk, where files can be written past the page
// cache.
struct BaselineScratch {
    explicit BaselineScratch(const fs::path& parent = "/dev/shm") {
        static int count = 0;
        path = parent / "lagan_baseline_test.";
        path += std::to_string(getpid()) + "." + std::to_string(++count);
        fs::create_directory(path);
    }
    ~BaselineScratch() { fs::remove_all(path); }
    BaselineScratch(const BaselineScratch&) = delete;
    BaselineScratch& operator=(const BaselineScratch&) = delete;
    fs::path path;
};

inline RegionIdentity region_of(uint64_t pages, uint64_t epoch = 1, uint64_t writer = 0xaa) {
    return {"heap.1", 0x1234, pages * kPageBytes, epoch, writer};
}

// A page's content: 0 absent, kDamaged damaged, anything else the seed of its bytes.
using Content = uint64_t;
inline constexpr Content kDamaged = ~0ULL;
using Model = std::map<uint64_t, Content>;  // absent pages are not in it

inline void fill(std::byte* to, uint64_t page, Content content) {
    uint64_t state = (page + 1) * 0x9e3779b97f4a7c15 ^ content * 0xd1342543de82ef95;
    for (size_t i = 0; i < kPageBytes; i += sizeof state) {
        state = state * 6364136223846793005 + 1442695040888963407;
        std::memcpy(to + i, &state, sizeof state);
    }
}

// Pages with their data, which the caller hands to write_segment(). `misaligned` moves the data off page
// bounds.
class Pages {
  public:
    explicit Pages(const Model& changes, bool misaligned = false) {
        memory_ = make_page_buffer((changes.size() + 1) * kPageBytes);
        std::byte* at = memory_.get() + (misaligned ? 8 : 0);
        for (const auto& [page, content] : changes) {
            StoredPage stored{page, PageKind::absent, 0, nullptr};
            if (content == kDamaged) stored.kind = PageKind::damaged;
            if (content != 0 && content != kDamaged) {
                fill(at, page, content);
                stored = {page, PageKind::data, roce::crc32_raw(0, at, kPageBytes), at};
                at += kPageBytes;
            }
            pages.push_back(stored);
        }
    }
    std::vector<StoredPage> pages;

  private:
    PageBuffer memory_;
};

// Writes `changes` (0: freed) in segments of `per_segment` pages and commits them.
inline CommitResult checkpoint(BaselineWriter& writer, const Model& changes, uint64_t cut,
                               size_t per_segment = 64, bool misaligned = false) {
    const Pages pages(changes, misaligned);
    std::vector<SegmentRef> refs;
    for (size_t i = 0; i < pages.pages.size(); i += per_segment)
        refs.push_back(writer.write_segment(
            std::span(pages.pages).subspan(i, std::min(per_segment, pages.pages.size() - i))));
    return writer.commit(refs, cut, cut * 1000);
}

struct Restored {
    Model pages;  // content 1 for data that is not what `expected` says
    std::vector<Loss> losses;
};

// Loads everything and compares data with the expected content byte by byte.
inline Restored restore(const BaselineReader& reader, const Model& expected) {
    Restored restored{{}, reader.losses()};
    std::vector<std::byte> wanted(kPageBytes);
    for (size_t i = 0; i < reader.segment_count(); ++i) {
        std::vector<Loss> losses = reader.load(i, [&](const StoredPage& page) {
            BOOST_REQUIRE(!restored.pages.contains(page.page));
            if (page.kind == PageKind::damaged) {
                restored.pages[page.page] = kDamaged;
                return;
            }
            const auto found = expected.find(page.page);
            const Content content = found == expected.end() ? 0 : found->second;
            fill(wanted.data(), page.page, content);
            const bool same = std::memcmp(wanted.data(), page.data, kPageBytes) == 0;
            restored.pages[page.page] = same ? content : 1;
        });
        restored.losses.insert(restored.losses.end(), losses.begin(), losses.end());
    }
    return restored;
}

inline void require_restores(ObjectStore& store, const Model& expected, uint64_t cut,
                             std::optional<uint64_t> manifest = std::nullopt) {
    const BaselineReader reader(store, "heap.1", manifest);
    BOOST_REQUIRE_EQUAL(reader.manifest().cut_number, cut);
    const Restored restored = restore(reader, expected);
    BOOST_REQUIRE(restored.losses.empty());
    BOOST_REQUIRE(restored.pages == expected);
}

// Changes applied to a model: freed pages leave it.
inline void change(Model& model, const Model& changes) {
    for (const auto& [page, content] : changes) {
        if (content == 0)
            model.erase(page);
        else
            model[page] = content;
    }
}

inline bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

template <typename Action>
std::optional<StoreError> error_of(const Action& action) {
    try {
        action();
    } catch (const StoreError& error) {
        return error;
    }
    return std::nullopt;
}

// That the action fails in this way, with this in the message.
template <typename Action>
void require_error(const Action& action, ErrorKind kind, const std::string& part) {
    const std::optional<StoreError> error = error_of(action);
    BOOST_REQUIRE_MESSAGE(error, "no error, expected one with '" << part << "'");
    BOOST_TEST_INFO(error->what());
    BOOST_REQUIRE_EQUAL(name_of(error->kind()), name_of(kind));
    BOOST_REQUIRE_MESSAGE(contains(error->what(), part), error->what() << " does not say '" << part << "'");
}

}  // namespace lagan::test
