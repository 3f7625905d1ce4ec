// SPDX-License-Identifier: BSD-3-Clause
// PageStore for tests: far memory in this process. Operations take effect and complete in order, after a
// delay counted in polls or microseconds; buffers are looked at only then, as late as the contract permits.
// It notes what a correct pager never does: reading a page that is not there.
#pragma once

#include <chrono>
#include <cstring>
#include <deque>
#include <memory>
#include <vector>

#include "client/page_store.h"

namespace lagan::test {

class MemoryStore : public client::PageStore {
  public:
    struct Options {
        uint64_t pages;
        uint32_t depth = 128;      // operations outstanding
        uint32_t delay_polls = 0;  // an operation completes at this many polls after it became the oldest
        std::chrono::microseconds delay{0};
        uint64_t fail_after = UINT64_MAX;  // operations until one completes with remote_operational_error
        uint64_t disconnect_after = UINT64_MAX;
        uint64_t* absent_reads = nullptr;  // counted here as well; may outlive the store
        uint64_t* abandoned = nullptr;     // operations that were outstanding when the store ended
    };

    explicit MemoryStore(const Options& options) : options_(options), pages_(options.pages) {}
    ~MemoryStore() override {
        if (options_.abandoned) *options_.abandoned += queue_.size();
    }

    uint64_t page_count() const override { return options_.pages; }
    void register_memory(std::span<std::byte>) override {}

    bool read(uint64_t cookie, uint64_t offset, void* to, uint32_t bytes) override {
        return post({Kind::read, cookie, offset / 4096, bytes / 4096, to, nullptr, {}});
    }
    bool store_page(uint64_t cookie, uint64_t page, const void* from) override {
        return post({Kind::store, cookie, page, 1, nullptr, from, {}});
    }
    bool free_pages(uint64_t cookie, uint64_t first_page, uint32_t page_count) override {
        return post({Kind::free, cookie, first_page, page_count, nullptr, nullptr, {}});
    }

    size_t poll(std::span<client::Completion> out) override {
        size_t count = 0;
        ++polls_;
        const auto now = std::chrono::steady_clock::now();
        while (count < out.size() && !queue_.empty()) {
            const Operation& oldest = queue_.front();
            if (polls_ < options_.delay_polls + last_done_poll_ || now < oldest.due) break;
            out[count++] = {oldest.cookie, carry_out(oldest)};
            queue_.pop_front();
            last_done_poll_ = polls_;
        }
        return count;
    }

    void settle() override {
        client::Completion dropped[64];
        while (!queue_.empty())
            poll(dropped);
    }
    uint32_t outstanding() const override { return static_cast<uint32_t>(queue_.size()); }
    bool connected() const override { return done_ < options_.disconnect_after; }
    std::string failure() const override { return connected() ? "" : "connection lost (test)"; }

    bool present(uint64_t page) const { return pages_[page] != nullptr; }
    const std::byte* content(uint64_t page) const { return pages_[page].get(); }
    uint64_t present_pages() const { return present_pages_; }
    uint64_t absent_reads() const { return absent_reads_; }

  private:
    enum class Kind { read, store, free };
    struct Operation {
        Kind kind;
        uint64_t cookie, page, count;
        void* to;
        const void* from;
        std::chrono::steady_clock::time_point due;
    };

    bool post(Operation operation) {
        if (queue_.size() >= options_.depth) return false;
        operation.due = std::chrono::steady_clock::now() + options_.delay;
        if (queue_.empty()) last_done_poll_ = polls_;
        queue_.push_back(operation);
        return true;
    }

    client::CompletionStatus carry_out(const Operation& operation) {
        if (++done_ > options_.disconnect_after) return client::CompletionStatus::flushed;
        if (done_ > options_.fail_after) return client::CompletionStatus::remote_operational_error;
        for (uint64_t i = 0; i < operation.count; ++i) {
            std::unique_ptr<std::byte[]>& page = pages_[operation.page + i];
            if (operation.kind == Kind::read) {
                std::byte* to = static_cast<std::byte*>(operation.to) + i * 4096;
                if (!page) {
                    ++absent_reads_;
                    if (options_.absent_reads) ++*options_.absent_reads;
                }
                page ? std::memcpy(to, page.get(), 4096) : std::memset(to, 0, 4096);
            } else if (operation.kind == Kind::store) {
                if (!page) {
                    page = std::make_unique_for_overwrite<std::byte[]>(4096);
                    ++present_pages_;
                }
                std::memcpy(page.get(), operation.from, 4096);
            } else if (page) {
                page.reset();
                --present_pages_;
            }
        }
        return client::CompletionStatus::success;
    }

    Options options_;
    std::vector<std::unique_ptr<std::byte[]>> pages_;
    std::deque<Operation> queue_;
    uint64_t polls_ = 0, last_done_poll_ = 0, done_ = 0;
    uint64_t present_pages_ = 0, absent_reads_ = 0;
};

}  // namespace lagan::test
