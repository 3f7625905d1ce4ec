// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/recovery/drain.h"

#include <rte_rcu_qsbr.h>

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "datapath/roce/crc32.h"

namespace lagan::recovery {

using memory::Cut;
using Kind = Cut::Content::Kind;

namespace {

constexpr uint32_t kPagesPerSection = 128;
constexpr size_t kTokens = 4;  // one being filled, two being written, one whose write is being waited for

// Inside it, what page tables name cannot go.
class ReadSection {
  public:
    explicit ReadSection(const Memory& memory) : memory_(memory) {
        rte_rcu_qsbr_thread_register(memory_.rcu, memory_.rcu_id);
        rte_rcu_qsbr_thread_online(memory_.rcu, memory_.rcu_id);
    }
    ~ReadSection() {
        rte_rcu_qsbr_thread_offline(memory_.rcu, memory_.rcu_id);
        rte_rcu_qsbr_thread_unregister(memory_.rcu, memory_.rcu_id);
    }
    ReadSection(const ReadSection&) = delete;
    ReadSection& operator=(const ReadSection&) = delete;

  private:
    const Memory& memory_;
};

baseline::PageKind kind_of(Kind kind) {
    switch (kind) {
        case Kind::frame:
            return baseline::PageKind::data;
        case Kind::absent:
            return baseline::PageKind::absent;
        case Kind::damaged:
            break;
    }
    return baseline::PageKind::damaged;
}

}  // namespace

Drain::Drain(const Memory& memory, const memory::Region& region, Cut& cut)
    : memory_(memory),
      region_(region),
      cut_(cut),
      pages_per_batch_(
          std::clamp(memory.frames_in_flight / uint32_t{kTokens}, 1U, baseline::kGoodSegmentPages)) {
    const size_t count = std::clamp<size_t>(memory.frames_in_flight / pages_per_batch_, 1, kTokens);
    for (size_t i = 0; i < count; ++i) {
        batches_.push_back(std::make_unique<Batch>());
        free_.push(batches_.back().get());
    }
}

Drain::~Drain() {
    for (const auto& batch : batches_)
        release(*batch);
}

bool Drain::next_page(uint64_t& page) {
    while (range_ == range_count_) {
        if (cursor_ >= region_.page_count) return false;
        range_count_ = region_.dirty->drain().ranges(cursor_, ranges_, std::numeric_limits<uint32_t>::max());
        range_ = 0;
    }
    memory::DirtyList::Range& range = ranges_[range_];
    page = range.first_page++;
    if (--range.page_count == 0) ++range_;
    return true;
}

// A bounded number, so that no lcore waits long for its frames. False: the batch is full, or the list at its
// end.
bool Drain::take_some(Batch& batch) {
    const ReadSection section(memory_);
    for (uint32_t taken = 0; taken < kPagesPerSection; ++taken) {
        uint64_t page = 0;
        if (batch.pages.size() == pages_per_batch_ || !next_page(page)) return false;
        const Cut::Content content = cut_.take(region_.page_table[page], page);
        baseline::StoredPage stored{.page = page, .kind = kind_of(content.kind)};
        if (content.kind == Kind::frame) {
            stored.crc = memory_.frames.meta(content.frame).page_crc;
            stored.data = memory_.frames.data(content.frame);
        }
        batch.contents.push_back(content);
        batch.pages.push_back(stored);
    }
    return true;
}

Drain::Batch* Drain::fill() {
    Batch* batch = nullptr;
    if (!free_.try_pop(batch))
        throw std::logic_error("a checkpoint has more batches on their way than it has");
    while (take_some(*batch)) {
    }
    if (!batch->pages.empty()) return batch;
    free_.push(batch);
    return nullptr;
}

void Drain::verify(Batch& batch) const {
    for (size_t i = 0; i < batch.pages.size(); ++i) {
        baseline::StoredPage& page = batch.pages[i];
        if (page.data == nullptr || roce::crc32_raw(0, page.data, memory::kPageBytes) == page.crc) continue;
        memory::poison_page(region_, page.page, batch.contents[i].frame);
        memory_.damaged(region_, page.page);
        page = {.page = page.page, .kind = baseline::PageKind::damaged};
    }
}

void Drain::release(Batch& batch) {
    for (const Cut::Content& content : batch.contents)
        cut_.release(content);
    batch.contents.clear();
    batch.pages.clear();
    free_.push(&batch);
}

}  // namespace lagan::recovery
