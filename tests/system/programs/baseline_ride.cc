// SPDX-License-Identifier: BSD-3-Clause
// Checkpoints of a small region, one after the other, that go on whatever happens to the store: what is
// unavailable is tried again. Says "cut N" for each that was committed and "waiting: WHY" for each failure;
// each tenth cut is restored and compared. The last line is "done".
//
//   baseline_ride STORE CUTS [AGE]
//
// AGE: seconds after which the unfinished uploads of others are removed. SIGTERM stops the store.
#include <pthread.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "datapath/roce/crc32.h"
#include "mgmt/baseline/baseline_reader.h"
#include "mgmt/baseline/baseline_writer.h"
#include "mgmt/baseline/deferred_store.h"
#include "mgmt/baseline/segment.h"

using namespace lagan::baseline;
using namespace std::chrono_literals;

namespace {

constexpr uint64_t kPages = 2048;
constexpr uint64_t kStep = 3;  // cut n stores every third page, beginning with n % 3

// Which cut has stored the page last.
uint64_t content_of(uint64_t page, uint64_t cut) {
    while (cut > 0 && page % kStep != cut % kStep)
        --cut;
    return cut;
}

void fill(std::byte* to, uint64_t page, uint64_t cut) {
    for (size_t i = 0; i < kPageBytes; i += sizeof page) {
        const uint64_t word = (page << 32 | cut) * 0x9e3779b97f4a7c15 + i;
        std::memcpy(to + i, &word, sizeof word);
    }
}

std::stop_source terminated;

template <typename Action>
auto insist(const Action& action) {
    for (;;) {
        try {
            return action();
        } catch (const StoreError& error) {
            if (error.kind() != ErrorKind::unavailable || terminated.stop_requested()) throw;
            std::printf("waiting: %s\n", error.what());
            std::fflush(stdout);
            std::this_thread::sleep_for(50ms);
        }
    }
}

void checkpoint(BaselineWriter& writer, uint64_t cut) {
    const PageBuffer memory = make_page_buffer((kPages / kStep + 1) * kPageBytes);
    std::vector<StoredPage> pages;
    std::byte* at = memory.get();
    for (uint64_t page = cut % kStep; page < kPages; page += kStep, at += kPageBytes) {
        fill(at, page, cut);
        pages.push_back({page, PageKind::data, lagan::roce::crc32_raw(0, at, kPageBytes), at});
    }
    const std::vector<SegmentRef> refs{insist([&] { return writer.write_segment(pages); })};
    insist([&] { return writer.commit(refs, cut, cut); });
}

// Whether the store has exactly this cut.
bool restored(ObjectStore& store, uint64_t cut) {
    const BaselineReader reader(store, "ride");
    uint64_t right = 0;
    bool good = reader.manifest().cut_number == cut && reader.losses().empty();
    std::vector<std::byte> wanted(kPageBytes);
    for (size_t i = 0; i < reader.segment_count(); ++i)
        good &= reader
                    .load(i,
                          [&](const StoredPage& page) {
                              fill(wanted.data(), page.page, content_of(page.page, cut));
                              right += std::memcmp(wanted.data(), page.data, kPageBytes) == 0;
                          })
                    .empty();
    uint64_t stored = 0;
    for (uint64_t page = 0; page < kPages; ++page)
        stored += content_of(page, cut) != 0;
    return good && right == stored;
}

}  // namespace

int main(int argc, char** argv) try {
    if (argc != 3 && argc != 4) return std::fprintf(stderr, "baseline_ride STORE CUTS [AGE]\n"), 2;
    const uint64_t cuts = std::stoull(argv[2]);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // in the threads of librados as well
    DeferredStore store(parse_store_url(argv[1]));
    std::jthread([&store, signals] {
        int signal = 0;
        sigwait(&signals, &signal);
        terminated.request_stop();
        store.stop();
    }).detach();
    store.open();
    WriterOptions options;
    if (argc == 4) options.unfinished_age = std::chrono::seconds(std::stoull(argv[3]));
    const RegionIdentity region{"ride", 1, kPages * kPageBytes, 1, 2};
    const auto writer = insist([&] { return std::make_unique<BaselineWriter>(store, region, options); });
    for (uint64_t cut = writer->newest().cut_number + 1; cut <= cuts; ++cut) {
        checkpoint(*writer, cut);
        if (cut % 10 == 0 && !insist([&] { return restored(store, cut); })) {
            std::printf("cut %lu is not what was stored\n", cut);
            return 1;
        }
        std::printf("cut %lu\n", cut);
        std::fflush(stdout);
    }
    std::printf("done\n");
    return 0;
} catch (const StoreError& error) {
    std::printf("%s: %s\n", name_of(error.kind()), error.what());
    return 1;
}
