// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/baseline/segment_pages.h"

#include <algorithm>

#include "datapath/roce/crc32.h"

namespace lagan::baseline {

namespace {

constexpr uint64_t kRunPages = 256;  // read at once
constexpr uint64_t kGapPages = 16;   // unwanted pages that are read along rather than ask again

struct Wanted {
    const IndexEntry* entry;
    uint64_t slot;  // position among the segment's data pages
};

class Reader {
  public:
    Reader(ObjectStore& store, const std::string& key, const std::function<void(const StoredPage&)>& deliver)
        : store_(store),
          key_(key),
          deliver_(deliver),
          buffer_(make_page_buffer(kRunPages * kPageBytes)),
          losses_(key) {}

    // Pages that lie close to each other. What cannot be read as a whole is tried in halves, so that only the
    // pages that are really gone are lost.
    void read(std::span<const Wanted> run) {
        const uint64_t first = run.front().slot;
        try {
            const uint64_t bytes = (run.back().slot - first + 1) * kPageBytes;
            store_.get(key_, first * kPageBytes, {buffer_.get(), bytes});
        } catch (const StoreError& error) {
            if (error.kind() != ErrorKind::missing && error.kind() != ErrorKind::damaged) throw;
            if (error.kind() == ErrorKind::damaged && run.size() > 1) {
                read(run.first(run.size() / 2));
                read(run.subspan(run.size() / 2));
                return;
            }
            for (const Wanted& each : run)
                losses_.add({each.entry->page, 1}, error.what());
            return;
        }
        for (const Wanted& each : run)
            verify(*each.entry, buffer_.get() + (each.slot - first) * kPageBytes);
    }
    std::vector<Loss> losses() { return losses_.take(); }

  private:
    void verify(const IndexEntry& entry, const std::byte* data) {
        if (roce::crc32_raw(0, data, kPageBytes) == entry.crc)
            deliver_({entry.page, PageKind::data, entry.crc, data});
        else
            losses_.add({entry.page, 1}, "the data of these pages do not fit their CRC");
    }

    ObjectStore& store_;
    const std::string& key_;
    const std::function<void(const StoredPage&)>& deliver_;
    const PageBuffer buffer_;
    LossList losses_;
};

}  // namespace

void LossList::add(PageRange pages, const std::string& reason) {
    auto loss =
        std::find_if(losses_.begin(), losses_.end(), [&](const Loss& each) { return each.reason == reason; });
    if (loss == losses_.end()) loss = losses_.insert(loss, Loss{{}, object_, reason});
    if (!loss->pages.empty() && loss->pages.back().first + loss->pages.back().count == pages.first)
        loss->pages.back().count += pages.count;
    else
        loss->pages.push_back(pages);
}

std::vector<Loss> read_pages(ObjectStore& store, const std::string& key, std::span<const IndexEntry> entries,
                             const std::function<bool(uint64_t page)>& wanted,
                             const std::function<void(const StoredPage&)>& deliver) {
    Reader reader(store, key, deliver);
    std::vector<Wanted> run;
    uint64_t slot = 0;
    for (const IndexEntry& entry : entries) {
        if (entry.kind != PageKind::data) continue;
        const uint64_t here = slot++;
        if (!wanted(entry.page)) continue;
        if (!run.empty() && (here - run.back().slot > kGapPages || here - run.front().slot >= kRunPages)) {
            reader.read(run);
            run.clear();
        }
        run.push_back({&entry, here});
    }
    if (!run.empty()) reader.read(run);
    return reader.losses();
}

}  // namespace lagan::baseline
