// SPDX-License-Identifier: BSD-3-Clause
#include "client/commands/drill_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <random>
#include <stdexcept>
#include <vector>

namespace lagan::client::commands {

namespace {

constexpr size_t kPageBytes = 4096;
constexpr uint64_t kPagesAtOnce = 64;

using Page = std::array<uint64_t, kPageBytes / sizeof(uint64_t)>;

struct Stopped {};

// The region's pages, and what must be in them.
class KnownPages {
  public:
    KnownPages(Session& session, uint64_t seed, const std::atomic<bool>& stop)
        : session_(session),
          seed_(seed),
          stop_(stop),
          versions_(session.page_count()),
          buffer_(kPagesAtOnce) {
        session_.register_memory(std::as_writable_bytes(std::span(buffer_)));
    }

    uint64_t count() const { return versions_.size(); }

    void fill(uint64_t first, uint64_t count) {
        for (uint64_t i = 0; i < count; ++i)
            buffer_[i] = content(first + i);
        check(session_.store_blocking(first, buffer_.data(), count), "storing", first);
    }

    // Whether it is as it was stored last; then it is stored anew.
    bool check_and_change(uint64_t page) {
        const bool good = wrong(page, 1) == 0;
        ++versions_[page];
        fill(page, 1);
        return good;
    }

    uint64_t wrong(uint64_t first, uint64_t count) {
        check(session_.read_blocking(first * kPageBytes, buffer_.data(), count * kPageBytes), "reading",
              first);
        uint64_t wrong = 0;
        for (uint64_t i = 0; i < count; ++i)
            wrong += buffer_[i] != content(first + i);
        return wrong;
    }

  private:
    // SplitMix64 from a start that no other page, version or drill has.
    Page content(uint64_t page) const {
        Page words;
        uint64_t state = seed_ ^ (page << 24) ^ versions_[page];
        for (uint64_t& word : words) {
            state += 0x9e3779b97f4a7c15;
            uint64_t mixed = state;
            mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
            mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
            word = mixed ^ (mixed >> 31);
        }
        return words;
    }

    void check(CompletionStatus status, const char* what, uint64_t page) const {
        if (stop_) throw Stopped();
        if (status != CompletionStatus::success)
            throw std::runtime_error(session_.connected()
                                         ? fmt::format("{} page {}: {}", what, page, to_string(status))
                                         : session_.failure());
    }

    Session& session_;
    const uint64_t seed_;
    const std::atomic<bool>& stop_;
    std::vector<uint32_t> versions_;
    std::vector<Page> buffer_;
};

}  // namespace

DrillClient::DrillClient(TargetOptions target, uint64_t seed) : target_(std::move(target)), seed_(seed) {
    target_.reconnect.interrupted = [this] { return stop_.load(); };
    thread_ = std::thread([this] { run(); });
}

DrillClient::~DrillClient() {
    stop_ = true;
    thread_.join();
}

void DrillClient::run() {
    try {
        work();
    } catch (const Stopped&) {
    } catch (const std::exception& error) {
        result_.failure = error.what();
    }
    phase_ = Phase::ended;
}

void DrillClient::work() {
    Target target(target_);
    const auto session = target.connect(Role::write);
    KnownPages pages(*session, seed_, stop_);
    pages_ = result_.pages = pages.count();
    const auto each_part = [&](auto&& act) {
        for (uint64_t first = 0; first < pages.count(); first += kPagesAtOnce) {
            act(first, std::min(kPagesAtOnce, pages.count() - first));
            done_ = first;
        }
    };
    each_part([&](uint64_t first, uint64_t count) { pages.fill(first, count); });
    phase_ = Phase::working;
    std::mt19937_64 random(seed_);
    while (!check_) {
        const auto begin = std::chrono::steady_clock::now();
        result_.wrong_pages += !pages.check_and_change(random() % pages.count());
        const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
        result_.longest_wait_ms = std::max(result_.longest_wait_ms, took.count());
        result_.operations += 2;
    }
    phase_ = Phase::checking;
    each_part([&](uint64_t first, uint64_t count) { result_.wrong_pages += pages.wrong(first, count); });
    session->disconnect();
}

}  // namespace lagan::client::commands
